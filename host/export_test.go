package host

// Rename is rename, for tests on real links.
var Rename = rename
