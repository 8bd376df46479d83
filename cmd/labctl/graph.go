package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/lab/graph"
	"github.com/mami-project/labctl/topology"
)

var graphCommand = &cli.Command{
	Name:      "graph",
	Usage:     "draw a lab: nodes, networks, what joins their sides, mirrors, published ports",
	ArgsUsage: "[FILE or NAME]",
	Description: "A FILE is drawn as it is, without a host: ./lab.yaml or the built-in lab where none is named, with\n" +
		"subnets left open as a host that uses none would have them. A NAME is a lab on this host, drawn as it was made.\n" +
		"--live draws a lab that is up, with the states of its nodes and links, and what passed these and the mirrors.\n\n" +
		"Without --format the form is that of the --output's ending (.svg, .dot, .gv, .mmd, .mermaid, .txt), and text\n" +
		"elsewhere, also in a pipe: what one sees is then what | less and > FILE have.",
	Flags: []cli.Flag{
		labFlag,
		&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`FORM`: svg, dot (Graphviz), mermaid or text"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write to; - for standard output"},
		&cli.BoolFlag{Name: "live", Usage: "draw a lab that is up, with states and counters"},
	},
	Action: runGraph,
}

// forms are those of a drawing, with the endings of their files.
var forms = []struct {
	name    string
	endings []string
	draw    func(graph.Lab, io.Writer) string
}{
	{"svg", []string{".svg"}, func(l graph.Lab, _ io.Writer) string { return l.SVG() }},
	{"dot", []string{".dot", ".gv"}, func(l graph.Lab, _ io.Writer) string { return l.DOT() }},
	{"mermaid", []string{".mmd", ".mermaid"}, func(l graph.Lab, _ io.Writer) string { return l.Mermaid() }},
	{"text", []string{".txt"}, func(l graph.Lab, w io.Writer) string { return l.Text(columns(w), inUTF8(os.Getenv)) }},
}

func runGraph(c *cli.Context) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	to := c.String("output")
	form, err := formOf(c.String("format"), to)
	if err != nil {
		return err
	}
	l, lookErr := drawn(c, append(args, "")[0])
	if l.Name == "" {
		return lookErr
	}
	if to == "" || to == "-" {
		_, err = io.WriteString(c.App.Writer, forms[form].draw(l, c.App.Writer))
	} else {
		err = host.WriteFile(to, []byte(forms[form].draw(l, nil)), 0o644)
	}
	return errors.Join(err, lookErr)
}

// formOf is which of the forms is asked for, by name or by the ending of the file.
func formOf(name, file string) (int, error) {
	var names, endings []string
	for i, f := range forms {
		if f.name == name || name == "" && slices.Contains(f.endings, strings.ToLower(filepath.Ext(file))) {
			return i, nil
		}
		names, endings = append(names, f.name), append(endings, f.endings...)
	}
	switch {
	case name != "":
		return 0, usage{fmt.Sprintf("--format is %q\n  expected one of %s", name, strings.Join(names, ", "))}
	case file != "" && file != "-":
		return 0, usage{fmt.Sprintf("--output is %q, whose ending is none of %s\n  name the form with --format", file, strings.Join(endings, ", "))}
	}
	return len(forms) - 1, nil
}

// drawn is the lab that the command is about. With an error it is what could be seen of it, or has no name.
func drawn(c *cli.Context, argument string) (graph.Lab, error) {
	named := c.String("lab") != "" || argument != "" && !isFile(argument)
	if !named && !c.Bool("live") {
		f, from, err := readFile(c)
		if err != nil {
			return graph.Lab{}, err
		}
		l, err := topology.Decide(f, nil, topology.Chosen{})
		return graph.Of(l, from, nil), err
	}
	h, err := toLook(c)
	if err != nil {
		return graph.Lab{}, err
	}
	defer h.Close()
	name, err := labName(c, h, argument)
	if err != nil {
		return graph.Lab{}, err
	}
	b, err := lab.Open(h, name)
	if err != nil || !c.Bool("live") {
		return graph.Of(b.Lab, b.Tag.From, nil), err
	}
	s, err := b.Look(c.Context)
	return graph.Of(b.Lab, b.Tag.From, liveOf(s)), err
}

// liveOf is what a status tells a drawing.
func liveOf(s lab.Status) *graph.Live {
	l := &graph.Live{
		State: s.State, Nodes: map[string]string{}, NICs: map[graph.Place]graph.NICLive{},
		Segments: map[graph.Place]string{}, Mirrors: map[string]graph.Mirrored{},
		Impairments: map[string]string{},
	}
	for _, i := range s.Impairments {
		if i.Failed == "" {
			l.Impairments[i.Network+"/"+i.Direction] = i.Now
		}
	}
	for _, n := range s.Nodes {
		l.Nodes[n.Name] = nodeState(n)
		for _, c := range n.NICs {
			nic := graph.NICLive{State: c.HostState}
			if c.Traffic != nil {
				nic.Counted, nic.Sent, nic.Received = true, c.Traffic.Sent.Frames, c.Traffic.Received.Frames
			}
			l.NICs[graph.Place{Node: n.Name, Network: c.Network, Side: c.Side, Copy: c.Mirror != ""}] = nic
		}
	}
	for _, n := range s.Networks {
		for _, g := range n.Segments {
			if g.State != host.Present.String() {
				l.Segments[graph.Place{Network: n.Name, Side: g.Side}] = g.State
			}
		}
	}
	for _, m := range s.Mirror {
		k := graph.Mirrored{}
		if m.State != host.Present.String() {
			k.State = m.State
		}
		if m.Counters != nil {
			k.Counted, k.Copied, k.Dropped = true, m.Counters.Sent.Frames+m.Counters.Received.Frames, lost(*m.Counters)
		}
		l.Mirrors[m.From] = k
	}
	return l
}

// nodeState is a node's state in a word or two.
func nodeState(n lab.NodeStatus) string {
	switch {
	case n.Ready:
		return "ready"
	case n.State == host.Present.String():
		return "not ready"
	case n.State == host.Partial.String():
		return "off"
	}
	return n.State
}

// columns is how wide the terminal is that w leads to; 80 elsewhere.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if wide, _, err := term.GetSize(int(f.Fd())); err == nil && wide > 0 {
			return wide
		}
	}
	return 80
}

// inUTF8 says whether the locale's characters are UTF-8: LC_ALL goes before LC_CTYPE, and that before LANG.
func inUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ReplaceAll(strings.ToLower(v), "-", "")
			return strings.Contains(v, "utf8")
		}
	}
	return false
}
