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

// start starts a worker in a node that is ready. One that has none is the slower when it goes on.
func (w *workers) start(ctx context.Context, m domains.Machine, tell Tell) {
	worker, err := m.StartWorker(ctx)
	if err != nil && ctx.Err() == nil {
		tell.warn(fmt.Sprintf("node %s has no worker: %v", m.Node.Name, err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if worker != nil {
		_ = worker.Close()
		w.nodes = append(w.nodes, m.Node.Name)
		slices.Sort(w.nodes)
	}
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
