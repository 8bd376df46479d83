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
	found, ferr := Find(ctx, h, name)
	if ferr != nil && len(found) == 0 {
		return 0, ferr
	}
	err := destroy(ctx, found, tell)
	left, lerr := Find(context.WithoutCancel(ctx), h, name)
	err = errors.Join(err, lerr)
	if ferr != nil && err == nil {
		tell.warn(ferr.Error()) // what could not be read at first is gone as well
	}
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
		if errors.As(err, new(Newer)) {
			return nil, err // there may be things of it that this labctl cannot find
		}
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
	strays := marks.strays(ctx, known)
	return slices.DeleteFunc(slices.Concat(strays[:1], found, strays[1:]), func(s []Removable) bool { return len(s) == 0 }), errors.Join(errs...)
}

// strays are the things that no mark's file speaks of, in stages: what bears a
// mark, and what is named after a marked network or the lab alone.
func (m Marks) strays(ctx context.Context, known map[string]bool) [][]Removable {
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
	for _, r := range m.unmarked() {
		if s, err := r.State(ctx); !known[r.String()] && s != host.Absent && err == nil {
			stages[2] = append(stages[2], r)
		}
	}
	for _, d := range m.Domains {
		if !known[d.String()] {
			stages[3] = append(stages[3], d)
		}
	}
	return stages
}

// unmarked are the things of the labs that can bear no mark: their firewall
// tables, and the wires between marked sides.
func (m Marks) unmarked() []Removable {
	var rs []Removable
	for _, lab := range m.Labs() {
		rs = append(rs, networks.Publish{Lab: topology.Lab{Name: lab}})
	}
	sides := map[string]string{} // by lab and network, the side seen first
	for _, n := range m.Networks {
		network, side, sided := strings.Cut(strings.TrimPrefix(n.Object, topology.ObjectName(n.Tag.Lab)), ".")
		key := n.Tag.Lab + "." + network
		switch {
		case !sided:
		case sides[key] == "":
			sides[key] = side
		default:
			w := topology.WireOf(n.Tag.Lab, network, [2]string{sides[key], side})
			rs = append(rs, networks.Wire{Network: topology.Network{Lab: n.Tag.Lab, Name: network, Wire: w}})
		}
	}
	return rs
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
