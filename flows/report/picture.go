package report

import (
	"cmp"
	"fmt"
	"html/template"
	"strings"

	"github.com/mami-project/labctl/lab/graph"
	"github.com/mami-project/labctl/topology"
)

// draw is the lab's picture, whose ids begin with id; "" where there is nothing to draw.
func (s labStatus) draw(client, server, id string) template.HTML {
	if len(s.Nodes) == 0 {
		return ""
	}
	return s.picture(client, server).Inline(id)
}

// picture is what there is to draw of the lab.
func (s labStatus) picture(client, server string) graph.Lab {
	l := graph.Lab{Name: s.Name}
	for _, n := range s.Networks {
		net := graph.Network{Name: n.Name, Router: n.Router}
		if len(n.Segments) > 1 {
			net.Under = cmp.Or(n.UnderTest, topology.UnderWire)
			net.Lines = []string{strings.TrimSpace(net.Under + " " + n.Router)}
			for _, i := range s.Impairments {
				if i.Network == n.Name && i.Now != "none" && i.Now != "" {
					net.Lines = append(net.Lines, i.Direction+": "+i.Now)
				}
			}
		}
		for _, g := range n.Segments {
			text := cmp.Or(g.Subnet, n.Subnet)
			if n.Uplink != "" {
				text += ", uplink " + n.Uplink
			}
			net.Segments = append(net.Segments, graph.Segment{Side: g.Side, Text: text, Host: n.Gateway})
		}
		l.Networks = append(l.Networks, net)
	}
	for _, n := range s.Nodes {
		node := graph.Node{Name: n.Name, Lines: []string{n.Image, fmt.Sprintf("%d CPU, %d MiB, %s", n.CPUs, n.MemoryMiB, cmp.Or(n.Accelerator, "?"))}}
		switch n.Name {
		case client:
			node.Role = "iperf3 client"
		case server:
			node.Role = "iperf3 server"
		}
		for _, c := range n.NICs {
			nic := graph.NIC{Network: c.Network, Side: c.Side, Copy: c.Mirror != ""}
			if nic.Copy {
				nic.Lines = []string{"copy of " + c.Mirror}
			} else {
				address, _, _ := strings.Cut(c.Address, "/")
				nic.Lines = []string{address}
			}
			if c.Device != "" {
				nic.Lines = append(nic.Lines, c.Kind+" "+c.Device)
			}
			node.NICs = append(node.NICs, nic)
		}
		l.Nodes = append(l.Nodes, node)
	}
	for _, m := range s.Mirror {
		c := graph.Copy{From: m.From, To: m.To, Lines: []string{strings.TrimSpace("taken at " + cmp.Or(m.Point, "link") + " " + m.At)}}
		c.Network, c.Side = s.copied(m.From, m.To)
		l.Copies = append(l.Copies, c)
	}
	return l
}

// copied is where the NIC of from is that to receives a copy of, as far as the NIC of to says.
func (s labStatus) copied(from, to string) (network, side string) {
	for _, n := range s.Nodes {
		for _, c := range n.NICs {
			if n.Name == to && c.Mirror == from {
				network, side = c.Network, c.Side
			}
		}
	}
	for _, n := range s.Nodes {
		for _, c := range n.NICs {
			if n.Name == from && c.Side != "" && (network == "" || c.Network == network) && (side == "" || c.Side == side) {
				return c.Network, c.Side
			}
		}
	}
	return network, side
}
