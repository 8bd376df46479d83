package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// ids are the names that things have in a text for another program: their places, so
// that no text of the user's is one.
type ids struct{ nodes, segments map[string]string }

func (l Lab) ids() ids {
	all := ids{map[string]string{}, map[string]string{}}
	for i, n := range l.Nodes {
		all.nodes[n.Name] = fmt.Sprintf("n%d", i)
	}
	for i, n := range l.Networks {
		for j, g := range n.Segments {
			all.segments[key(n.Name, g.Side)] = fmt.Sprintf("s%d_%d", i, j)
		}
	}
	return all
}

// edge joins two things of a drawing; a dashed one is an arrow.
type edge struct {
	from, to string
	lines    []string
	kind     edgeKind
}

type edgeKind int

const (
	joins  edgeKind = iota // a NIC, or the host's address
	wired                  // the network under test
	copies                 // a mirror, or a port
)

// edges are what joins the things that have ids. host is that of the host.
func (l Lab) edges(by ids, host string) []edge {
	var all []edge
	add := func(from, to string, kind edgeKind, lines ...string) {
		if from != "" && to != "" { // a report may tell of half a lab
			all = append(all, edge{from, to, lines, kind})
		}
	}
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if !c.Copy {
				add(by.nodes[n.Name], by.segments[key(c.Network, c.Side)], joins, c.Lines...)
			}
		}
	}
	for _, n := range l.Networks {
		for _, g := range n.Segments {
			if g.Host != "" {
				add(host, by.segments[key(n.Name, g.Side)], joins, g.Host)
			}
		}
		if len(n.Segments) == 2 && n.Under != topology.UnderNode {
			add(by.segments[key(n.Name, n.Segments[0].Side)], by.segments[key(n.Name, n.Segments[1].Side)], wired, n.Lines...)
		}
	}
	for _, c := range l.Copies {
		add(by.nodes[c.From], by.nodes[c.To], copies, append([]string{"copy of " + key(c.Network, c.Side)}, c.Lines...)...)
	}
	for _, p := range l.Ports {
		add(host, by.nodes[p.Node], copies, p.Text)
	}
	return all
}

// hasHost says whether the host has a part in the lab.
func (l Lab) hasHost() bool {
	return len(l.Ports) > 0 || slices.ContainsFunc(l.Networks, func(n Network) bool {
		return slices.ContainsFunc(n.Segments, func(g Segment) bool { return g.Host != "" })
	})
}

// label is what stands in a node's box.
func (n Node) label(l Lab) []string {
	name := n.Name
	if n.State != "" {
		name += " (" + n.State + ")"
	}
	lines := append([]string{name}, n.Lines...)
	for _, net := range l.Networks {
		if net.Under == topology.UnderNode && net.Router == n.Name {
			lines = append(lines, net.ways()...)
		}
	}
	return lines
}

// ways are what a network's directions do to frames, with its name where a node joins its sides.
func (n Network) ways() []string {
	var all []string
	for _, line := range n.Lines[min(1, len(n.Lines)):] {
		all = append(all, n.Name+" "+line)
	}
	return all
}

// DOT is the lab in Graphviz's language.
func (l Lab) DOT() string {
	var b strings.Builder
	by := l.ids()
	fmt.Fprintf(&b, "graph lab {\n  label=%s; labelloc=t; rankdir=TB;\n", dotText(l.title()))
	fmt.Fprintln(&b, `  node [fontname="sans-serif", fontsize=12]; edge [fontname="sans-serif", fontsize=10];`)
	if l.hasHost() {
		fmt.Fprintln(&b, `  host [shape=box, style=dashed, label="the host"];`)
	}
	for _, n := range l.Networks {
		for _, g := range n.Segments {
			name := key(n.Name, g.Side)
			fmt.Fprintf(&b, "  %s [shape=ellipse, label=%s];\n", by.segments[name], dotText(name, g.Text))
		}
	}
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "  %s [shape=box, style=rounded, label=%s];\n", by.nodes[n.Name], dotText(n.label(l)...))
	}
	styles := map[edgeKind]string{joins: "", wired: ", style=bold, penwidth=3", copies: ", style=dashed, dir=forward, constraint=false"}
	for _, e := range l.edges(by, "host") {
		fmt.Fprintf(&b, "  %s -- %s [label=%s%s];\n", e.from, e.to, dotText(e.lines...), styles[e.kind])
	}
	fmt.Fprintln(&b, "}")
	return b.String()
}

// dotText is lines as a quoted string of DOT, in which a backslash begins an escape.
func dotText(lines ...string) string {
	quoted := make([]string, len(lines))
	for i, line := range lines {
		quoted[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`).Replace(plain(line))
	}
	return `"` + strings.Join(quoted, `\n`) + `"`
}
