package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/lab/kept"
	"github.com/mami-project/labctl/topology"
)

// ResetWanted is what of a lab is to go back to the moment when it was proven ready.
type ResetWanted struct {
	Nodes   []string // these; none are all
	Keep    []string // but these, which stay as they are
	Boot    bool     // nodes whose ready state is not kept get a new disk and boot
	Timeout time.Duration
}

// NotKept says that nodes cannot go back, since their ready state is not kept.
type NotKept struct {
	Nodes []string
	Why   error
}

func (n NotKept) Error() string {
	which, state := "node "+n.Nodes[0], "its ready state"
	if len(n.Nodes) > 1 {
		which, state = "nodes "+strings.Join(n.Nodes, ", "), "their ready state"
	}
	return fmt.Sprintf("%s cannot go back: %s is not kept (%v)\n  labctl reset --boot gives them new disks and boots them", which, state, n.Why)
}

func (n NotKept) Unwrap() error { return n.Why }

var errDevice = errors.New("a machine is not saved whose guest holds a device of the host")

// ResetNodes has nodes go back to the moment when the lab was proven ready, memory and
// disk, all at once, and proves the lab again. What was set on the wire between the sides
// stays; a node that impairs does what the lab's file says.
func (b *Build) ResetNodes(ctx context.Context, w ResetWanted, tell Tell) (Proof, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, TimedOut{w.Timeout})
	defer cancel()
	unlock, err := lock(ctx, b.Lab.Name, "labctl reset", tell)
	if err != nil {
		return Proof{}, err
	}
	defer unlock()
	nodes, err := b.goingBack(w)
	if err != nil {
		return Proof{}, err
	}
	proof, err := b.reset(ctx, nodes, w.Boot, tell)
	return proof, overdue(ctx, err)
}

// goingBack are the nodes that are wanted to.
func (b Build) goingBack(w ResetWanted) ([]topology.Node, error) {
	for _, name := range slices.Concat(w.Nodes, w.Keep) {
		if _, err := b.node(name); err != nil {
			return nil, err
		}
	}
	nodes := slices.DeleteFunc(slices.Clone(b.Lab.Nodes), func(n topology.Node) bool {
		return len(w.Nodes) > 0 && !slices.Contains(w.Nodes, n.Name) || slices.Contains(w.Keep, n.Name)
	})
	if len(nodes) == 0 {
		return nil, errors.New("no node is left that would go back")
	}
	return nodes, nil
}

func (b *Build) reset(ctx context.Context, nodes []topology.Node, boot bool, tell Tell) (Proof, error) {
	b.From = b.Tag.From
	if err := b.goesBack(ctx, nodes, boot, tell); err != nil {
		return Proof{}, err
	}
	release, err := b.openBases(ctx, tell)
	if err != nil {
		return Proof{}, err
	}
	defer release()
	var group errgroup.Group
	for _, n := range nodes {
		m, d := b.machine(n), b.disk(n)
		group.Go(func() error {
			return tell.work("stop", m.String(), func() error {
				if err := m.Off(); err != nil {
					return err
				}
				return d.Destroy(ctx)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return Proof{}, fmt.Errorf("%w\n  labctl up completes the lab", err)
	}
	proof, err := b.back(ctx, tell)
	if err != nil {
		return proof, fmt.Errorf("%w\n  labctl up completes the lab", err)
	}
	b.started(Reset, nodeNames(nodes), tell)
	return proof, nil
}

// back starts what reset has stopped, and proves the lab.
func (b *Build) back(ctx context.Context, tell Tell) (Proof, error) {
	if _, _, err := b.make(ctx, sources{}, tell, leave); err != nil {
		return Proof{}, err
	}
	proof, err := b.proveGoneOn(ctx, tell)
	if err != nil {
		return proof, err
	}
	_, impairments := b.parts()
	p, err := PlanUp(ctx, impairments)
	if err != nil {
		return proof, err
	}
	p.Stages[0] = slices.DeleteFunc(p.Stages[0], func(s Step) bool {
		i, ok := s.Resource.(Impairment)
		return ok && i.Network.Wire != nil // as it is set
	})
	_, err = p.Apply(ctx, tell)
	return proof, err
}

// goesBack opens the state of those nodes, and refuses where it is not kept, unless they are to boot.
func (b *Build) goesBack(ctx context.Context, nodes []topology.Node, boot bool, tell Tell) error {
	state, err := b.stateOf()
	if err == nil {
		b.State = state.Only(nodeNames(nodes))
		err = b.checkState(ctx, tell)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.State = kept.State{}
	}
	var lacking []string
	for _, n := range nodes {
		if !b.State.Has(n.Name) {
			lacking = append(lacking, n.Name)
		}
	}
	if len(lacking) == 0 || boot {
		return nil
	}
	if err == nil {
		err = errDevice
	}
	return NotKept{lacking, err}
}

func nodeNames(nodes []topology.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}
