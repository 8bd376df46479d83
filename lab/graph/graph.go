// Package graph draws a lab: its nodes and their NICs, its networks and what joins
// their sides, where mirrors take their copies, and the host's part in it.
//
//	Of       lab as decided, and what of it is up → Lab, what there is to draw
//	Lab.SVG  and DOT, Mermaid, Text: that in a form
package graph

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/mami-project/labctl/topology"
)

// Lab is what there is to draw of a lab. Its texts may be anything: each form
// writes them so that they mean nothing to who reads it.
type Lab struct {
	Name     string
	From     string // where its file came from
	State    string // of a lab that is up; "" elsewhere
	Nodes    []Node
	Networks []Network
	Copies   []Copy
	Ports    []Port
}

// Node is one machine.
type Node struct {
	Name  string
	Role  string   // in a run; "" elsewhere
	Lines []string // what it is
	State string
	NICs  []NIC
}

// NIC is one network interface of a node.
type NIC struct {
	Network, Side string   // as of the mirrored one where it receives a copy
	Lines         []string // its address, what of the host it is, what passed it
	Copy          bool     // it receives a mirror's copy
}

// Network is one network: a segment, or two sides.
type Network struct {
	Name     string
	Lines    []string // what joins its sides, and what each direction does to frames
	Under    string   // as of topology.Network
	Router   string
	Segments []Segment
}

// Segment is a network without sides, or a side of one.
type Segment struct {
	Side string
	Text string // its subnet, and the host's part in it
	Host string // the host's address on it; "" where it has none
}

// Copy is a mirror: the frames of From's NIC on a network go to To.
type Copy struct {
	From, To      string
	Network, Side string
	Lines         []string // where the copy is taken, and what was copied
}

// Port is one of the host that leads to one of a node.
type Port struct{ Text, Node string }

// Live is what of a lab is up, and what passed there.
type Live struct {
	State    string            // of the lab
	Nodes    map[string]string // their states
	NICs     map[Place]NICLive
	Segments map[Place]string // their states, of those that are not there
	Mirrors  map[string]Mirrored
	// Impairments are what directions do to frames, by NETWORK/SIDE->SIDE.
	Impairments map[string]string
}

// Place is a NIC or a segment, by name: Node is "" for a segment, and Copy says that
// the NIC receives the copy of one there.
type Place struct {
	Node, Network, Side string
	Copy                bool
}

// NICLive is a NIC of a lab that is up.
type NICLive struct {
	State          string // of its link on the host
	Counted        bool   // there are counters
	Sent, Received uint64 // frames, as the node sees it
}

// Mirrored is what a mirror has copied, by the node that is copied.
type Mirrored struct {
	State           string
	Counted         bool
	Copied, Dropped uint64 // frames
}

// Of is what there is to draw of a lab from a file; live is nil where that is not up
// or not to be told.
func Of(l topology.Lab, from string, live *Live) Lab {
	if live == nil {
		live = &Live{}
	}
	out := Lab{Name: l.Name, From: from, State: live.State}
	for _, n := range l.Networks {
		out.Networks = append(out.Networks, networkOf(n, live))
	}
	for _, n := range l.Nodes {
		out.Nodes = append(out.Nodes, nodeOf(n, live))
		for _, p := range n.Publish {
			where := fmt.Sprintf("port %d/%s", p.HostPort, p.Protocol)
			if p.HostAddress.IsValid() {
				where += " of " + p.HostAddress.String()
			}
			out.Ports = append(out.Ports, Port{fmt.Sprintf("%s leads to %s's %d", where, n.Name, p.Port), n.Name})
		}
		for _, c := range n.NICs {
			if c.Mirror != "" {
				out.Copies = append(out.Copies, copyOf(l, n.Name, c, live))
			}
		}
	}
	return out
}

func nodeOf(n topology.Node, live *Live) Node {
	out := Node{Name: n.Name, State: live.Nodes[n.Name], Lines: []string{
		fmt.Sprintf("%s, %d CPU, %d MiB", n.Image, n.CPUs, n.MemoryMiB),
	}}
	if len(n.Services) > 0 {
		out.Lines = append(out.Lines, "runs "+strings.Join(n.Services, ", "))
	}
	if n.Forward {
		out.Lines = append(out.Lines, "forwards")
	}
	for _, c := range n.NICs {
		nic := NIC{Network: c.Network, Side: c.Side, Copy: c.Mirror != ""}
		if nic.Copy {
			nic.Lines = append(nic.Lines, "copy of "+c.Mirror)
		} else {
			for _, a := range c.Addresses() {
				nic.Lines = append(nic.Lines, a.Addr().String())
			}
		}
		if c.Host != (topology.HostDevice{}) {
			text := c.Host.String()
			if c.Host.PF != "" && c.Host.PCI != "" {
				text += ", " + c.Host.PCI
			}
			nic.Lines = append(nic.Lines, text)
		}
		at := live.NICs[Place{n.Name, c.Network, c.Side, nic.Copy}]
		if at.State != "" {
			nic.Lines = append(nic.Lines, "link "+at.State)
		}
		if at.Counted {
			nic.Lines = append(nic.Lines, fmt.Sprintf("%d frames sent", at.Sent), fmt.Sprintf("%d received", at.Received))
		}
		out.NICs = append(out.NICs, nic)
	}
	return out
}

func networkOf(n topology.Network, live *Live) Network {
	out := Network{Name: n.Name, Under: n.Under, Router: n.Router}
	for _, s := range n.Segments {
		parts := []string{s.Subnet.String()}
		if s.Subnet6.IsValid() {
			parts = append(parts, s.Subnet6.String())
		}
		switch {
		case s.Existing:
			parts = append(parts, "bridge "+s.Bridge+" of the host")
		case n.Uplink != "":
			parts = append(parts, "uplink "+n.Uplink)
		}
		if n.MTU != 1500 {
			parts = append(parts, fmt.Sprintf("MTU %d", n.MTU))
		}
		if n.Out.IsValid() {
			parts = append(parts, "gateway "+n.Out.String())
		}
		if s.Uplink != "" {
			parts = append(parts, "NIC "+s.Uplink+" of the host")
		}
		for _, p := range s.Ports {
			parts = append(parts, "fed to "+p+" of the host")
		}
		if state := live.Segments[Place{Network: n.Name, Side: s.Side}]; state != "" {
			parts = append(parts, state)
		}
		g := Segment{Side: s.Side, Text: strings.Join(parts, ", ")}
		if n.Gateway.IsValid() {
			g.Host = n.Gateway.String()
		}
		out.Segments = append(out.Segments, g)
	}
	if n.Under != "" {
		out.Lines = append(out.Lines, underText(n.Under, n.Router))
	}
	var lines []string
	impaired := false
	for _, d := range n.Directions() {
		does := d.Impair.String()
		if now, known := live.Impairments[n.Name+"/"+d.String()]; known {
			does = now
		}
		impaired = impaired || does != (topology.Impair{}).String()
		lines = append(lines, d.String()+": "+does)
	}
	if impaired {
		out.Lines = append(out.Lines, lines...)
	}
	return out
}

// underText says what joins a network's sides.
func underText(under, router string) string {
	switch under {
	case topology.UnderNode:
		return "node " + router
	case topology.UnderExternal:
		return "external, nothing of the lab's"
	}
	return under
}

func copyOf(l topology.Lab, to string, c topology.NIC, live *Live) Copy {
	out := Copy{From: c.Mirror, To: to, Network: c.Network, Side: c.Side, Lines: []string{fmt.Sprintf("taken at %s %s", c.Point.Kind, c.Point.Link)}}
	if from, ok := l.Node(c.Mirror); ok && c.Side == "" {
		if nic, ok := from.NIC(c.Network); ok {
			out.Side = nic.Side
		}
	}
	m := live.Mirrors[c.Mirror]
	if m.State != "" {
		out.Lines = append(out.Lines, m.State)
	}
	if m.Counted {
		out.Lines = append(out.Lines, fmt.Sprintf("%d frames copied, %d dropped", m.Copied, m.Dropped))
	}
	return out
}

// key names a segment among all of a lab's.
func key(network, side string) string {
	if side == "" {
		return network
	}
	return network + "/" + side
}

// title is what stands above a drawing.
func (l Lab) title() string {
	text := "lab " + l.Name
	if l.State != "" {
		text += " is " + l.State
	}
	if l.From != "" {
		text += ", from " + l.From
	}
	return text
}

// About tells in sentences what a drawing shows, for who cannot see it.
func (l Lab) About() string {
	var all []string
	for _, n := range l.Networks {
		for _, g := range n.Segments {
			text := "Network " + key(n.Name, g.Side) + ": " + g.Text
			if g.Host != "" {
				text += ", the host is " + g.Host
			}
			all = append(all, text)
		}
		if len(n.Lines) > 0 {
			all = append(all, "Between the sides of "+n.Name+": "+strings.Join(n.Lines, "; "))
		}
	}
	for _, n := range l.Nodes {
		text := "Node " + n.Name
		if n.State != "" {
			text += " (" + n.State + ")"
		}
		var nics []string
		for _, c := range n.NICs {
			nics = append(nics, key(c.Network, c.Side)+" "+strings.Join(c.Lines, ", "))
		}
		all = append(all, text+": "+strings.Join(append(slices.Clone(n.Lines), nics...), "; "))
	}
	for _, c := range l.Copies {
		all = append(all, fmt.Sprintf("Mirror: what passes %s's NIC on %s goes to %s, %s", c.From, key(c.Network, c.Side), c.To, strings.Join(c.Lines, ", ")))
	}
	for _, p := range l.Ports {
		all = append(all, "The host's "+p.Text)
	}
	return strings.Join(all, ". ") + "."
}

// plain is a text as one line that orders nothing of a terminal or a reader.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}
