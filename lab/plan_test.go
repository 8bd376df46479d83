package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

func TestPlanUp(t *testing.T) {
	j := &journal{}
	p, err := PlanUp(t.Context(), [][]Resource{
		{fake{name: "folder/x", was: host.Present, journal: j}},
		{fake{name: "network/a", was: host.Absent, journal: j}, fake{name: "network/b", was: host.Partial, journal: j}},
		{},
		{fake{name: "machine/m", was: host.Absent, journal: j}},
	})
	must(t, err)
	if got, want := p.String(), "create network/a\ncomplete network/b\ncreate machine/m\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if p.Empty() || len(p.Stages) != 4 {
		t.Errorf("empty %v, %d stages", p.Empty(), len(p.Stages))
	}
	if len(j.done) > 0 {
		t.Errorf("planning did %q", j.done)
	}
	if p, err := PlanUp(t.Context(), [][]Resource{{fake{name: "a", was: host.Present}}}); err != nil || !p.Empty() {
		t.Errorf("%q, %v: all is there", p, err)
	}
}

func TestPlanUpFails(t *testing.T) {
	_, err := PlanUp(t.Context(), [][]Resource{{fake{name: "network/a", stateErr: errBroken}}})
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "look at network/a") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PlanUp(ctx, [][]Resource{{fake{}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after the end of its context", err)
	}
}

// drawStages draws the resources of a lab in any state, some of which break.
func drawStages(r *rapid.T, j *journal) [][]fake {
	var stages [][]fake
	for i := range rapid.IntRange(1, 5).Draw(r, "stages") {
		var stage []fake
		for k := range rapid.IntRange(0, 4).Draw(r, "resources") {
			stage = append(stage, fake{
				name:    fmt.Sprintf("%d/%d", i, k),
				was:     rapid.SampledFrom([]host.State{host.Absent, host.Partial, host.Present}).Draw(r, "state"),
				breaks:  rapid.IntRange(0, 9).Draw(r, "breaks") == 0,
				stays:   rapid.IntRange(0, 3).Draw(r, "stays") == 0,
				journal: j,
			})
		}
		stages = append(stages, stage)
	}
	return stages
}

// Whatever a host looks like and whatever breaks: Apply makes what is missing up
// to the stage that fails, and the undo takes back just what it made from
// nothing, last stage first and past failures.
func TestApplyAndUndo(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		j := &journal{}
		stages := drawStages(r, j)
		var resources [][]Resource
		var makes, breaks, undoes, stays []string
		failed := false
		for _, stage := range stages {
			var rs []Resource
			for _, f := range stage {
				rs = append(rs, f)
			}
			resources = append(resources, rs)
			if failed {
				continue
			}
			for _, f := range stage {
				if f.was == host.Present {
					continue
				}
				makes = append(makes, f.name)
				if f.breaks {
					breaks = append(breaks, f.name)
					failed = true
				}
				if f.was == host.Absent {
					undoes = append(undoes, f.name)
					if f.stays {
						stays = append(stays, f.name)
					}
				}
			}
		}
		p, err := PlanUp(context.Background(), resources)
		if err != nil {
			r.Fatal(err)
		}
		made, err := p.Apply(context.Background(), deaf)
		if got := j.sorted("create"); !slices.Equal(got, makes) {
			r.Fatalf("made %q, want %q", got, makes)
		}
		inOrder(r, j.done)
		namesThem(r, err, breaks)
		if got := names(made); !slices.Equal(got, undoes) {
			r.Fatalf("to undo: %q, want %q", got, undoes)
		}
		j.done = nil
		err = destroy(context.Background(), made, deaf)
		if got := j.sorted("destroy"); !slices.Equal(got, undoes) {
			r.Fatalf("undid %q, want %q", got, undoes)
		}
		slices.Reverse(j.done)
		inOrder(r, j.done)
		namesThem(r, err, stays)
	})
}

// inOrder fails the test where something of a stage was done after something of a later one.
func inOrder(r *rapid.T, done []string) {
	last := byte('0')
	for _, d := range done {
		_, name, _ := strings.Cut(d, " ")
		if name[0] < last {
			r.Fatalf("stages out of order: %q", done)
		}
		last = name[0]
	}
}

// namesThem fails the test unless err is about just these.
func namesThem(r *rapid.T, err error, names []string) {
	if (err != nil) != (len(names) > 0) {
		r.Fatalf("%v; want errors of %q", err, names)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errBroken) || strings.Count(err.Error(), errBroken.Error()) != len(names) {
		r.Fatalf("%v; want errors of %q", err, names)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), " "+n+": ") {
			r.Fatalf("%v; want errors of %q", err, names)
		}
	}
}

// A stage's resources are made at once: here each waits for all the others.
func TestApplyMakesAStageAtOnce(t *testing.T) {
	const n = 4
	var all sync.WaitGroup
	all.Add(n)
	meet := func(ctx context.Context) error {
		all.Done()
		met := make(chan struct{})
		go func() { all.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-ctx.Done():
			return errors.New("alone")
		}
	}
	j := &journal{}
	var stage []Resource
	for i := range n {
		stage = append(stage, fake{name: fmt.Sprint(i), creating: meet, journal: j})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p, err := PlanUp(ctx, [][]Resource{stage})
	must(t, err)
	if _, err := p.Apply(ctx, deaf); err != nil {
		t.Error(err)
	}
}

// What is under way in a stage that fails is finished: the undo then knows what there is.
func TestApplyFinishesAStageThatFails(t *testing.T) {
	j := &journal{}
	failed := make(chan struct{})
	p, err := PlanUp(t.Context(), [][]Resource{{
		fake{name: "breaks", journal: j, creating: func(context.Context) error { defer close(failed); return errBroken }},
		fake{name: "late", journal: j, creating: func(ctx context.Context) error {
			<-failed
			j.add("finished late")
			return ctx.Err()
		}},
	}})
	must(t, err)
	made, err := p.Apply(t.Context(), deaf)
	if !errors.Is(err, errBroken) || strings.Contains(err.Error(), "late") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff([]string{"breaks", "late"}, names(made)); d != "" || len(j.sorted("finished")) != 1 {
		t.Errorf("%q was done; made (-want +got)\n%s", j.done, d)
	}
}

func TestApplyEndsBetweenStages(t *testing.T) {
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	j := &journal{}
	p, err := PlanUp(ctx, [][]Resource{
		{fake{name: "first", journal: j, creating: func(context.Context) error { cancel(interrupted); return nil }}},
		{fake{name: "second", journal: j}},
	})
	must(t, err)
	made, err := p.Apply(ctx, deaf)
	if !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff([]string{"first"}, names(made)); d != "" {
		t.Errorf("made (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"create first"}, j.done); d != "" {
		t.Errorf("done (-want +got)\n%s", d)
	}
}

func TestEventsAreComplete(t *testing.T) {
	var r recorder
	j := &journal{}
	p, err := PlanUp(t.Context(), [][]Resource{
		{fake{name: "a", journal: j}, fake{name: "b", was: host.Partial, journal: j}, fake{name: "there", was: host.Present, journal: j}},
		{fake{name: "c", breaks: true, stays: true, journal: j}},
	})
	must(t, err)
	made, err := p.Apply(t.Context(), r.tell)
	_ = Build{On: hosttest.New(t)}.takeBack(t.Context(), made, false, r.tell, err)
	r.complete(t)
	var ends []string
	for _, e := range r.events {
		if e.Phase == Ends {
			ends = append(ends, fmt.Sprintf("%s %s %v", e.Verb, e.Resource, e.Err))
		}
	}
	slices.Sort(ends[:2])
	want := []string{"complete b <nil>", "create a <nil>", "create c broken", "remove c broken", "remove a <nil>"}
	if d := cmp.Diff(want, ends); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTakeBack(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		made   bool
		keep   bool
		undone []string
		warns  int
	}{
		"undone":               {t.Context(), true, false, []string{"b", "a"}, 0},
		"after an interrupt":   {interrupted, true, false, []string{"b", "a"}, 0},
		"kept":                 {t.Context(), true, true, nil, 1},
		"nothing made":         {t.Context(), false, false, nil, 0},
		"nothing made to keep": {t.Context(), false, true, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal{}
			made := [][]Removable{{}, {}}
			if test.made {
				made = [][]Removable{{fake{name: "a", journal: j}}, {fake{name: "b", journal: j}}}
			}
			var r recorder
			if err := (Build{On: hosttest.New(t)}).takeBack(test.ctx, made, test.keep, r.tell, errBroken); err == nil || err.Error() != errBroken.Error() {
				t.Errorf("%v; want why it is taken back, and nothing else", err)
			}
			var undone []string
			for _, d := range j.done {
				undone = append(undone, strings.TrimPrefix(d, "destroy "))
			}
			if d := cmp.Diff(test.undone, undone); d != "" {
				t.Errorf("undone (-want +got)\n%s", d)
			}
			warns := 0
			for _, e := range r.events {
				if e.Phase == Warns {
					warns++
				}
			}
			if warns != test.warns {
				t.Errorf("%d warnings, want %d", warns, test.warns)
			}
		})
	}
}

func TestReady(t *testing.T) {
	both := make(chan struct{}, 2)
	together := func(ctx context.Context) error { // each needs the other to have come
		both <- struct{}{}
		for len(both) < 2 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var r recorder
	must(t, Ready(ctx, [][]Resource{
		{slow{fake{name: "a"}, together}, fake{name: "made"}},
		{slow{fake{name: "b"}, together}},
	}, r.tell))
	r.complete(t)
	notes := 0
	for _, e := range r.events {
		if e.Resource == "made" {
			t.Errorf("%s is ready when made", e.Resource)
		}
		if e.Phase == Notes && e.Note == "the end" && e.Verb == "wait" {
			notes++
		}
	}
	if notes != 2 {
		t.Errorf("%d notes of what is waited for", notes)
	}
}

func TestReadyEndsWithTheFirstFailure(t *testing.T) {
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	var r recorder
	err := Ready(t.Context(), [][]Resource{{
		slow{fake{name: "waits"}, forever},
		slow{fake{name: "dies"}, func(context.Context) error { return errBroken }},
	}}, r.tell)
	if !errors.Is(err, errBroken) || err.Error() != "dies: broken" {
		t.Errorf("%v", err)
	}
	r.complete(t)
}

func TestOverdue(t *testing.T) {
	late := TimedOut{time.Second}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, late)
	defer cancel()
	<-ctx.Done()
	if err := overdue(ctx, errBroken); !errors.Is(err, late) || !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if err := overdue(ctx, fmt.Errorf("waiting: %w", late)); err.Error() != "waiting: "+late.Error() {
		t.Errorf("%v says it twice", err)
	}
	if err := overdue(ctx, nil); err != nil {
		t.Errorf("%v: it was done in time", err)
	}
	if err := overdue(t.Context(), errBroken); err.Error() != "broken" {
		t.Errorf("%v", err)
	}
}
