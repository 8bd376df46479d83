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
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
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
	unlock, err := lock(ctx, name, "labctl down", tell)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return down(ctx, h, name, tell)
}

// down is Down for who holds the lab's lock.
func down(ctx context.Context, h *host.Host, name string, tell Tell) (int, error) {
	defer Tidy(h)
	found, ferr := Find(ctx, h, name)
	if ferr != nil && len(found) == 0 {
		return 0, ferr
	}
	err := destroy(ctx, found, tell)
	left, lerr := remaining(context.WithoutCancel(ctx), h, name, found)
	err = errors.Join(err, lerr)
	if len(left) > 0 {
		err = errors.Join(err, Left{name, left})
	}
	if ferr != nil && err == nil {
		tell.warn(ferr.Error()) // what could not be read at first is gone as well
	}
	return count(found), err
}

// remaining looks again: at each thing that was found, and for what bears the mark.
func remaining(ctx context.Context, h *host.Host, name string, found [][]Removable) ([]string, error) {
	again, err := Find(ctx, h, name)
	left := names(again)
	for _, stage := range found {
		for _, r := range stage {
			s, serr := r.State(ctx)
			if serr != nil {
				err = errors.Join(err, fmt.Errorf("look at %s: %w", r, serr))
			}
			if (s != host.Absent || serr != nil) && !slices.Contains(left, r.String()) {
				left = append(left, r.String())
			}
		}
	}
	return left, err
}

// Find lists what is on the host of the lab of that name, in stages: what its
// marks' files say, as far as it is there, and whatever else bears its mark.
func Find(ctx context.Context, h *host.Host, name string) ([][]Removable, error) {
	all, err := FindMarks(h)
	marks := all.Of(name)
	if newer := marks.newer(); newer != nil {
		return nil, newer // there may be things of it that this labctl cannot find
	}
	errs := []error{err}
	for _, u := range marks.Unread {
		errs = append(errs, u)
	}
	known := map[string]bool{}
	var found [][]Removable
	for _, t := range marks.Tags() {
		l, err := decideTag(t)
		if err != nil {
			errs = append(errs, err) // what bears the mark is found all the same
			continue
		}
		for i, stage := range (Build{On: h.In(t.Dir), Lab: l, Tag: t}).Resources() {
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
	strays, err := marks.strays(ctx, name, known)
	stages := slices.Concat(strays[:1], found, strays[1:])
	return slices.DeleteFunc(stages, func(s []Removable) bool { return len(s) == 0 }), errors.Join(append(errs, err)...)
}

// strays are the things that no mark's file speaks of, in stages: what bears the
// lab's mark, and what is named after the lab or a marked network of it alone.
func (m Marks) strays(ctx context.Context, lab string, known map[string]bool) ([][]Removable, error) {
	stages := make([][]Removable, 4)
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
	var errs []error
	for _, r := range m.unmarked(lab) {
		if known[r.String()] {
			continue
		}
		s, err := r.State(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("look at %s: %w", r, err))
		}
		if s != host.Absent {
			stages[2] = append(stages[2], r)
		}
	}
	for _, d := range m.Domains {
		if !known[d.String()] {
			stages[3] = append(stages[3], d)
		}
	}
	return stages, errors.Join(errs...)
}

// unmarked are the things of a lab that can bear no mark: its firewall table, and
// the wires between its marked sides.
func (m Marks) unmarked(lab string) []Removable {
	rs := []Removable{networks.Publish{Lab: topology.Lab{Name: lab}}}
	sides := map[string]string{} // by network, the side seen first
	for _, n := range m.Networks {
		network, side, sided := strings.Cut(strings.TrimPrefix(n.Object, topology.ObjectName(lab)), ".")
		switch {
		case !sided:
		case sides[network] == "":
			sides[network] = side
		default:
			w := topology.WireOf(lab, network, [2]string{sides[network], side})
			rs = append(rs, networks.Wire{Network: topology.Network{Lab: lab, Name: network, Wire: w}})
		}
	}
	return rs
}

// destroy removes what is listed, the last stage first and a stage's things at
// once, past failures. What something stands on that could not be removed stays
// with it: a machine's disk, and the lab's folder, by which the rest is found again.
func destroy(ctx context.Context, stages [][]Removable, tell Tell) error {
	var mu sync.Mutex
	failed := map[string]bool{}
	var errs []error
	for _, stage := range slices.Backward(stages) {
		var group errgroup.Group
		group.SetLimit(atOnce)
		for _, r := range stage {
			if ctx.Err() != nil {
				return errors.Join(append(errs, context.Cause(ctx))...)
			}
			if needed(r, failed) {
				continue
			}
			group.Go(func() error {
				if err := tell.work("remove", r.String(), func() error { return r.Destroy(ctx) }); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed[r.String()] = true
					errs = append(errs, fmt.Errorf("remove %s: %w", r, err))
				}
				return nil
			})
		}
		_ = group.Wait()
	}
	return errors.Join(errs...)
}

// needed says whether something that could not be removed stands on r.
func needed(r Removable, failed map[string]bool) bool {
	if _, claim := r.(Folder); claim {
		return len(failed) > 0
	}
	kind, node, _ := strings.Cut(r.String(), "/")
	return (kind == "disk" || kind == "seed") && failed["machine/"+node]
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
