package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/mami-project/labctl/images"
)

// openBases finds the base images that the lab's nodes stand on, and builds those
// that the cache does not hold.
func (b *Build) openBases(ctx context.Context, tell Tell) error {
	b.Bases = map[string]images.Base{}
	for _, n := range b.Lab.Nodes {
		if _, ok := b.Bases[n.Image]; ok {
			continue
		}
		r, err := images.BuiltIn(n.Image)
		if err != nil {
			return err
		}
		base, err := images.Find(b.On.ImageDir(), r)
		if errors.As(err, new(images.NotBuilt)) {
			base, err = BuildBase(ctx, b.On.ImageDir(), r, images.Options{}, tell)
		}
		if err != nil {
			return err
		}
		b.Bases[n.Image] = base
	}
	return nil
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
	todo := map[string]bool{}
	for _, s := range p.Steps() {
		todo[s.String()] = true
	}
	done := map[string]bool{}
	for _, n := range b.Lab.Nodes {
		if !todo["disk/"+n.Name] || done[n.Image] {
			continue
		}
		done[n.Image] = true
		base := b.Bases[n.Image]
		err := tell.work("verify", "image/"+n.Image, func() error { return base.Verify(ctx) })
		if err != nil {
			return fmt.Errorf("verify image/%s: %w", n.Image, err)
		}
	}
	return nil
}

// MissingBases are the base images that up would build.
func (b Build) MissingBases() ([]string, error) {
	var missing []string
	seen := map[string]bool{}
	for _, n := range b.Lab.Nodes {
		if seen[n.Image] {
			continue
		}
		seen[n.Image] = true
		r, err := images.BuiltIn(n.Image)
		if err != nil {
			return nil, err
		}
		if _, err := images.Find(b.On.ImageDir(), r); errors.As(err, new(images.NotBuilt)) {
			missing = append(missing, n.Image)
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}
