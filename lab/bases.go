package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// openBases finds the base images that the lab's nodes stand on, and makes those
// that the cache does not hold. Until release is called none of them is removed.
func (b *Build) openBases(ctx context.Context, tell Tell) (release func(), err error) {
	for {
		release, err := images.Hold(ctx, b.On.ImageDir(), func(note string) { tell.note("wait", "image", note) })
		if err != nil {
			return nil, err
		}
		missing, err := b.findBases(ctx)
		if err == nil && len(missing) == 0 {
			return release, nil
		}
		release() // a build waits until nobody holds the cache
		if err != nil {
			return nil, err
		}
		for _, m := range missing {
			if err := tell.work(m.verb, m.String(), func() error {
				return m.make(ctx, func(step string) { tell.note(m.verb, m.String(), step) })
			}); err != nil {
				return nil, err
			}
		}
	}
}

// findBases fills Bases, and returns the images of those nodes whose base the cache lacks.
func (b *Build) findBases(ctx context.Context) (missing []MissingBase, err error) {
	bases := map[string]images.Base{}
	find := b.baseFinder(ctx)
	for _, n := range b.Lab.Nodes {
		if slices.ContainsFunc(missing, func(m MissingBase) bool { return m.image == n.Image }) {
			continue
		}
		base, err := find(n)
		if errors.As(err, new(images.NotBuilt)) {
			missing = append(missing, b.missingBase(n.Image))
			continue
		}
		if err != nil {
			return nil, err
		}
		bases[n.Name] = base
	}
	b.Bases = bases
	return missing, nil
}

// baseFinder finds the base image that a node's disk stands on, or is to stand
// on: a disk that is there keeps its own, also when its recipe has changed since.
func (b Build) baseFinder(ctx context.Context) func(topology.Node) (images.Base, error) {
	known := map[string]images.Base{} // by the image's name
	return func(n topology.Node) (images.Base, error) {
		if _, err := os.Stat(b.diskPath(n)); err == nil {
			return images.BaseOf(b.diskPath(n))
		}
		if base, ok := known[n.Image]; ok {
			return base, nil
		}
		base, err := b.findBase(ctx, n.Image)
		if err == nil {
			known[n.Image] = base
		}
		return base, err
	}
}

// findBase finds the base of an image of the lab's file, or of a built-in recipe, in the cache.
func (b Build) findBase(ctx context.Context, image string) (images.Base, error) {
	if own, ok := b.Lab.OwnImage(image); ok && own.Path != "" {
		return b.ready(own).Find(ctx, b.On.ImageDir())
	}
	r, err := b.recipe(image)
	if err != nil {
		return images.Base{}, err
	}
	return images.Find(b.On.ImageDir(), r)
}

// recipe is that of an image of the lab's file, or the built-in one of that name.
func (b Build) recipe(image string) (images.Recipe, error) {
	own, ok := b.Lab.OwnImage(image)
	if !ok {
		return images.BuiltIn(image)
	}
	r, err := images.ReadRecipe(b.near(own.Recipe))
	r.Name = own.Name
	return r, err
}

func (b Build) ready(i topology.Image) images.Ready {
	return images.Ready{Name: i.Name, Path: b.near(i.Path), SHA256: i.SHA256, Guest: i.Guest, Configure: i.Configure}
}

// near is a path of the lab's file, which is relative to that file's folder.
func (b Build) near(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(b.From), path)
}

// MissingBase is a base image that the cache lacks.
type MissingBase struct {
	image, verb string
	make        func(ctx context.Context, step func(string)) error
}

// Verb is what is done about it: build or import.
func (m MissingBase) Verb() string { return m.verb }

func (m MissingBase) String() string { return "image/" + m.image }

func (b Build) missingBase(image string) MissingBase {
	dir := b.On.ImageDir()
	if own, ok := b.Lab.OwnImage(image); ok && own.Path != "" {
		return MissingBase{image, "import", func(ctx context.Context, step func(string)) error {
			_, err := b.ready(own).Import(ctx, dir, step)
			return err
		}}
	}
	return MissingBase{image, "build", func(ctx context.Context, step func(string)) error {
		r, err := b.recipe(image)
		if err != nil {
			return err
		}
		_, err = images.Build(ctx, dir, r, images.Options{}, step)
		return err
	}}
}

// BuildBase builds the base image of a recipe into the cache dir.
func BuildBase(ctx context.Context, dir string, r images.Recipe, o images.Options, tell Tell) (base images.Base, err error) {
	resource := "image/" + r.Name
	err = tell.work("build", resource, func() error {
		base, err = images.Build(ctx, dir, r, o, func(step string) { tell.note("build", resource, step) })
		return err
	})
	return base, err
}

// ImportBase puts an exported base image into the cache dir; file is where it comes from.
func ImportBase(ctx context.Context, dir, file string, from io.Reader, tell Tell) (base images.Base, err error) {
	resource := "image/" + file
	err = tell.work("import", resource, func() error {
		base, err = images.Import(ctx, dir, from, func(step string) { tell.note("import", resource, step) })
		return err
	})
	return base, err
}

// fit refuses sizes that the disks which the plan makes cannot have.
func fit(p Plan) error {
	for _, s := range p.Steps() {
		d, ok := s.Resource.(images.Disk)
		if !ok {
			continue
		}
		if err := d.Fits(); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	return nil
}

// verifyBases reads the bases of the disks that the plan makes, whole, and
// compares them with what was built.
func verifyBases(ctx context.Context, p Plan, tell Tell) error {
	done := map[string]bool{}
	for _, s := range p.Steps() {
		d, ok := s.Resource.(images.Disk)
		if !ok || done[d.Base.Dir] {
			continue
		}
		done[d.Base.Dir] = true
		resource := "image/" + d.Base.Recipe
		err := tell.work("verify", resource, func() error { return d.Base.Verify(ctx) })
		if err != nil {
			return fmt.Errorf("verify %s: %w", resource, err)
		}
	}
	return nil
}

// MissingBases are the base images that up would make; those that are there fill Bases.
func (b *Build) MissingBases(ctx context.Context) ([]MissingBase, error) { return b.findBases(ctx) }
