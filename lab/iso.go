package lab

import (
	"context"

	"github.com/mami-project/labctl/images"
)

// BuildISO makes a base image of an Alpine ISO in the cache dir.
func BuildISO(ctx context.Context, dir string, i images.ISO, tell Tell) (base images.Base, err error) {
	resource := "image/" + i.Name
	err = tell.work("build", resource, func() error {
		base, err = images.BuildISO(ctx, dir, i, func(step string) { tell.note("build", resource, step) })
		return err
	})
	return base, err
}
