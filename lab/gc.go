package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/mami-project/labctl/host"
)

// Collected is what became of a lab that had expired.
type Collected struct {
	Lab    string
	Things int    // how many were removed
	Passed string // why it was passed over; "" where it was taken down
}

// Collect takes down every lab that has expired by the host's clock, one after
// the other and past failures: which is an error that names what is left. It
// passes over those at which another labctl is at work, or that a newer one made.
func Collect(ctx context.Context, h *host.Host, tell Tell) ([]Collected, error) {
	marks, err := FindMarks(h)
	errs := []error{err}
	var all []Collected
	for _, name := range marks.Labs() {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		if !marks.Of(name).made(h).Expired() {
			continue
		}
		c, err := collect(ctx, h, name, tell)
		if err != nil {
			errs = append(errs, fmt.Errorf("take lab %s down: %w", name, err))
			continue
		}
		all = append(all, c)
	}
	return all, errors.Join(errs...)
}

// collect takes one lab down, if it still has expired now that nobody else is at work on it.
func collect(ctx context.Context, h *host.Host, name string, tell Tell) (Collected, error) {
	c := Collected{Lab: name}
	unlock, holder, err := tryLock(ctx, name, "labctl gc")
	if err != nil {
		return c, err
	}
	if unlock == nil {
		c.Passed = "another labctl works on it: " + holder
		return c, nil
	}
	defer unlock()
	marks, err := FindMarks(h)
	own := marks.Of(name)
	if newer := own.newer(); newer != nil {
		c.Passed = newer.Error()
		return c, nil
	}
	if !own.made(h).Expired() {
		c.Passed = "it was renewed or taken down meanwhile"
		return c, err
	}
	c.Things, err = down(ctx, h, name, tell)
	return c, err
}
