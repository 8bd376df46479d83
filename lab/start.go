package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab/kept"
)

// How nodes came to run.
const (
	Cold  = "cold"  // they booted
	Warm  = "warm"  // they went on from the state of an earlier lab that was proven ready
	Reset = "reset" // they went back to that state in the lab that was up
)

// Start is how and when the lab's nodes came to run the last time that any was started.
type Start struct {
	How   string     `json:"how" xml:"how,attr"` // Cold, Warm or Reset
	At    *time.Time `json:"at" xml:"at,attr"`
	State string     `json:"state,omitempty" xml:"state,attr,omitempty"` // the key of their ready state; "" where none is kept
	Saved *time.Time `json:"saved,omitempty" xml:"saved,attr,omitempty"` // when that was saved
	Nodes string     `json:"nodes,omitempty" xml:"nodes,attr,omitempty"` // which were started, where it was not all
}

// String is how the nodes came to run, as users see it.
func (s Start) String() string {
	which, at := "its nodes", "some time"
	if s.Nodes != "" {
		which = strings.ReplaceAll(s.Nodes, " ", ", ")
	}
	if s.At != nil {
		at = s.At.Local().Format(time.DateTime)
	}
	saved := ""
	if s.Saved != nil {
		saved = " of " + s.Saved.Local().Format(time.DateTime)
	}
	switch s.How {
	case Warm:
		return fmt.Sprintf("%s: %s went on at %s from the ready state%s", Warm, which, at, saved)
	case Reset:
		return fmt.Sprintf("%s: %s went back at %s to the ready state%s", Reset, which, at, saved)
	default:
		return fmt.Sprintf("%s: %s booted, and were ready at %s", Cold, which, at)
	}
}

// way is how `up` is to start nodes.
type way struct {
	fresh  bool              // all of them are made from nothing: what is ready then may be kept
	inputs map[string]string // what a ready state depends on; of fresh nodes only
	why    string            // they boot; "" where they go on from a state, or there is no state to be had
	told   bool              // what was kept cannot be used, which users should know
}

// decideWay looks for a ready state from which the nodes that the plan makes could go on.
// keys are those that the nodes have, or will.
func (b *Build) decideWay(p Plan, keys images.Keys, cold bool) (way, error) {
	w := way{fresh: b.fresh(p)}
	if !w.fresh || b.On.Fake() {
		return w, nil
	}
	inputs, err := b.inputs(keys)
	if err != nil {
		return w, err
	}
	w.inputs = inputs
	if cold {
		w.why = "--cold"
		return w, nil
	}
	state, err := b.kept().Find(b.Lab.Name, keyOf(inputs), inputs)
	if err != nil {
		var none kept.None
		w.why, w.told = err.Error(), !errors.As(err, &none) || none.Why != ""
		return w, nil
	}
	b.State = state
	return w, nil
}

// fresh says whether the plan makes all nodes from nothing.
func (b Build) fresh(p Plan) bool {
	made := 0
	for _, s := range p.Steps() {
		switch s.Resource.(type) {
		case images.Disk, domains.Machine:
			if s.Was == host.Absent {
				made++
			}
		}
	}
	return made == 2*len(b.Lab.Nodes)
}

// PlannedStart says how `up` would start the nodes: how is "" where it would start none.
func (b Build) PlannedStart(p Plan) (how, why string, err error) {
	if len(b.Bases) < len(b.Lab.Nodes) {
		return Cold, "base images are to be made", nil
	}
	keys := b.keys()
	keys.Dir = keys.From // those of before are taken
	w, err := b.decideWay(p, keys, false)
	if errors.Is(err, fs.ErrNotExist) { // no keys of before
		return Cold, kept.None{Lab: b.Lab.Name}.Error(), nil
	}
	if err != nil {
		return "", "", err
	}
	starts := false
	for _, s := range p.Steps() {
		_, machine := s.Resource.(domains.Machine)
		starts = starts || machine
	}
	switch {
	case b.State.Key != "":
		return Warm, "from the ready state of " + b.State.At.Local().Format(time.DateTime), nil
	case !starts:
		return "", "", nil
	case !w.fresh:
		return Cold, "some of the lab is there already", nil
	}
	return Cold, w.why, nil
}

// checkState reads the state that is to be gone on from, whole: one that is not as it was
// written is not used.
func (b *Build) checkState(ctx context.Context, tell Tell) error {
	return tell.work("verify", "state/"+b.Lab.Name, func() error {
		var group errgroup.Group
		for _, n := range b.Lab.Nodes {
			if b.State.Has(n.Name) {
				group.Go(func() error { return b.State.Check(ctx, n.Name) })
			}
		}
		return group.Wait()
	})
}

// started notes in the lab's mark how those nodes of it came to run,
// and that the state from which they did was used.
func (b *Build) started(how string, nodes []string, tell Tell) {
	at := now().UTC().Truncate(time.Second)
	s := Start{How: how, At: &at}
	if len(nodes) < len(b.Lab.Nodes) {
		s.Nodes = strings.Join(nodes, " ")
	}
	var err error
	if b.State.Key != "" {
		s.State, s.Saved = b.State.Key, &b.State.At
		err = b.State.Used()
	} else if b.Made.Start != nil { // nodes that booted again can still go back
		s.State, s.Saved = b.Made.Start.State, b.Made.Start.Saved
	}
	b.Made.Start = &s
	if err := errors.Join(err, b.folder().write()); err != nil {
		tell.warn(fmt.Sprintf("it is not noted how the nodes were started: %v", err))
	}
}

// stateOf opens the ready state that the lab's nodes had when they were proven.
func (b Build) stateOf() (kept.State, error) {
	s := b.Made.Start
	if s == nil || s.State == "" {
		return kept.State{}, kept.None{Lab: b.Lab.Name}
	}
	return b.kept().Find(b.Lab.Name, s.State, nil)
}
