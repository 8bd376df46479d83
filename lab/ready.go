package lab

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
)

// Ready waits, all at once, for the resources which are not ready when made. The
// first that cannot become ready ends the wait.
func Ready(ctx context.Context, stages [][]Resource, tell Tell) error {
	return ready(ctx, stages, tell, leave)
}

// ready is Ready, and does then with each machine that is ready, while it waits for others.
func ready(ctx context.Context, stages [][]Resource, tell Tell, then func(context.Context, domains.Machine)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, stage := range stages {
		for _, r := range stage {
			w, ok := r.(Waiter)
			if !ok {
				continue
			}
			group.Go(func() error {
				err := waitFor(ctx, w, w.Wait, tell)
				if m, ok := r.(domains.Machine); ok && err == nil {
					then(ctx, m)
				}
				return err
			})
		}
	}
	return group.Wait()
}

// leave does nothing more with a machine that is ready.
func leave(context.Context, domains.Machine) {}

// waitFor waits for what a resource is to show, and tells of it.
func waitFor(ctx context.Context, r fmt.Stringer, wait func(context.Context, func(what string)) error, tell Tell) error {
	err := tell.work("wait", r.String(), func() error {
		return wait(ctx, func(what string) { tell.note("wait", r.String(), what) })
	})
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}
