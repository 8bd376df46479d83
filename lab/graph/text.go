package graph

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mami-project/labctl/topology"
)

// Text is the lab in characters, for a terminal of that many columns. Segments are
// lines that go down, of which each takes three columns from where its first node
// stands to its last, or to what joins it to its network's other side; a copy's way is
// one of dots. Nodes are boxes beside them, which end where the terminal does as long
// as there is room for a few words. Without unicode it is ASCII throughout.
func (l Lab) Text(width int, unicode bool) string {
	d := &ladder{lab: l, width: width, unicode: unicode, last: map[string]*NIC{}, done: map[*NIC]bool{}}
	for i := range l.Nodes {
		for j := range l.Nodes[i].NICs {
			if c := &l.Nodes[i].NICs[j]; !c.Copy {
				d.last[key(c.Network, c.Side)] = c
			}
		}
	}
	d.writeAll(l.title())
	d.write("")
	for _, n := range l.Nodes {
		d.node(n)
	}
	for _, n := range l.Networks {
		if !slices.ContainsFunc(n.Segments, func(g Segment) bool { return d.last[key(n.Name, g.Side)] != nil }) {
			d.open(n)
		}
		d.join(n, true)
	}
	if len(l.Ports) > 0 {
		d.write("")
	}
	for _, p := range l.Ports {
		d.writeAll("the host's " + p.Text)
	}
	return d.out.String()
}

// ladder is a Text as far as it is drawn.
type ladder struct {
	lab     Lab
	width   int
	unicode bool
	last    map[string]*NIC // of each segment, the last that is on it
	done    map[*NIC]bool   // drawn
	drawn   int             // nodes
	lines   []*upright
	out     strings.Builder
}

// upright is what goes down in a place; nil where nothing does.
type upright struct {
	of    string // the segment, or the copy's node
	style style
	shown bool // a copy's place is kept before it begins
}

type style int

const (
	single style = iota // a network without sides
	double              // a side, and what joins sides
	dotted              // a copy
)

const (
	pitch     = 3  // columns between two uprights
	leastText = 24 // columns of a box whatever the width
)

// write ends a row: without what is not to be seen at its end.
func (d *ladder) write(row string) {
	if row = strings.TrimRight(plain(row), " "); !d.unicode {
		row = ascii(row)
	}
	d.out.WriteString(row + "\n")
}

// writeAll writes a text that stands beside nothing.
func (d *ladder) writeAll(text string) {
	for _, row := range wrap(text, max(d.width, leastText)) {
		d.write(row)
	}
}

// node draws one, what of its networks begins there before it and what ends there after.
func (d *ladder) node(n Node) {
	for _, c := range n.NICs {
		if net, ok := d.lab.network(c.Network); ok && !c.Copy {
			d.openSide(net, c.Side)
		}
	}
	for _, c := range d.lab.Copies {
		if c.From == n.Name && d.comes(c.To) {
			d.lines = append(d.lines, &upright{of: copyKey(c), style: dotted}) // right of the NIC's segment
		}
	}
	d.box(n)
	d.drawn++
	d.sweep()
	for _, c := range n.NICs {
		if net, ok := d.lab.network(c.Network); ok && !c.Copy {
			d.join(net, false)
		}
	}
}

func (l Lab) network(name string) (Network, bool) {
	for _, n := range l.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// copyKey names a copy among uprights: no segment has a space in its name.
func copyKey(c Copy) string { return "copy " + c.From + " " + c.To }

// at is the place of an upright; -1 where there is none.
func (d *ladder) at(of string) int {
	return slices.IndexFunc(d.lines, func(u *upright) bool { return u != nil && u.of == of })
}

// place gives an upright the first free place.
func (d *ladder) place(u *upright) int {
	i := slices.Index(d.lines, nil)
	if i < 0 {
		i = len(d.lines)
		d.lines = append(d.lines, nil)
	}
	d.lines[i] = u
	return i
}

// free ends an upright.
func (d *ladder) free(i int) {
	d.lines[i] = nil
	for len(d.lines) > 0 && d.lines[len(d.lines)-1] == nil {
		d.lines = d.lines[:len(d.lines)-1]
	}
}

// open begins all of a network's segments.
func (d *ladder) open(n Network) {
	for _, g := range n.Segments {
		d.openSide(n, g.Side)
	}
}

// openSide begins a segment, with what it is, unless it has begun.
func (d *ladder) openSide(n Network, side string) {
	name := key(n.Name, side)
	k := slices.IndexFunc(n.Segments, func(g Segment) bool { return g.Side == side })
	if k < 0 || d.at(name) >= 0 {
		return
	}
	u := &upright{of: name, style: single, shown: true}
	begin := '┌'
	if side != "" {
		u.style, begin = double, '╓'
	}
	i := d.place(u)
	text := name + " " + n.Segments[k].Text
	if host := n.Segments[k].Host; host != "" {
		text += ", the host is " + host
	}
	end := pitch * len(d.lines)
	for row, part := range wrap(text, max(d.width-end-1, leastText)) {
		if row == 0 {
			d.write(d.rung(i, begin, len(d.lines), '─') + " " + part)
		} else {
			d.write(d.rung(-1, 0, 0, 0) + " " + part)
		}
	}
}

// rung is a row of uprights, with a line from one of them to another place; from is
// -1 where there is none, and glyph what is seen where it begins.
func (d *ladder) rung(from int, glyph rune, to int, line rune) string {
	var b strings.Builder
	for i, u := range d.lines {
		passes := from >= 0 && i > from && i < to
		switch {
		case i == from:
			b.WriteRune(glyph)
		case u == nil || !u.shown:
			b.WriteRune(choose(passes, line, ' '))
		case !passes:
			b.WriteRune([]rune("│║┊")[u.style])
		case line == '═':
			b.WriteRune([]rune("╪╬╪")[u.style])
		default:
			b.WriteRune([]rune("┼╫┼")[u.style])
		}
		b.WriteString(strings.Repeat(string(choose(from >= 0 && i >= from && i < to, line, ' ')), pitch-1))
	}
	return b.String()
}

func choose(yes bool, a, b rune) rune {
	if yes {
		return a
	}
	return b
}

// boxRow is a row of a node's box, and what leads to it.
type boxRow struct {
	text string
	nic  *NIC
}

// box draws a node, and leads its NICs to their segments and copies.
func (d *ladder) box(n Node) {
	var rows []boxRow
	room := max(d.width-pitch*len(d.lines)-4, leastText)
	add := func(text string, nic *NIC) {
		parts := wrap(text, room)
		if len(parts) > 1 {
			parts = wrap(text, room-2) // all but the first stand further in
		}
		for i, part := range parts {
			if i > 0 {
				part, nic = "  "+part, nil
			}
			rows = append(rows, boxRow{part, nic})
		}
	}
	for i, line := range n.label(d.lab) {
		if i > 0 {
			add(line, nil)
		}
	}
	for j := range n.NICs {
		c := &n.NICs[j]
		text := key(c.Network, c.Side) + " " + strings.Join(c.Lines, ", ")
		if c.Copy {
			text = "copy of " + d.copied(n.Name, c)
		}
		add(text, c)
	}
	name := n.label(d.lab)[0]
	wide := utf8.RuneCountInString(name) + 1
	for _, r := range rows {
		wide = max(wide, utf8.RuneCountInString(r.text))
	}
	d.write(d.rung(-1, 0, 0, 0) + "┌─ " + name + " " + strings.Repeat("─", wide-utf8.RuneCountInString(name)-1) + "┐")
	for _, r := range rows {
		lead, edge := d.lead(n, r.nic)
		d.write(lead + edge + " " + r.text + strings.Repeat(" ", wide-utf8.RuneCountInString(r.text)) + " │")
		d.cut(n, r.nic)
	}
	d.write(d.rung(-1, 0, 0, 0) + "└" + strings.Repeat("─", wide+2) + "┘")
}

// copied tells whose frames a NIC receives, and where they are taken.
func (d *ladder) copied(node string, c *NIC) string {
	for _, k := range d.lab.Copies {
		if k.To == node {
			return k.From + " on " + key(k.Network, k.Side) + ", " + strings.Join(slices.Concat(k.Lines, c.Lines[min(1, len(c.Lines)):]), ", ")
		}
	}
	return strings.Join(c.Lines, ", ")
}

// lead is the row of uprights beside a NIC, and the box's edge there.
func (d *ladder) lead(n Node, c *NIC) (row, edge string) {
	if c == nil {
		return d.rung(-1, 0, 0, 0), "│"
	}
	to := len(d.lines)
	if c.Copy {
		for _, k := range d.lab.Copies {
			if i := d.at(copyKey(k)); k.To == n.Name && i >= 0 {
				row := []rune(d.rung(i, '└', to, '─'))
				row[len(row)-1] = '▸'
				return string(row), "│"
			}
		}
		return d.rung(-1, 0, 0, 0), "│"
	}
	name := key(c.Network, c.Side)
	i := d.at(name)
	if i < 0 {
		return d.rung(-1, 0, 0, 0), "│" // on a network that is not told of
	}
	double := d.lines[i].style == double
	glyph := choose(double, '╟', '├')
	if net, _ := d.lab.network(c.Network); d.last[name] == c && !net.joined() {
		glyph = choose(double, '╙', '└')
	}
	text := []rune(d.rung(i, glyph, to, '─'))
	for _, k := range d.copiesOf(n.Name, c) {
		text[pitch*d.at(copyKey(k))] = '┬'
	}
	return string(text), "┤"
}

// copiesOf are the copies that are taken of a NIC and have a place.
func (d *ladder) copiesOf(node string, c *NIC) []Copy {
	var all []Copy
	for _, k := range d.lab.Copies {
		if k.From == node && k.Network == c.Network && k.Side == c.Side && d.at(copyKey(k)) >= 0 {
			all = append(all, k)
		}
	}
	return all
}

// cut ends what ends at a NIC, and begins a copy there.
func (d *ladder) cut(n Node, c *NIC) {
	if c == nil {
		return
	}
	d.done[c] = true
	for _, k := range d.lab.Copies {
		i := d.at(copyKey(k))
		switch {
		case i < 0:
		case c.Copy && k.To == n.Name:
			d.end(d.lines[i])
		case !c.Copy && k.From == n.Name && k.Network == c.Network && k.Side == c.Side:
			d.lines[i].shown = true
		}
	}
	name := key(c.Network, c.Side)
	if net, _ := d.lab.network(c.Network); !c.Copy && d.last[name] == c && !net.joined() && d.at(name) >= 0 {
		d.end(d.lines[d.at(name)])
	}
}

// end hides an upright inside a box; its place is free once the box is drawn.
func (d *ladder) end(u *upright) { u.shown, u.of = false, "" }

// joined says whether something that is no node joins the network's sides.
func (n Network) joined() bool { return len(n.Segments) == 2 && n.Under != topology.UnderNode }

// sweep frees the places of what has ended.
func (d *ladder) sweep() {
	for i := len(d.lines) - 1; i >= 0; i-- {
		if i < len(d.lines) && d.lines[i] != nil && d.lines[i].of == "" {
			d.free(i)
		}
	}
}

// comes says whether a node is yet to be drawn, after the one at hand.
func (d *ladder) comes(name string) bool {
	return slices.ContainsFunc(d.lab.Nodes[min(d.drawn+1, len(d.lab.Nodes)):], func(n Node) bool { return n.Name == name })
}

// join, once both sides have had their nodes, draws what joins these.
func (d *ladder) join(n Network, atLast bool) {
	if !n.joined() {
		if i := d.at(n.Name); atLast && i >= 0 { // a network without nodes
			d.free(i)
		}
		return
	}
	for _, g := range n.Segments {
		name := key(n.Name, g.Side)
		if c := d.last[name]; c != nil && !atLast && (d.at(name) < 0 || !d.done[c]) {
			return
		}
	}
	if d.at(key(n.Name, n.Segments[0].Side)) < 0 && d.at(key(n.Name, n.Segments[1].Side)) < 0 {
		return // drawn already
	}
	d.open(n)
	a, b := d.at(key(n.Name, n.Segments[0].Side)), d.at(key(n.Name, n.Segments[1].Side))
	a, b = min(a, b), max(a, b)
	row := []rune(d.rung(a, '╚', b, '═'))
	row[pitch*b] = '╝'
	var parts []string
	for i, s := range n.Lines {
		if i == 0 {
			s = n.Name + ": " + s
		}
		parts = append(parts, wrap(s, max(d.width-pitch*len(d.lines)-1, leastText))...)
	}
	for i, part := range parts {
		if i > 0 {
			row = []rune(d.rung(-1, 0, 0, 0))
		}
		d.write(string(row) + " " + part)
		if i == 0 {
			d.lines[a].shown, d.lines[b].shown = false, false
		}
	}
	d.free(max(a, b))
	d.free(min(a, b))
}
