package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vbauerster/mpb/v8"

	"github.com/mami-project/labctl/lab"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// story is some work as a walk tells it.
var story = []lab.Event{
	{Time: epoch, Phase: lab.Warns, Note: "no KVM"},
	{Time: epoch, Phase: lab.Notes, Verb: "wait", Resource: "lab/x", Note: "another labctl works on it"},
	{Time: epoch, Phase: lab.Starts, Verb: "create", Resource: "network/a"},
	{Time: epoch, Phase: lab.Starts, Verb: "wait", Resource: "machine/m"},
	{Time: epoch, Phase: lab.Notes, Verb: "wait", Resource: "machine/m", Note: "the agent (1 of 4)"},
	{Time: epoch.Add(1500 * time.Millisecond), Phase: lab.Ends, Verb: "create", Resource: "network/a"},
	{Time: epoch.Add(2 * time.Second), Phase: lab.Ends, Verb: "wait", Resource: "machine/m", Err: errors.New(`it "died"`)},
}

func TestPlainDisplay(t *testing.T) {
	var b bytes.Buffer
	p := &plain{w: &b, since: map[string]time.Time{}}
	for _, e := range story {
		p.tell(e)
	}
	p.close()
	const want = `warning: no KVM
wait lab/x: another labctl works on it
wait machine/m: the agent (1 of 4)
create network/a: done (1.5 s)
wait machine/m: failed (2.0 s)
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestJSONDisplay(t *testing.T) {
	var b bytes.Buffer
	j := &jsonLines{w: &b}
	for _, e := range story {
		j.tell(e)
	}
	j.close()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(story) {
		t.Fatalf("%d lines of %d events", len(lines), len(story))
	}
	open := map[string]int{}
	for i, line := range lines {
		var e jsonEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if s := story[i]; !e.Time.Equal(s.Time) || e.Phase != s.Phase || e.Verb != s.Verb || e.Resource != s.Resource || e.Note != s.Note {
			t.Errorf("%s of %+v", line, s)
		}
		switch e.Phase {
		case lab.Starts:
			open[e.Verb+e.Resource]++
		case lab.Ends:
			open[e.Verb+e.Resource]--
		}
	}
	for what, n := range open {
		if n != 0 {
			t.Errorf("%s has no end", what)
		}
	}
	if !strings.Contains(lines[6], `"error":"it \"died\""`) {
		t.Error(lines[6])
	}
}

// Displays are told of work by many goroutines at once.
func TestDisplaysAtOnce(t *testing.T) {
	var b bytes.Buffer
	for name, d := range map[string]display{
		"plain": &plain{w: &b, since: map[string]time.Time{}},
		"JSON":  &jsonLines{w: &b},
		// drawn far more often than on a terminal
		"live": newLive(mpb.WithOutput(&bytes.Buffer{}), mpb.WithAutoRefresh(), mpb.WithRefreshRate(time.Millisecond)),
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				var group sync.WaitGroup
				for i := range 8 {
					group.Go(func() { tellMuch(d, fmt.Sprintf("machine/%d", i)) })
				}
				group.Wait()
				d.close()
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Minute):
				t.Fatal("it hangs")
			}
		})
	}
}

func tellMuch(d display, resource string) {
	for i := range 50 {
		e := lab.Event{Time: epoch, Verb: "create", Resource: resource, Note: fmt.Sprint(i)}
		for _, e.Phase = range []lab.Phase{lab.Starts, lab.Notes, lab.Warns, lab.Ends} {
			d.tell(e)
		}
	}
}

func TestLiveDisplay(t *testing.T) {
	var b bytes.Buffer
	l := newLive(mpb.WithOutput(&b), mpb.WithAutoRefresh())
	for _, e := range story {
		l.tell(e)
	}
	l.tell(lab.Event{Time: epoch, Phase: lab.Starts, Verb: "wait", Resource: "machine/cut-short"})
	l.close()
	for _, want := range []string{
		"warning: no KVM\n", "wait lab/x: another labctl works on it\n", "create network/a: done (1.5 s)\n", "wait machine/m: failed (2.0 s)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %q", want, b.String())
		}
	}
}

// What is told may hold a guest's words.
func TestDisplaysAreHarmless(t *testing.T) {
	const evil = "\x1b]0;x\x07\u009b31m\u202e"
	var b bytes.Buffer
	for _, d := range []display{&plain{w: &b, since: map[string]time.Time{}}, &jsonLines{w: &b}, newLive(mpb.WithOutput(&b))} {
		d = harmless{d}
		for _, phase := range []lab.Phase{lab.Warns, lab.Notes, lab.Starts, lab.Notes, lab.Ends, lab.Fails} {
			d.tell(lab.Event{Time: epoch, Phase: phase, Verb: "wait", Resource: "machine/m", Note: evil, Err: errors.New(evil)})
		}
		d.close()
	}
	for _, order := range []string{"\x1b]", "\x07", "\u009b", "\u202e"} {
		if strings.Contains(b.String(), order) {
			t.Errorf("%q reaches the terminal", order)
		}
	}
	if !strings.Contains(b.String(), "?]0;x") {
		t.Errorf("nothing is told: %q", b.String())
	}
}
