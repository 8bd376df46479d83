// Package images makes what machines boot from: base images (built from
// recipes and kept in a cache by digest), the files a node needs in its own
// disk, the keys of a lab, and that disk itself, an overlay on a base.
package images

// Format is the version of the base images that this labctl makes: it is part
// of a recipe's digest, so raise it when the way of building changes what comes out.
const Format = 5
