package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

// watchPause is how long after a look the next one is taken. A look asks every node's
// agent, which must not become the load that is measured.
const watchPause = 2 * time.Second

// watch is how a lab is looked at again and again, until it is gone or ctx ends.
type watch struct {
	look func(context.Context) (lab.Status, error)
	// wait waits until it is time for the next look; its error ends the watch.
	wait func(context.Context) error
	now  func() time.Time
	show watcher
}

// watcher shows what was seen.
type watcher interface {
	seen(glance) error
	gone(name string, at time.Time) error
	close()
}

func watchLab(c *cli.Context, h *host.Host, name string) error {
	return watch{
		look: lookAgain(h, name),
		wait: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(watchPause):
				return nil
			}
		},
		now:  time.Now,
		show: newWatcher(c),
	}.run(c.Context)
}

// lookAgain looks at a lab as its mark on the host describes it then, also where libvirt
// was restarted since.
func lookAgain(h *host.Host, name string) func(context.Context) (lab.Status, error) {
	return func(ctx context.Context) (lab.Status, error) {
		once, cancel := context.WithCancel(ctx)
		cancel() // one try: the next look is another
		if err := h.Revive(once, func() {}); err != nil {
			return lab.Status{}, err
		}
		b, err := lab.Open(h, name)
		if err != nil {
			return lab.Status{}, err
		}
		return b.Look(ctx)
	}
}

func newWatcher(c *cli.Context) watcher {
	w := c.App.Writer
	if c.Bool("json") {
		return &watchedJSON{w}
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &screen{w: w, size: func() (int, int) {
			wide, high, err := term.GetSize(int(f.Fd()))
			if err != nil || wide <= 0 || high <= 0 {
				return 80, 24
			}
			return wide, high
		}}
	}
	return &changes{w: w}
}

// run returns nil when the lab is gone. A lab that was never there is an error.
func (w watch) run(ctx context.Context) error {
	defer w.show.close()
	var before *glance
	for {
		s, err := w.glimpse(ctx)
		switch {
		case ctx.Err() != nil:
			return status(exitInterrupted)
		case before == nil && err != nil && s.Name == "":
			return err
		case errors.As(err, new(lab.Unknown)):
			return w.show.gone(before.Status.Name, w.now())
		}
		g := glance{At: w.now(), Status: s, Err: err, Before: before}
		if err := w.show.seen(g); err != nil {
			return err // who read it went away
		}
		if g.Before = nil; s.Name != "" {
			before = &g
		}
		if w.wait(ctx) != nil {
			return status(exitInterrupted)
		}
	}
}

// glimpse looks, and does not wait for a node that hangs once ctx has ended.
func (w watch) glimpse(ctx context.Context) (lab.Status, error) {
	type result struct {
		s   lab.Status
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := w.look(ctx)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-ctx.Done():
		return lab.Status{}, ctx.Err()
	}
}
