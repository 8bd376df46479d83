package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

// display shows the work as it goes on, on stderr: results go to stdout.
type display interface {
	tell(lab.Event)
	close()
}

// told is an error that the display has told.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// working does a piece of work and shows it. With --events the error that ended
// it is the last of the events.
func working(c *cli.Context, do func(lab.Tell) error) error {
	show := newDisplay(c)
	err := do(show.tell)
	show.close()
	if err == nil || !c.Bool("events") {
		return err
	}
	show.tell(lab.Event{Time: time.Now(), Phase: lab.Fails, Verb: c.Command.Name, Err: err})
	return told{err}
}

// newDisplay is JSON lines where asked for, live on a terminal, plain lines elsewhere.
func newDisplay(c *cli.Context) display { return harmless{chosenDisplay(c)} }

// harmless shows a guest's words, which a note may hold, in a way fit for a terminal.
type harmless struct{ display }

func (h harmless) tell(e lab.Event) {
	e.Note = host.Printable([]byte(e.Note))
	h.display.tell(e)
}

func chosenDisplay(c *cli.Context) display {
	w := c.App.ErrWriter
	if c.Bool("events") {
		return &jsonLines{w: w}
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return newLive(mpb.WithOutput(w), mpb.WithAutoRefresh())
	}
	return &plain{w: w, since: map[string]time.Time{}}
}

// plain prints a line for each piece of work that ended, and for what is waited for.
type plain struct {
	mu    sync.Mutex
	w     io.Writer
	since map[string]time.Time
}

func (p *plain) tell(e lab.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := e.Verb + " " + e.Resource
	switch e.Phase {
	case lab.Starts:
		p.since[key] = e.Time
	case lab.Notes:
		fmt.Fprintln(p.w, noteLine(e))
	case lab.Warns:
		fmt.Fprintf(p.w, "warning: %s\n", e.Note)
	case lab.Ends:
		fmt.Fprintln(p.w, endLine(e, p.since[key]))
	}
}

func (p *plain) close() {}

func noteLine(e lab.Event) string {
	if e.Verb == "" {
		return e.Note
	}
	return e.Verb + " " + e.Resource + ": " + e.Note
}

func endLine(e lab.Event, since time.Time) string {
	how := "done"
	if e.Err != nil {
		how = "failed"
	}
	return fmt.Sprintf("%s %s: %s (%.1f s)", e.Verb, e.Resource, how, e.Time.Sub(since).Seconds())
}

// jsonLines prints every event as one line of JSON.
type jsonLines struct {
	mu sync.Mutex
	w  io.Writer
}

type jsonEvent struct {
	Time     time.Time `json:"time"`
	Phase    lab.Phase `json:"phase"`
	Verb     string    `json:"verb,omitempty"`
	Resource string    `json:"resource,omitempty"`
	Note     string    `json:"note,omitempty"`
	Error    string    `json:"error,omitempty"`
}

func (j *jsonLines) tell(e lab.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := jsonEvent{Time: e.Time, Phase: e.Phase, Verb: e.Verb, Resource: e.Resource, Note: e.Note}
	if e.Err != nil {
		line.Error = host.Printable([]byte(e.Err.Error()))
	}
	_ = json.NewEncoder(j.w).Encode(line) // a reader that went away does not stop the work
}

func (j *jsonLines) close() {}

// live shows a moving line for each piece of work under way, and leaves a line for each that ended.
type live struct {
	mu   sync.Mutex
	bars *mpb.Progress
	of   map[string]*work
}

func newLive(options ...mpb.ContainerOption) *live {
	return &live{bars: mpb.New(options...), of: map[string]*work{}}
}

// work is one moving line.
type work struct {
	bar   *mpb.Bar
	since time.Time
	// What is waited for. It is read while a line is drawn, for which live's lock
	// cannot be held: whoever tells holds it until the line is drawn.
	note atomic.Value
}

func (l *live) tell(e lab.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := e.Verb + " " + e.Resource
	switch e.Phase {
	case lab.Starts:
		l.of[key] = l.start(key, e.Time)
	case lab.Notes:
		if w := l.of[key]; w != nil {
			w.note.Store(e.Note)
		} else {
			fmt.Fprintf(l.bars, "%s: %s\n", key, e.Note)
		}
	case lab.Warns:
		fmt.Fprintf(l.bars, "warning: %s\n", e.Note)
	case lab.Ends:
		if w := l.of[key]; w != nil {
			w.bar.Abort(true)
			delete(l.of, key)
			fmt.Fprintln(l.bars, endLine(e, w.since))
		}
	}
}

func (l *live) start(key string, since time.Time) *work {
	w := &work{since: since}
	w.bar = l.bars.New(1, mpb.SpinnerStyle(), mpb.BarRemoveOnComplete(), mpb.BarWidth(1),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			if note := w.note.Load(); note != nil {
				return fmt.Sprintf(" %s: %s", key, note)
			}
			return " " + key
		})))
	return w
}

// close ends the moving lines: what is printed after it stays below.
func (l *live) close() {
	l.mu.Lock()
	for _, w := range l.of {
		w.bar.Abort(true)
	}
	l.mu.Unlock()
	l.bars.Shutdown()
}
