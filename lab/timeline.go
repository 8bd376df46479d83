package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mami-project/labctl/host"
)

// Timeline is when each piece of a run's work began and how long it took.
type Timeline struct {
	Name       string // what was run
	Start, End time.Time

	mu     sync.Mutex
	events []Event
}

// Tell keeps an event of the run.
func (t *Timeline) Tell(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

// span is a piece of work, with the steps that its notes divide it into, or one of these.
type span struct {
	name, resource string
	start, end     time.Time
	err            error
	steps          []*span
}

func (s *span) took() time.Duration { return s.end.Sub(s.start) }

// spans are the pieces of work, in the order of their beginnings, and what was told of
// none of them. What has no end goes on to the run's.
func (t *Timeline) spans() (work []*span, notes []Event) {
	open := map[string]*span{}
	for _, e := range t.events {
		key := e.Verb + " " + e.Resource
		s := open[key]
		switch {
		case e.Phase == Starts:
			s = &span{name: e.Verb, resource: e.Resource, start: e.Time, end: t.End}
			open[key], work = s, append(work, s)
		case s == nil:
			notes = append(notes, e)
		case e.Phase == Notes:
			s.step(e.Time)
			s.steps = append(s.steps, &span{name: host.Printable([]byte(e.Note)), resource: e.Resource, start: e.Time, end: t.End})
		case e.Phase == Ends:
			s.step(e.Time)
			s.end, s.err = e.Time, e.Err
			delete(open, key)
		}
	}
	return work, notes
}

// step ends the last step.
func (s *span) step(end time.Time) {
	if n := len(s.steps); n > 0 {
		s.steps[n-1].end = end
	}
}

// traceEvent is an event of the Trace Event Format, in microseconds: complete ("X"), an
// instant ("i") or metadata ("M").
// Source: Google, Trace Event Format (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
type traceEvent struct {
	Name     string            `json:"name"`
	Category string            `json:"cat,omitempty"`
	Phase    string            `json:"ph"`
	Time     int64             `json:"ts"`
	Duration *int64            `json:"dur,omitempty"`
	Process  int               `json:"pid"`
	Thread   int               `json:"tid"`
	Scope    string            `json:"s,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
}

// trace is the JSON object that Chrome (chrome://tracing) and Perfetto open.
type trace struct {
	Events []traceEvent `json:"traceEvents"`
	Unit   string       `json:"displayTimeUnit"`
}

// Trace writes the timeline in the Trace Event Format: a lane for the run and what is
// about all of it, and one for each resource.
func (t *Timeline) Trace(w io.Writer) error {
	work, notes := t.spans()
	all := trace{Unit: "ms"}
	add := func(e traceEvent) {
		e.Process = 1
		all.Events = append(all.Events, e)
	}
	add(traceEvent{Name: "process_name", Phase: "M", Args: map[string]string{"name": t.Name}})
	lanes := map[string]int{}
	lane := func(resource string) int {
		if _, known := lanes[resource]; !known {
			lanes[resource] = len(lanes) + 1
			add(traceEvent{Name: "thread_name", Phase: "M", Thread: lanes[resource], Args: map[string]string{"name": cmp.Or(resource, "run")}})
		}
		return lanes[resource]
	}
	complete := func(category string, s *span) {
		micros := s.took().Microseconds()
		e := traceEvent{Name: s.name, Category: category, Phase: "X", Time: t.micros(s.start), Duration: &micros, Thread: lane(s.resource)}
		if s.err != nil {
			e.Args = map[string]string{"error": host.Printable([]byte(s.err.Error()))}
		}
		add(e)
	}
	complete("run", &span{name: t.Name, start: t.Start, end: t.End})
	for _, s := range work {
		complete("work", s)
		for _, step := range s.steps {
			complete("step", step)
		}
	}
	for _, e := range notes {
		add(traceEvent{Name: host.Printable([]byte(e.Note)), Category: string(e.Phase), Phase: "i", Time: t.micros(e.Time), Thread: lane(e.Resource), Scope: "t"})
	}
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	return out.Encode(all)
}

func (t *Timeline) micros(at time.Time) int64 { return at.Sub(t.Start).Microseconds() }

// The widths of a text timeline's columns: of what was done, and of the bars at the least.
const (
	doneWidth = 36
	barsLeast = 20
)

// shownStep is the share of the run that a step must take to be shown as text.
const shownStep = 0.01

// Text writes the timeline as a chart of bars, in so many columns.
func (t *Timeline) Text(w io.Writer, columns int) error {
	const times = len("  0.00 s   0.00 s  ")
	bars := max(barsLeast, columns-times-doneWidth-2)
	var b strings.Builder
	total := t.End.Sub(t.Start)
	line := func(s *span, what string) {
		failed := ""
		if s.err != nil {
			failed = " failed"
		}
		fmt.Fprintf(&b, "%6.2f s %6.2f s  %s  %s\n", s.start.Sub(t.Start).Seconds(), s.took().Seconds(),
			fitted(what, doneWidth-len(failed))+failed, t.bar(s, bars))
	}
	fmt.Fprintf(&b, "   began     took  %s\n", t.Name)
	work, _ := t.spans()
	for _, s := range work {
		line(s, s.name+" "+s.resource)
		for _, step := range s.steps {
			if step.took().Seconds() >= shownStep*total.Seconds() {
				line(step, "  "+step.name)
			}
		}
	}
	line(&span{start: t.Start, end: t.End}, "in all")
	_, err := io.WriteString(w, b.String())
	return err
}

// bar is when a piece of work went on, of the whole run.
func (t *Timeline) bar(s *span, width int) string {
	total := max(t.End.Sub(t.Start), 1)
	from := int(int64(width) * int64(s.start.Sub(t.Start)) / int64(total))
	from = min(max(from, 0), width-1)
	to := int((int64(width)*int64(s.end.Sub(t.Start)) + int64(total) - 1) / int64(total))
	to = min(max(to, from+1), width)
	return strings.Repeat(" ", from) + strings.Repeat("#", to-from)
}

// fitted is a text in exactly so many characters.
func fitted(text string, width int) string {
	n := utf8.RuneCountInString(text)
	if n > width {
		return string([]rune(text)[:width-1]) + "~"
	}
	return text + strings.Repeat(" ", width-n)
}
