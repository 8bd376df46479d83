package lab

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Ready waits, all at once, for the resources which are not ready when made. The
// first that cannot become ready ends the wait.
func Ready(ctx context.Context, stages [][]Resource, tell Tell) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, stage := range stages {
		for _, r := range stage {
			w, ok := r.(Waiter)
			if !ok {
				continue
			}
			group.Go(func() error {
				err := tell.work("wait", w.String(), func() error {
					return w.Wait(ctx, func(what string) { tell.note("wait", w.String(), what) })
				})
				if err != nil {
					return fmt.Errorf("%s: %w", w, err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}
