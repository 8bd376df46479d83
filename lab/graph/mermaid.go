package graph

import (
	"fmt"
	"strings"
)

// Mermaid is the lab as a flowchart of Mermaid, in its plain syntax.
func (l Lab) Mermaid() string {
	var b strings.Builder
	by := l.ids()
	fmt.Fprintf(&b, "flowchart TB\n  accTitle: %s\n", mermaidText(l.title()))
	if l.hasHost() {
		fmt.Fprintln(&b, `  host["the host"]`)
	}
	for _, n := range l.Networks {
		for _, g := range n.Segments {
			name := key(n.Name, g.Side)
			fmt.Fprintf(&b, "  %s([\"%s\"])\n", by.segments[name], mermaidText(name, g.Text))
		}
	}
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "  %s[\"%s\"]\n", by.nodes[n.Name], mermaidText(n.label(l)...))
	}
	arrows := map[edgeKind]string{joins: "---", wired: "===", copies: "-.->"}
	for _, e := range l.edges(by, "host") {
		fmt.Fprintf(&b, "  %s %s|\"%s\"| %s\n", e.from, arrows[e.kind], mermaidText(e.lines...), e.to)
	}
	return b.String()
}

// mermaidText is lines as they may stand in quotes: whatever is no letter, digit or
// harmless sign as its code.
func mermaidText(lines ...string) string {
	all := make([]string, len(lines))
	for i, line := range lines {
		var b strings.Builder
		for _, r := range plain(line) {
			switch {
			case r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,:/-", r)):
				b.WriteRune(r)
			default:
				fmt.Fprintf(&b, "#%d;", r)
			}
		}
		all[i] = b.String()
	}
	return strings.Join(all, "<br/>")
}
