package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
)

// watchPause is how long after a look the next one is taken. A look asks every node's
// agent, which must not become the load that is measured.
const watchPause = 2 * time.Second

// watch is how a lab is looked at again and again, until it is gone or ctx ends.
type watch struct {
	look func(context.Context) (lab.Status, error)
	// wait waits until it is time for the next look; its error ends the watch.
	wait func(context.Context) error
	now  func() time.Time
	show watcher
}

// watcher shows what was seen.
type watcher interface {
	seen(glance) error
	gone(name string, at time.Time) error
	close()
}

// glance is what one look saw, and the good one before it.
type glance struct {
	At     time.Time
	Status lab.Status // with an error, as far as it could be seen; without a name, not at all
	Err    error
	Before *glance // nil for the first
}

func watchLab(c *cli.Context, h *host.Host, name string) error {
	return watch{
		look: lookAgain(h, name),
		wait: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(watchPause):
				return nil
			}
		},
		now:  time.Now,
		show: newWatcher(c),
	}.run(c.Context)
}

// lookAgain looks at a lab as its mark on the host describes it then, also where libvirt
// was restarted since.
func lookAgain(h *host.Host, name string) func(context.Context) (lab.Status, error) {
	return func(ctx context.Context) (lab.Status, error) {
		once, cancel := context.WithCancel(ctx)
		cancel() // one try: the next look is another
		if err := h.Revive(once, func() {}); err != nil {
			return lab.Status{}, err
		}
		b, err := lab.Open(h, name)
		if err != nil {
			return lab.Status{}, err
		}
		return b.Look(ctx)
	}
}

func newWatcher(c *cli.Context) watcher {
	w := c.App.Writer
	if c.Bool("json") {
		return &watchedJSON{w}
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &screen{w: w, size: func() (int, int) {
			wide, high, err := term.GetSize(int(f.Fd()))
			if err != nil || wide <= 0 || high <= 0 {
				return 80, 24
			}
			return wide, high
		}}
	}
	return &changes{w: w}
}

// run returns nil when the lab is gone. A lab that was never there is an error.
func (w watch) run(ctx context.Context) error {
	defer w.show.close()
	var before *glance
	for {
		s, err := w.glimpse(ctx)
		switch {
		case ctx.Err() != nil:
			return status(exitInterrupted)
		case before == nil && err != nil && s.Name == "":
			return err
		case errors.As(err, new(lab.Unknown)):
			return w.show.gone(before.Status.Name, w.now())
		}
		g := glance{At: w.now(), Status: s, Err: err, Before: before}
		if err := w.show.seen(g); err != nil {
			return err // who read it went away
		}
		if g.Before = nil; s.Name != "" {
			before = &g
		}
		if w.wait(ctx) != nil {
			return status(exitInterrupted)
		}
	}
}

// glimpse looks, and does not wait for a node that hangs once ctx has ended.
func (w watch) glimpse(ctx context.Context) (lab.Status, error) {
	type result struct {
		s   lab.Status
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := w.look(ctx)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-ctx.Done():
		return lab.Status{}, ctx.Err()
	}
}

// text is what there is to show of a glance: the state first, then what changes most.
func (g glance) text() (string, error) {
	s := g.Status
	var b bytes.Buffer
	if s.Name == "" {
		return "", nil
	}
	fmt.Fprintf(&b, "lab %s is %s (%s)\t%s\n\n", s.Name, s.State, s.Provenance.Accelerator, g.At.Format(time.TimeOnly))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, nodeState(n), aCell.Replace(nicText(n)))
	}
	for _, m := range s.Mirror {
		fmt.Fprintf(t, "mirror\t%s\t%s to %s %s%s\n", m.State, m.From, m.To, counterText(m), g.mirrorRate(m))
	}
	for _, r := range s.Resources {
		if r.State != host.Present.String() {
			fmt.Fprintf(t, "%s\t%s\n", r.Resource, r.State)
		}
	}
	for _, stray := range s.Strays {
		fmt.Fprintf(t, "%s\tbears the lab's mark, and its file does not speak of it\n", aCell.Replace(stray))
	}
	fmt.Fprintln(t)
	for _, n := range s.Nodes {
		for _, c := range n.NICs {
			if rate := g.nicRate(n.Name, c); rate != "" {
				fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, nicName(c), rate)
			}
		}
	}
	err := t.Flush()
	return b.String(), err
}

func nicName(c lab.NICStatus) string {
	switch {
	case c.Mirror != "":
		return "copy of " + c.Mirror
	case c.Side != "":
		return c.Network + "/" + c.Side
	}
	return c.Network
}

// mirrorRate is what a mirror copied a second since the glance before; "" where that cannot be told.
func (g glance) mirrorRate(m lab.MirrorStatus) string {
	if g.Before == nil || m.Counters == nil {
		return ""
	}
	for _, old := range g.Before.Status.Mirror {
		if old.From != m.From || old.To != m.To || old.Counters == nil {
			continue
		}
		was, is := *old.Counters, *m.Counters
		if is.Sent.Bytes < was.Sent.Bytes || is.Received.Bytes < was.Received.Bytes || lost(is) < lost(was) {
			return "" // it was made anew
		}
		frames := func(was, is networks.Copied) uint64 { return uint64(uint32(is.Frames - was.Frames)) } // the kernel's counter goes round
		return "; " + g.rate(frames(was.Sent, is.Sent)+frames(was.Received, is.Received), is.Sent.Bytes+is.Received.Bytes-was.Sent.Bytes-was.Received.Bytes) +
			fmt.Sprintf(", %.0f/s dropped", g.perSecond(lost(is)-lost(was)))
	}
	return ""
}

// nicRate is what passed a NIC a second since the glance before; "" where that cannot be told.
func (g glance) nicRate(node string, c lab.NICStatus) string {
	if g.Before == nil || c.Traffic == nil {
		return ""
	}
	for _, n := range g.Before.Status.Nodes {
		for _, old := range n.NICs {
			if n.Name != node || nicName(old) != nicName(c) || old.Traffic == nil {
				continue
			}
			was, is := *old.Traffic, *c.Traffic
			if is.Sent.Bytes < was.Sent.Bytes || is.Received.Bytes < was.Received.Bytes || is.Sent.Frames < was.Sent.Frames || is.Received.Frames < was.Received.Frames {
				return "" // its link was made anew
			}
			return "sent " + g.rate(is.Sent.Frames-was.Sent.Frames, is.Sent.Bytes-was.Sent.Bytes) +
				"\treceived " + g.rate(is.Received.Frames-was.Received.Frames, is.Received.Bytes-was.Received.Bytes)
		}
	}
	return ""
}

func (g glance) perSecond(n uint64) float64 {
	if d := g.At.Sub(g.Before.At).Seconds(); d > 0 {
		return float64(n) / d
	}
	return 0
}

// rate is frames and bytes as of a second.
func (g glance) rate(frames, bytes uint64) string {
	bits, unit := 8*g.perSecond(bytes), "bit/s"
	for _, next := range []string{"kbit/s", "Mbit/s", "Gbit/s"} {
		if bits < 999.95 {
			break
		}
		bits, unit = bits/1000, next
	}
	text := fmt.Sprintf("%.1f %s", bits, unit)
	if unit == "bit/s" {
		text = fmt.Sprintf("%.0f %s", bits, unit)
	}
	return fmt.Sprintf("%.0f frames/s, %s", g.perSecond(frames), text)
}

// screen shows each glance in the place of the one before, in one write: nothing flickers.
type screen struct {
	w     io.Writer
	size  func() (wide, high int)
	begun bool
	last  string // the glance that stays when the watch ends
}

// What orders a terminal: another page, as editors have one, without a cursor, and back.
const (
	otherPage = "\x1b[?1049h\x1b[?25l"
	firstPage = "\x1b[?25h\x1b[?1049l"
	toTop     = "\x1b[H"
	lineEnd   = "\x1b[K\r\n" // clears what was longer there before
	clearRest = "\x1b[J"
)

func (s *screen) seen(g glance) error {
	text, err := g.text()
	if text == "" && g.Before != nil {
		text, _ = g.Before.text() // what was seen last
	}
	if err = errors.Join(g.Err, err); err != nil {
		text += "\n" + err.Error() + "\n"
	}
	s.last = harmlessText(text)
	wide, high := s.size()
	var frame strings.Builder
	if !s.begun {
		frame.WriteString(otherPage)
		s.begun = true
	}
	frame.WriteString(toTop)
	lines := strings.Split(strings.TrimRight(s.last, "\n"), "\n")
	for i, line := range lines[:min(len(lines), high)] {
		if i > 0 {
			frame.WriteString(lineEnd)
		}
		frame.WriteString(runewidth.Truncate(line, wide, ""))
	}
	frame.WriteString("\x1b[K" + clearRest)
	_, err = io.WriteString(s.w, frame.String())
	return err
}

func (s *screen) gone(name string, _ time.Time) error {
	s.last += "lab " + name + " is gone\n"
	return nil
}

func (s *screen) close() {
	if s.begun {
		_, _ = io.WriteString(s.w, firstPage+s.last)
	}
}

// harmlessText keeps what errors and marks say from ordering a terminal; tabs would be wider than one column.
func harmlessText(text string) string {
	return strings.ReplaceAll(host.Printable([]byte(text)), "\t", "  ")
}

// changes prints a line, with the time, for each thing that is otherwise than it was.
type changes struct {
	w    io.Writer
	last []fact
	err  string
}

// fact is how a thing is; also is told with it, and no reason to tell it.
type fact struct{ what, how, also string }

// facts are those of a glance.
func (g glance) facts() []fact {
	s := g.Status
	all := []fact{{"lab " + s.Name, s.State, ""}}
	for _, n := range s.Nodes {
		all = append(all, fact{"node " + n.Name, nodeState(n), ""})
		for _, c := range n.NICs {
			all = append(all, fact{"NIC of " + n.Name + ", " + nicName(c), c.HostState, ""})
		}
	}
	for _, r := range s.Resources {
		all = append(all, fact{r.Resource, r.State, ""})
	}
	for _, m := range s.Mirror {
		if text := counterText(m); text != "" {
			all = append(all, fact{"mirror of " + m.From + " to " + m.To, text, g.mirrorRate(m)})
		}
	}
	for _, stray := range s.Strays {
		all = append(all, fact{stray, "bears the lab's mark, and its file does not speak of it", ""})
	}
	return all
}

func (c *changes) seen(g glance) error {
	now := c.last
	var lines []string
	if g.Status.Name != "" {
		now = g.facts()
		for _, f := range now {
			if !slices.ContainsFunc(c.last, func(old fact) bool { return old.what == f.what && old.how == f.how }) {
				lines = append(lines, f.what+": "+f.how+f.also)
			}
		}
		for _, old := range c.last {
			if !slices.ContainsFunc(now, func(f fact) bool { return f.what == old.what }) {
				lines = append(lines, old.what+": gone")
			}
		}
	}
	if g.Err != nil && g.Err.Error() != c.err {
		lines = append(lines, "error: "+g.Err.Error())
	}
	if c.last, c.err = now, ""; g.Err != nil {
		c.err = g.Err.Error()
	}
	return c.tell(g.At, lines...)
}

func (c *changes) tell(at time.Time, lines ...string) error {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%s %s\n", at.Format(time.RFC3339), strings.ReplaceAll(harmlessText(line), "\n", " "))
	}
	_, err := io.WriteString(c.w, b.String())
	return err
}

func (c *changes) gone(name string, at time.Time) error {
	return c.tell(at, "lab "+name+" is gone")
}

func (c *changes) close() {}

// watchedJSON prints each glance as one line of JSON: what status --json tells, and when.
type watchedJSON struct{ w io.Writer }

type jsonGlance struct {
	Time time.Time `json:"time"`
	lab.Status
	Error string `json:"error,omitempty"`
}

func (j *watchedJSON) seen(g glance) error {
	line := jsonGlance{Time: g.At, Status: g.Status}
	if g.Status.Name == "" { // nothing could be seen
		line.Status = nothingOf(g.Before.Status.Name, lab.Unsure)
	}
	if g.Err != nil {
		line.Error = host.Printable([]byte(g.Err.Error()))
	}
	return json.NewEncoder(j.w).Encode(line)
}

func (j *watchedJSON) gone(name string, at time.Time) error {
	return json.NewEncoder(j.w).Encode(jsonGlance{Time: at, Status: nothingOf(name, lab.Nought)})
}

// nothingOf is the status of a lab of which nothing is seen, with empty lists as JSON has them.
func nothingOf(name, state string) lab.Status {
	return lab.Status{
		Name: name, State: state, Nodes: []lab.NodeStatus{}, Networks: []lab.NetworkStatus{}, Mirror: []lab.MirrorStatus{},
		Resources: []lab.ResourceState{}, Strays: []string{}, Provenance: lab.Provenance{Images: map[string]lab.ImageStatus{}},
	}
}

func (j *watchedJSON) close() {}
