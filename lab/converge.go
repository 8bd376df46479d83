package lab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/lab/kept"
	"github.com/mami-project/labctl/topology"
)

// converge makes what is missing, starts what is off, and proves the lab. The bases are
// released once the disks that nodes boot from stand on them.
func (b *Build) converge(ctx context.Context, w Wanted, release func(), tell Tell) (Proof, [][]Removable, error) {
	release = sync.OnceFunc(release)
	defer release()
	p, err := PlanUp(ctx, b.Resources())
	if err != nil {
		return Proof{}, nil, err
	}
	if b.Accel == topology.AccelTCG && b.Lab.Accel == topology.AccelAuto {
		tell.warn(slowWarning(b.On))
	}
	if err := fit(p); err != nil {
		return Proof{}, nil, err
	}
	reading, stop := context.WithCancel(ctx)
	from := sources{begin(func() error { return verifyBases(reading, p, tell) }), release}
	defer func() {
		stop()
		_ = from.verified()
	}()
	made, err := p.begin().Apply(ctx, tell)
	if err != nil {
		return Proof{}, made, err
	}
	way, err := b.decideWay(p, b.keys(), w.Cold)
	if err != nil {
		return Proof{}, made, err
	}
	if way.told {
		tell.Note("the nodes boot: " + way.why)
	}
	if b.State.Key != "" {
		proof, more, err := b.goOn(ctx, from, tell)
		if err == nil || ctx.Err() != nil {
			return proof, append(made, more...), err
		}
		tell.warn(fmt.Sprintf("the nodes boot, since they could not go on from the ready state that is kept: %v", err))
		b.State = kept.State{}
		if err := destroy(ctx, more, tell); err != nil {
			return Proof{}, append(made, more...), err
		}
	}
	proof, more, err := b.bootAll(ctx, way, w.StateLimit, from, tell)
	return proof, append(made, more...), err
}

// goOn starts all nodes from the ready state, and proves the lab.
func (b *Build) goOn(ctx context.Context, bases sources, tell Tell) (Proof, [][]Removable, error) {
	state := begin(func() error { return b.checkState(ctx, tell) })
	defer func() { _ = state() }()
	both := func() error { return cmp.Or(state(), bases.verified()) }
	held := func() {} // bases are, since the nodes may have to boot
	_, made, err := b.make(ctx, sources{both, held}, tell, leave)
	if err != nil {
		return Proof{}, made, err
	}
	proof, more, err := b.proveAndImpair(ctx, tell)
	if err == nil {
		b.started(Warm, nodeNames(b.Lab.Nodes), tell)
	}
	return proof, append(made, more...), err
}

// bootAll boots the nodes that do not run, and proves the lab. Where all of them are new, what
// they are then is saved and gone on from: it is kept once it is proven.
func (b *Build) bootAll(ctx context.Context, w way, limit int64, from sources, tell Tell) (Proof, [][]Removable, error) {
	saves := false
	if w.fresh {
		var err error
		if saves, err = b.saves(limit, tell); err != nil {
			return Proof{}, nil, err
		}
	}
	var works workers
	then := leave
	if saves {
		then = func(ctx context.Context, m domains.Machine) { works.start(ctx, *b, m, prefixOf(w.inputs), tell) }
	}
	nodes, made, err := b.make(ctx, from, tell, then)
	if err != nil {
		return Proof{}, made, err
	}
	draft, whole := kept.Draft{}, false
	if saves {
		draft, whole, err = b.saveAndGoOn(ctx, w.inputs, works.nodes, tell)
		defer drop(&draft, tell)
		if err != nil {
			return Proof{}, made, err
		}
	}
	var sums errgroup.Group // a proof waits more than it works
	if whole {
		sums.Go(func() error { return draft.Sum(ctx) })
	}
	proof, more, err := b.proveAndImpair(ctx, tell)
	summed := sums.Wait()
	made = append(made, more...)
	if err != nil {
		return proof, made, err
	}
	if whole {
		whole = b.keep(ctx, &draft, summed, limit, tell)
	}
	if !whole {
		b.State = kept.State{}
	}
	if len(nodes) > 0 {
		b.started(Cold, nodes, tell)
	}
	return proof, made, err
}

// make makes all but impairments from their sources, and waits until the nodes are ready; then is done with each
// that is. It returns the nodes that it started.
func (b *Build) make(ctx context.Context, from sources, tell Tell, then func(context.Context, domains.Machine)) (nodes []string, made [][]Removable, err error) {
	stages, _ := b.parts()
	p, err := PlanUp(ctx, stages)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range p.Steps() {
		if m, ok := s.Resource.(domains.Machine); ok {
			nodes = append(nodes, m.Node.Name)
		}
	}
	disks, machines := p.parted()
	made, err = disks.Apply(ctx, tell)
	if unfit := from.checked(); unfit != nil && ctx.Err() == nil {
		err = unfit // why disks could not be made, too
	}
	if err != nil {
		return nodes, made, err
	}
	more, err := machines.Apply(ctx, tell)
	made = append(made, more...)
	if err != nil {
		return nodes, made, err
	}
	return nodes, made, ready(ctx, stages, tell, then)
}

// proveAndImpair proves the data path, then puts impairments on and measures what they do.
func (b *Build) proveAndImpair(ctx context.Context, tell Tell) (Proof, [][]Removable, error) {
	proof, err := b.proveGoneOn(ctx, tell)
	if err != nil {
		return proof, nil, err
	}
	_, impairments := b.parts()
	p, err := PlanUp(ctx, impairments)
	if err != nil {
		return proof, nil, err
	}
	made, err := b.impair(ctx, p, tell)
	return proof, made, err
}

// proveGoneOn is Prove; in nodes that go on from the ready state captures listen already. What
// the proof does not need is waited for beside it and after it.
func (b Build) proveGoneOn(ctx context.Context, tell Tell) (proof Proof, err error) {
	if b.State.Marks == "" {
		return b.Prove(ctx, tell)
	}
	goneOn := slices.DeleteFunc(b.Machines(), func(m domains.Machine) bool { return !b.State.Has(m.Node.Name) })
	proving, both := errgroup.WithContext(ctx)
	proving.Go(func() (err error) {
		proof, err = b.ProveArmed(both, b.State.Marks, b.listens, tell)
		return err
	})
	for _, m := range goneOn {
		if m.WaitsMeanwhile() {
			proving.Go(func() error { return waitFor(both, m, m.WaitMeanwhile, tell) })
		}
	}
	if err := proving.Wait(); err != nil {
		return proof, err
	}
	waiting, all := errgroup.WithContext(ctx)
	for _, m := range goneOn {
		waiting.Go(func() error { return waitFor(all, m, m.WaitInTheEnd, tell) })
	}
	err = waiting.Wait()
	b.endUnused(ctx)
	return proof, err
}

// listens says whether captures listen in a node since it was saved: not where a device of
// the host was taken out of it, under them.
func (b Build) listens(node string) bool {
	n, _ := b.Lab.Node(node)
	of := func(c topology.NIC) bool { return c.Host.PCI != "" }
	return b.State.Has(node) && !slices.ContainsFunc(n.NICs, of)
}

// impair puts impairments on, and measures what they do.
func (b Build) impair(ctx context.Context, p Plan, tell Tell) ([][]Removable, error) {
	if p.Empty() {
		return nil, nil
	}
	if err := b.floors(ctx, p.Steps(), tell); err != nil {
		return nil, err
	}
	made, err := p.Apply(ctx, tell)
	if err != nil {
		return made, err
	}
	all, err := b.Calibrate(ctx, false, tell)
	for _, c := range all {
		if c.Off() {
			tell.warn(fmt.Sprintf("network %s does not do what it was set to: %s", c.Network, c))
		} else {
			tell.Note(fmt.Sprintf("network %s: %s", c.Network, c))
		}
	}
	return made, err
}

// begin is what nothing of a node is needed for: the lab's folder and its keys.
func (p Plan) begin() Plan { return Plan{p.Stages[:2]} }

// parts are what is made before the lab is proven, and what after: its impairments.
func (b Build) parts() (before, after [][]Resource) {
	all := b.Resources()
	last := len(all) - 1
	return all[:last], all[last:]
}
