package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var timelineStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// exampleTimeline is of a run that fails, with its events so many milliseconds after its start.
func exampleTimeline() *Timeline {
	at := func(ms int) time.Time { return timelineStart.Add(time.Duration(ms) * time.Millisecond) }
	t := &Timeline{Name: "labctl up", Start: at(0), End: at(20_000)}
	for _, e := range []Event{
		{Time: at(10), Phase: Notes, Note: "lab demo, from demo.yaml"},
		{Time: at(100), Phase: Starts, Verb: "create", Resource: "network/control"},
		{Time: at(150), Phase: Starts, Verb: "create", Resource: "disk/a-machine-with-a-long-name"},
		{Time: at(400), Phase: Ends, Verb: "create", Resource: "disk/a-machine-with-a-long-name"},
		{Time: at(350), Phase: Ends, Verb: "create", Resource: "network/control"},
		{Time: at(500), Phase: Starts, Verb: "create", Resource: "machine/a"},
		{Time: at(900), Phase: Ends, Verb: "create", Resource: "machine/a"},
		{Time: at(910), Phase: Warns, Note: "no KVM"},
		{Time: at(1000), Phase: Starts, Verb: "wait", Resource: "machine/a"},
		{Time: at(1000), Phase: Notes, Verb: "wait", Resource: "machine/a", Note: "the guest agent answers (1 of 3)"},
		{Time: at(9000), Phase: Notes, Verb: "wait", Resource: "machine/a", Note: "addresses and names are as written, and much more (2 of 3)"},
		{Time: at(9050), Phase: Notes, Verb: "wait", Resource: "machine/a", Note: "the \x1b[31mend (3 of 3)"},
		{Time: at(15_000), Phase: Ends, Verb: "wait", Resource: "machine/a", Err: errors.New("the machine has \x1b[31mstopped")},
		{Time: at(15_100), Phase: Starts, Verb: "remove", Resource: "machine/a"},
		{Time: at(15_600), Phase: Ends, Verb: "remove", Resource: "machine/a"},
		{Time: at(16_000), Phase: Starts, Verb: "remove", Resource: "network/control"}, // interrupted
	} {
		t.Tell(e)
	}
	return t
}

func TestTimeline(t *testing.T) {
	for name, write := range map[string]func(*bytes.Buffer) error{
		"timeline.json": func(b *bytes.Buffer) error { return exampleTimeline().Trace(b) },
		"timeline.txt":  func(b *bytes.Buffer) error { return exampleTimeline().Text(b, 80) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			must(t, write(&b))
			path := filepath.Join("testdata", name)
			if *update {
				must(t, os.WriteFile(path, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile(path)
			must(t, err)
			if d := cmp.Diff(string(want), b.String()); d != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, d)
			}
		})
	}
}

// What is read of a trace: events of one lane lie one after the other, or one in the other.
func TestTraceNests(t *testing.T) {
	var b bytes.Buffer
	must(t, exampleTimeline().Trace(&b))
	var all struct {
		Events []struct {
			Ph           string
			Ts, Dur, Tid int64
		} `json:"traceEvents"`
	}
	must(t, json.Unmarshal(b.Bytes(), &all))
	for i, x := range all.Events {
		for _, y := range all.Events[i+1:] {
			apart := x.Ts+x.Dur <= y.Ts || y.Ts+y.Dur <= x.Ts
			inside := x.Ts <= y.Ts && y.Ts+y.Dur <= x.Ts+x.Dur
			if x.Ph == "X" && y.Ph == "X" && x.Tid == y.Tid && !apart && !inside {
				t.Errorf("%+v and %+v overlap", x, y)
			}
		}
	}
}

// The chart keeps to the columns it has, and to 80 at the least.
func TestTimelineFits(t *testing.T) {
	for _, columns := range []int{0, 80, 81, 132, 300} {
		var b bytes.Buffer
		must(t, exampleTimeline().Text(&b, columns))
		for l := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > max(columns, 80) {
				t.Errorf("%d characters in %d columns: %s", n, columns, l)
			}
		}
	}
	none := Timeline{Name: "labctl up", Start: timelineStart, End: timelineStart}
	var b bytes.Buffer
	must(t, none.Text(&b, 80))
	must(t, none.Trace(&b))
}
