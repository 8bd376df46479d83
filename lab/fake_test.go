package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mami-project/labctl/host"
)

// journal is what was done, in order.
type journal struct {
	mu   sync.Mutex
	done []string
}

func (j *journal) add(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = append(j.done, what)
}

// sorted is what was done with verb, in no order.
func (j *journal) sorted(verb string) []string {
	var names []string
	for _, d := range j.done {
		if name, ok := strings.CutPrefix(d, verb+" "); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var errBroken = errors.New("broken")

// fake is a resource that only says what was done with it.
type fake struct {
	name     string
	was      host.State
	stateErr error
	breaks   bool // Create fails
	stays    bool // Destroy fails
	creating func(context.Context) error
	*journal
}

func (f fake) String() string { return f.name }

func (f fake) State(context.Context) (host.State, error) { return f.was, f.stateErr }

func (f fake) Create(ctx context.Context) error {
	f.add("create " + f.name)
	if f.creating != nil {
		return f.creating(ctx)
	}
	if f.breaks {
		return errBroken
	}
	return nil
}

func (f fake) Destroy(ctx context.Context) error {
	f.add("destroy " + f.name)
	if f.stays {
		return errBroken
	}
	return ctx.Err()
}

// slow is a fake that is not ready when made.
type slow struct {
	fake
	wait func(context.Context) error
}

func (s slow) Wait(ctx context.Context, tell func(string)) error {
	tell("the end")
	return s.wait(ctx)
}

// deaf hears no events.
func deaf(Event) {}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) tell(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// complete fails the test unless every start has one end, told after it.
func (r *recorder) complete(t *testing.T) {
	t.Helper()
	open := map[string]int{}
	for _, e := range r.events {
		key := e.Verb + " " + e.Resource
		switch e.Phase {
		case Starts:
			open[key]++
		case Ends:
			open[key]--
		}
		if e.Time.IsZero() {
			t.Errorf("%s has no time", key)
		}
		if n := open[key]; n < 0 || n > 1 {
			t.Errorf("%s is open %d times", key, n)
		}
	}
	for key, n := range open {
		if n != 0 {
			t.Errorf("%s has no end", key)
		}
	}
}
