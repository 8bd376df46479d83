package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

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
