package lab

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
)

// workers are the nodes in which a worker was started, so that what goes on from what is then saved of
// them is proven the sooner.
type workers struct {
	mu    sync.Mutex
	nodes []string
}

// start starts a worker in a node that is ready, and has it take frames whose marks begin like that. A
// node that has none is the slower when it goes on.
func (w *workers) start(ctx context.Context, b Build, m domains.Machine, marks string, tell Tell) {
	worker, err := m.StartWorker(ctx)
	if worker != nil {
		if err = b.lookFor(ctx, worker, m.Node.Name, marks); err != nil {
			_, _ = worker.Ask(ctx, "end")
		}
		_ = worker.Close()
	}
	if err != nil && ctx.Err() == nil {
		tell.warn(fmt.Sprintf("node %s has no worker: %v", m.Node.Name, err))
	}
	if worker == nil || err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = append(w.nodes, m.Node.Name)
	slices.Sort(w.nodes)
}

// lookFor has a node's worker take the frames that a proof looks for there.
func (b Build) lookFor(ctx context.Context, w *domains.Worker, node, marks string) error {
	e, err := b.newExperiment(marks)
	if err != nil {
		return err
	}
	for _, p := range e.points() {
		if p.node.Name == node {
			return e.take(ctx, w, p)
		}
	}
	return nil
}

// endUnused ends the workers that the proof had no use for, and did not end: of nodes that carry no
// marked frames.
func (b Build) endUnused(ctx context.Context) {
	used := map[string]bool{}
	if e, err := b.newExperiment(b.State.Marks); err == nil {
		for _, p := range e.points() {
			used[p.node.Name] = true
		}
	}
	b.endWorkers(ctx, func(node string) bool { return b.State.HasWorker(node) && !used[node] })
}

// endWorkers ends the workers of those nodes. One that cannot be ended does it by itself.
func (b Build) endWorkers(ctx context.Context, of func(node string) bool) {
	ctx, cancel := context.WithTimeout(ctx, disarmTime)
	defer cancel()
	var group errgroup.Group
	for _, m := range b.Machines() {
		if of(m.Node.Name) {
			group.Go(func() error { return m.EndWorker(ctx) })
		}
	}
	_ = group.Wait()
}
