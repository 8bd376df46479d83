package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/host"
)

// Left says what of a lab is still on the host after it was taken down.
type Left struct {
	Lab  string
	What []string
}

func (l Left) Error() string {
	return fmt.Sprintf("lab %s is not all gone; left: %s", l.Lab, strings.Join(l.What, ", "))
}

// Down removes everything of the lab of that name, last first and past failures,
// and looks again: whatever is left is an error that names it. It needs no file.
// It returns how many things it found.
func Down(ctx context.Context, h *host.Host, name string, tell Tell) (int, error) {
	unlock, err := host.Lock(ctx, "lab-"+name, "labctl down", func(holder string) {
		tell.note("wait", "lab/"+name, "another labctl works on it: "+holder)
	})
	if err != nil {
		return 0, err
	}
	defer unlock()
	return down(ctx, h, name, tell)
}

// down is Down for who holds the lab's lock.
func down(ctx context.Context, h *host.Host, name string, tell Tell) (int, error) {
	found, err := Find(ctx, h, name)
	if err != nil && len(found) == 0 {
		return 0, err
	}
	err = errors.Join(err, destroy(ctx, found, tell))
	left, lerr := Find(context.WithoutCancel(ctx), h, name)
	err = errors.Join(err, lerr)
	if len(left) > 0 {
		err = errors.Join(err, Left{name, names(left)})
	}
	return count(found), err
}

// Find lists what is on the host of the lab of that name, in stages: what its
// marks' files say, as far as it is there, and whatever else bears its mark.
func Find(ctx context.Context, h *host.Host, name string) ([][]Removable, error) {
	all, err := FindMarks(h)
	marks := all.Of(name)
	errs := []error{err}
	known := map[string]bool{}
	var found [][]Removable
	for _, t := range marks.Tags() {
		l, err := decideTag(t)
		if err != nil {
			errs = append(errs, err) // what bears the mark is found all the same
			continue
		}
		for i, stage := range (Build{On: h, Lab: l, Tag: t}).Resources() {
			if i == len(found) {
				found = append(found, nil)
			}
			for _, r := range stage {
				if known[r.String()] {
					continue
				}
				s, err := r.State(ctx)
				if err != nil {
					errs = append(errs, fmt.Errorf("look at %s: %w", r, err))
				}
				if s != host.Absent || err != nil {
					known[r.String()] = true
					found[i] = append(found[i], r)
				}
			}
		}
	}
	strays := marks.strays(known)
	return slices.DeleteFunc(slices.Concat(strays[:1], found, strays[1:]), func(s []Removable) bool { return len(s) == 0 }), errors.Join(errs...)
}

// strays are the marked things that no mark's file speaks of, in three stages:
// folders, networks, machines.
func (m Marks) strays(known map[string]bool) [][]Removable {
	stages := make([][]Removable, 3)
	for _, f := range m.Folders {
		if !known[f.String()] {
			stages[0] = append(stages[0], f)
		}
	}
	for _, n := range m.Networks {
		if !known[n.String()] {
			stages[1] = append(stages[1], n)
		}
	}
	for _, d := range m.Domains {
		if !known[d.String()] {
			stages[2] = append(stages[2], d)
		}
	}
	return stages
}

// destroy removes what is listed, the last stage first and a stage's things at
// once, past failures.
func destroy(ctx context.Context, stages [][]Removable, tell Tell) error {
	var mu sync.Mutex
	var errs []error
	for _, stage := range slices.Backward(stages) {
		var group errgroup.Group
		group.SetLimit(atOnce)
		for _, r := range stage {
			group.Go(func() error {
				if err := tell.work("remove", r.String(), func() error { return r.Destroy(ctx) }); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("remove %s: %w", r, err))
				}
				return nil
			})
		}
		_ = group.Wait()
	}
	return errors.Join(errs...)
}

func names(stages [][]Removable) []string {
	var all []string
	for _, stage := range stages {
		for _, r := range stage {
			all = append(all, r.String())
		}
	}
	return all
}

func count(stages [][]Removable) int { return len(names(stages)) }
