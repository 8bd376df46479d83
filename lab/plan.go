package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/host"
)

// Step is a resource and what was found of it.
type Step struct {
	Resource
	Was host.State
}

// Verb is what is done about the resource; "" where nothing is.
func (s Step) Verb() string {
	switch s.Was {
	case host.Absent:
		return "create"
	case host.Partial:
		return "complete"
	default:
		return ""
	}
}

// Plan is what `up` does, decided before anything is done.
type Plan struct {
	Stages [][]Step
}

// PlanUp asks each resource for its state.
func PlanUp(ctx context.Context, stages [][]Resource) (Plan, error) {
	var p Plan
	for _, stage := range stages {
		var steps []Step
		for _, r := range stage {
			if err := ctx.Err(); err != nil {
				return Plan{}, err
			}
			was, err := r.State(ctx)
			if err != nil {
				return Plan{}, fmt.Errorf("look at %s: %w", r, err)
			}
			steps = append(steps, Step{r, was})
		}
		p.Stages = append(p.Stages, steps)
	}
	return p, nil
}

// Steps are those where something is to be done, in order.
func (p Plan) Steps() []Step {
	var todo []Step
	for _, stage := range p.Stages {
		for _, s := range stage {
			if s.Verb() != "" {
				todo = append(todo, s)
			}
		}
	}
	return todo
}

// Empty says that nothing is to be done.
func (p Plan) Empty() bool { return len(p.Steps()) == 0 }

// String is the plan as users see it, a line a step.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps() {
		fmt.Fprintf(&b, "%s %s\n", s.Verb(), s)
	}
	return b.String()
}

// Apply does the plan, stage by stage and a stage's steps at once. It returns
// what it made where nothing was before, in stages, also when it fails: that is
// what an undo takes back.
func (p Plan) Apply(ctx context.Context, tell Tell) (made [][]Removable, err error) {
	for _, stage := range p.Stages {
		if ctx.Err() != nil {
			return made, context.Cause(ctx)
		}
		made = append(made, nil)
		var mu sync.Mutex
		var group errgroup.Group
		group.SetLimit(atOnce)
		var errs []error
		for _, s := range stage {
			if s.Verb() == "" {
				continue
			}
			if s.Was == host.Absent {
				made[len(made)-1] = append(made[len(made)-1], s.Resource)
			}
			group.Go(func() error {
				err := tell.work(s.Verb(), s.String(), func() error { return s.Create(ctx) })
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("%s %s: %w", s.Verb(), s, err))
				}
				return nil // the rest of a stage is finished: an undo then knows what there is
			})
		}
		_ = group.Wait()
		if len(errs) > 0 {
			return made, errors.Join(errs...)
		}
	}
	return made, nil
}

// How many resources of a stage are worked on at once.
const atOnce = 16
