package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// picture is the lab as boxes and lines: nodes in a row, plain networks above them,
// those with sides below, joined by their wire.
type picture struct {
	Width, Height int
	About         string
	Nodes         []nodeBox
	Buses         []bus
	Drops         []drop
	Wires         []wire
	Copies        []drop // mirrors
}

type nodeBox struct {
	X, Y, W, H  int
	Name, Label string // Label is what fits
	Lines       []string
	Role        string
}

// bus is a segment of a network.
type bus struct {
	X1, X2, Y   int
	Name, Label string
	Tested      bool
	Below       bool // its label stands below it
}

// drop is what joins a NIC and its segment, or a mirror's two nodes.
type drop struct {
	X1, Y1, X2, Y2 int
	Text           string
	TextX, TextY   int
	End            bool // the text ends there
	Tested         bool
}

type wire struct{ X1, Y1, X2, Y2, TextX, TextY int }

// Measures of the picture.
const (
	boxW, boxH   = 184, 84
	boxGap       = 44
	busGap       = 46
	pictureEdge  = 12
	letterPixels = 8 // of a name
)

// draw lays a lab out; nil where there is nothing to draw.
func (s labStatus) draw(client, server string) *picture {
	if len(s.Nodes) == 0 {
		return nil
	}
	nodes := slices.Clone(s.Nodes)
	p := &picture{Width: 2*pictureEdge + len(nodes)*(boxW+boxGap) - boxGap}
	sides := s.sideOrder()
	rank := func(nics []labNIC) int {
		for _, c := range nics {
			if at, ok := sides[c.Network+"/"+c.Side]; ok && c.Side != "" {
				return at
			}
		}
		return 1
	}
	slices.SortStableFunc(nodes, func(a, b labNode) int { return cmp.Compare(rank(a.NICs), rank(b.NICs)) })
	plain := 0
	for _, n := range s.Networks {
		if len(n.Segments) < 2 {
			plain++
		}
	}
	top := pictureEdge + 12 + plain*busGap
	centre := map[string]int{}
	taps := map[string][]tap{} // by segment
	for k, n := range nodes {
		x := pictureEdge + k*(boxW+boxGap)
		centre[n.Name] = x + boxW/2
		box := nodeBox{X: x, Y: top, W: boxW, H: boxH, Name: n.Name, Label: fit(n.Name, boxW-70), Lines: []string{
			fit(n.Image, boxW), fmt.Sprintf("%d CPU · %d MiB · %s", n.CPUs, n.MemoryMiB, cmp.Or(n.Accelerator, "?")),
		}}
		switch n.Name {
		case client:
			box.Role = "client"
		case server:
			box.Role = "server"
		}
		p.Nodes = append(p.Nodes, box)
		p.About += fmt.Sprintf("Node %s: ", n.Name)
		for at, c := range n.NICs {
			tx := x + boxW*(at+1)/(len(n.NICs)+1)
			key := c.Network + "/" + c.Side
			taps[key] = append(taps[key], tap{tx, c.Address, c.Mirror != ""})
			p.About += c.text() + "; "
		}
	}
	p.place(s, taps, top)
	for _, m := range s.Mirror {
		from, to := centre[m.From], centre[m.To]
		if from == 0 || to == 0 {
			continue
		}
		y := top + boxH/2 + 14
		half := boxW / 2
		if to < from {
			half = -half
		}
		p.Copies = append(p.Copies, drop{X1: from + half, Y1: y, X2: to - half, Y2: y, Text: "mirror", TextX: (from + to) / 2, TextY: y - 7})
		p.About += fmt.Sprintf("Mirror: %s to %s, at the %s. ", m.From, m.To, cmp.Or(m.Point, "link"))
	}
	return p
}

// tap is where a NIC meets a segment.
type tap struct {
	x       int
	address string
	copied  bool
}

// place draws the networks, plain ones above and those with sides below the nodes.
func (p *picture) place(s labStatus, taps map[string][]tap, top int) {
	above, below := pictureEdge+18, top+boxH+busGap
	for _, n := range s.Networks {
		if len(n.Segments) < 2 {
			p.segment(taps[n.Name+"/"], above, top, bus{Name: strings.TrimSpace(n.Name + " " + n.Subnet)})
			p.About += fmt.Sprintf("Network %s %s. ", n.Name, n.Subnet)
			above += busGap
			continue
		}
		var ends []bus
		y := below
		for _, g := range n.Segments {
			b := bus{Name: n.Name + "/" + g.Side, Tested: true, Below: true}
			b.X1, b.X2 = extent(taps[n.Name+"/"+g.Side], p.Width)
			if len(ends) > 0 && b.X1 <= ends[len(ends)-1].X2+24 {
				y += busGap
			}
			ends = append(ends, p.segment(taps[n.Name+"/"+g.Side], y, top+boxH, b))
		}
		for k := 1; k < len(ends); k++ {
			p.Wires = append(p.Wires, wireOf(ends[k-1], ends[k]))
		}
		p.About += fmt.Sprintf("Network %s %s: its two sides are joined by a wire. ", n.Name, n.Subnet)
		below = y + busGap
	}
	p.Height = below + pictureEdge - busGap/2
}

// segment draws one, and a line to each of its NICs.
func (p *picture) segment(taps []tap, y, boxY int, b bus) bus {
	b.X1, b.X2 = extent(taps, p.Width)
	b.Y, b.Label = y, fit(b.Name, max(b.X2-b.X1, boxW))
	p.Buses = append(p.Buses, b)
	for _, t := range taps {
		if t.copied {
			continue
		}
		textY := boxY - 7
		if y > boxY {
			textY = boxY + 15
		}
		d := drop{X1: t.x, Y1: boxY, X2: t.x, Y2: y, Text: t.address, TextX: t.x + 5, TextY: textY, Tested: b.Tested}
		if d.TextX+letterPixels*len(t.address) > p.Width {
			d.TextX, d.End = t.x-5, true
		}
		p.Drops = append(p.Drops, d)
	}
	return b
}

// extent is how far a segment reaches: past all of its NICs.
func extent(taps []tap, width int) (x1, x2 int) {
	if len(taps) == 0 {
		return pictureEdge, width / 3
	}
	least := slices.MinFunc(taps, func(a, b tap) int { return cmp.Compare(a.x, b.x) }).x
	most := slices.MaxFunc(taps, func(a, b tap) int { return cmp.Compare(a.x, b.x) }).x
	return max(least-60, pictureEdge), min(most+60, width-pictureEdge)
}

// wireOf joins two segments: side by side, or one above the other.
func wireOf(a, b bus) wire {
	if a.Y == b.Y {
		return wire{a.X2, a.Y, b.X1, b.Y, (a.X2 + b.X1) / 2, a.Y - 8}
	}
	x := min(a.X2, b.X2) - 8
	return wire{x, a.Y, x, b.Y, x - 24, (a.Y+b.Y)/2 + 4}
}

// sideOrder says which end of the row a side's nodes are at.
func (s labStatus) sideOrder() map[string]int {
	order := map[string]int{}
	for _, n := range s.Networks {
		for k, g := range n.Segments {
			if len(n.Segments) > 1 {
				order[n.Name+"/"+g.Side] = 2 * k
			}
		}
	}
	return order
}

// fit cuts a text to a width.
func fit(text string, pixels int) string {
	most := pixels / letterPixels
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:max(most-1, 1)]) + "…"
}
