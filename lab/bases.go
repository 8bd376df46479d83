package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// openBases finds the base images that the lab's nodes stand on, and builds those
// that the cache does not hold. Until release is called none of them is removed.
func (b *Build) openBases(ctx context.Context, tell Tell) (release func(), err error) {
	for {
		release, err := images.Hold(ctx, b.On.ImageDir(), func(note string) { tell.note("wait", "image", note) })
		if err != nil {
			return nil, err
		}
		missing, err := b.findBases()
		if err == nil && len(missing) == 0 {
			return release, nil
		}
		release() // a build waits until nobody holds the cache
		if err != nil {
			return nil, err
		}
		for _, name := range missing {
			r, err := images.BuiltIn(name)
			if err != nil {
				return nil, err
			}
			if _, err := BuildBase(ctx, b.On.ImageDir(), r, images.Options{}, tell); err != nil {
				return nil, err
			}
		}
	}
}

// findBases fills Bases, and names the images of those nodes whose base is not built.
func (b *Build) findBases() (missing []string, err error) {
	bases := map[string]images.Base{}
	find := b.baseFinder()
	for _, n := range b.Lab.Nodes {
		if slices.Contains(missing, n.Image) {
			continue
		}
		base, err := find(n)
		if errors.As(err, new(images.NotBuilt)) {
			missing = append(missing, n.Image)
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
func (b Build) baseFinder() func(topology.Node) (images.Base, error) {
	known := map[string]images.Base{} // by the image's name
	return func(n topology.Node) (images.Base, error) {
		if _, err := os.Stat(b.diskPath(n)); err == nil {
			return images.BaseOf(b.diskPath(n))
		}
		if base, ok := known[n.Image]; ok {
			return base, nil
		}
		r, err := images.BuiltIn(n.Image)
		if err != nil {
			return images.Base{}, err
		}
		base, err := images.Find(b.On.ImageDir(), r)
		if err == nil {
			known[n.Image] = base
		}
		return base, err
	}
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

// verifyBases reads the bases of the disks that the plan makes, whole, and
// compares them with what was built.
func (b *Build) verifyBases(ctx context.Context, p Plan, tell Tell) error {
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

// MissingBases are the base images that up would build.
func (b Build) MissingBases() ([]string, error) { return b.findBases() }
