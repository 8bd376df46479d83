package graph

import (
	"cmp"
	"html/template"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mami-project/labctl/topology"
)

// picture is a drawing with everything in its place: nodes in a row, the host and
// networks without sides above them, those with sides below.
type picture struct {
	File          bool
	ID            string
	Title, About  string
	Width, Height int
	Lines         []line
	Ways          []way
	Boxes         []box
	Texts         []text
}

// Head is what a file of XML begins with.
func (picture) Head() template.HTML { return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" }

type line struct {
	X1, Y1, X2, Y2 int
	Class          string
}

// way is a copy's: from a NIC by the height Y to the box of who captures.
type way struct{ X1, Y1, Y, X2, Y2 int }

type box struct {
	X, Y, W, H int
	Class      string
}

type text struct {
	X, Y  int
	Class string
	Text  string
	Whole string // where Text is cut
}

// Measures of a picture, in pixels.
const (
	margin    = 14 // around it
	gap       = 32 // between boxes
	leastBox  = 150
	inBox     = 12  // left and right of what is in one
	rowOf     = 15  // a line of small text
	busRow    = 40  // a network
	laneRow   = 14  // a copy
	mostRunes = 120 // of a text on the paper
	mostInBox = 44  // of one in a box, or beside a NIC's line
)

// wide is how wide a text is drawn at the most: letters of the fonts named are narrower.
func wide(class, s string) int {
	n := utf8.RuneCountInString(s)
	if strings.HasPrefix(class, "name") {
		return n * 9
	}
	return n * 13 / 2
}

// put adds a text on the paper.
func (p *picture) put(x, y int, class, s string) { p.add(x, y, class, s, mostRunes) }

// inside adds a text in a box.
func (p *picture) inside(x, y int, class, s string) { p.add(x, y, class+" in", s, mostInBox) }

// add cuts a text to what is bearable.
func (p *picture) add(x, y int, class, s string, most int) {
	s = plain(s)
	t := text{X: x, Y: y, Class: class, Text: s}
	if r := []rune(s); len(r) > most {
		t.Text, t.Whole = string(r[:most-1])+"…", s
	}
	p.Texts = append(p.Texts, t)
	if class != "role in" {
		p.Width = max(p.Width, x+wide(class, t.Text)+margin)
	}
}

// slot is where a NIC leaves its node's box, with the texts beside its line.
type slot struct {
	nic   NIC
	x, w  int // w is what the texts take, with a gap
	lines []string
}

// placed is a node in the row.
type placed struct {
	Node
	x, w        int
	lines       []string
	above, down []slot
}

func (l Lab) place(n Node) placed {
	out := placed{Node: n, lines: n.label(l)}
	out.w = max(leastBox, wide("name", out.lines[0])+wide("small", n.Role)+inBox)
	for _, s := range out.lines[1:] {
		out.w = max(out.w, wide("small", cut(s)))
	}
	for _, c := range n.NICs {
		s := slot{nic: c, lines: c.Lines, w: 70}
		if c.Copy {
			s.lines = l.copyLines(n.Name, c)
		}
		for _, t := range s.lines {
			s.w = max(s.w, wide("small", cut(t))+14)
		}
		if net, ok := l.network(c.Network); c.Copy || ok && len(net.Segments) > 1 {
			out.down = append(out.down, s)
		} else {
			out.above = append(out.above, s)
		}
	}
	for _, side := range [][]slot{out.above, out.down} {
		sum := 0
		for _, s := range side {
			sum += s.w
		}
		out.w = max(out.w, sum)
	}
	out.w += 2 * inBox
	return out
}

func cut(s string) string {
	r := []rune(s)
	return string(r[:min(len(r), mostInBox)])
}

// at moves a node and its slots to where it stands.
func (n *placed) at(x int) {
	n.x = x
	for _, side := range [][]slot{n.above, n.down} {
		to := x + inBox
		for i := range side {
			side[i].x, to = to, to+side[i].w
		}
	}
}

// tall is how many lines the slots' texts take.
func tall(nodes []placed, side func(placed) []slot) int {
	most := 0
	for _, n := range nodes {
		for _, s := range side(n) {
			most = max(most, len(s.lines))
		}
	}
	return most
}

// layOut puts everything in its place.
func (l Lab) layOut(p *picture) {
	p.put(margin, margin+14, "name", l.title())
	nodes := l.inOrder()
	x, most := margin, 0
	for i := range nodes {
		nodes[i].at(x)
		x += nodes[i].w + gap
		most = max(most, len(nodes[i].lines)-1)
	}
	p.Width = max(p.Width, x-gap+margin)
	taps := map[string][]int{}
	top := l.aboveNodes(p, nodes, margin+30, taps)
	boxH := 30 + most*rowOf
	for _, n := range nodes {
		p.Boxes = append(p.Boxes, box{n.x, top, n.w, boxH, ""})
		p.inside(n.x+inBox, top+21, "name", n.lines[0])
		if n.Role != "" {
			p.inside(n.x+n.w-inBox, top+21, "role", n.Role)
		}
		for i, s := range n.lines[1:] {
			p.inside(n.x+inBox, top+21+(i+1)*rowOf, "small", s)
		}
	}
	p.Height = l.belowNodes(p, nodes, top+boxH, taps) + margin
}

// inOrder are the nodes as they stand in the row: as in the file, or with one network
// that has sides, from the first of its sides to the other.
func (l Lab) inOrder() []placed {
	var nodes []placed
	for _, n := range l.Nodes {
		nodes = append(nodes, l.place(n))
	}
	var sided []Network
	for _, n := range l.Networks {
		if len(n.Segments) > 1 {
			sided = append(sided, n)
		}
	}
	if len(sided) != 1 {
		return nodes
	}
	rank := func(n placed) int {
		at, on := 1, 0
		for _, c := range n.NICs {
			if c.Network == sided[0].Name && !c.Copy {
				on++
				if at = 2; c.Side == sided[0].Segments[0].Side {
					at = 0
				}
			}
		}
		if on > 1 {
			return 1
		}
		return at
	}
	slices.SortStableFunc(nodes, func(a, b placed) int { return cmp.Compare(rank(a), rank(b)) })
	return nodes
}

// aboveNodes draws the host and the networks without sides from y on, and what leads
// down to the nodes; it returns where these begin.
func (l Lab) aboveNodes(p *picture, nodes []placed, y int, taps map[string][]int) int {
	var plainNets []Network
	for _, n := range l.Networks {
		if len(n.Segments) < 2 {
			plainNets = append(plainNets, n)
		}
	}
	hostH := 0
	if l.hasHost() {
		hostH = 30 + len(l.Ports)*rowOf
	}
	hostBottom := y + hostH
	bus := hostBottom + busRow
	top := bus + (len(plainNets)-1)*busRow + 14 + rowOf*tall(nodes, func(n placed) []slot { return n.above }) + 10
	if len(plainNets) == 0 {
		top = hostBottom + gap
	}
	for _, n := range nodes {
		for _, s := range n.above {
			taps[s.nic.Network] = append(taps[s.nic.Network], s.x)
		}
	}
	hostX, hostW := margin, wide("name", "the host")+2*inBox
	for _, n := range plainNets {
		for _, g := range n.Segments {
			name := key(n.Name, g.Side)
			if g.Host != "" {
				x := hostX + hostW - inBox
				hostW += wide("small", g.Host) + 14
				p.Lines = append(p.Lines, line{x, hostBottom, x, bus, ""})
				p.put(x+5, hostBottom+rowOf-2, "small", g.Host)
				taps[name] = append(taps[name], x)
			}
			from, to := reach(taps[name])
			p.Lines = append(p.Lines, line{from, bus, max(to, from+120), bus, "bus"})
			p.put(max(to, from+120)+10, bus+4, "small", name+" "+g.Text)
			for _, node := range nodes {
				for _, s := range node.above {
					if key(s.nic.Network, s.nic.Side) == name {
						p.Lines = append(p.Lines, line{s.x, bus, s.x, top, ""})
					}
				}
			}
		}
		bus += busRow
	}
	for _, n := range nodes {
		for _, s := range n.above {
			p.beside(s, top-6-(len(s.lines)-1)*rowOf)
		}
	}
	if hostH > 0 {
		for _, port := range l.Ports {
			hostW = max(hostW, wide("small", port.Text)+2*inBox)
		}
		p.Boxes = append(p.Boxes, box{hostX, y, hostW, hostH, "host"})
		p.inside(hostX+inBox, y+21, "name", "the host")
		for i, port := range l.Ports {
			p.inside(hostX+inBox, y+21+(i+1)*rowOf, "small", port.Text)
		}
	}
	return top
}

// beside writes a NIC's texts beside its line.
func (p *picture) beside(s slot, y int) {
	for i, t := range s.lines {
		p.add(s.x+5, y+i*rowOf, "small", t, mostInBox)
	}
}

// reach is how far a segment goes: past all that is on it.
func reach(taps []int) (from, to int) {
	if len(taps) == 0 {
		return margin, margin
	}
	return max(slices.Min(taps)-inBox, margin), slices.Max(taps) + inBox
}

// belowNodes draws the copies and the networks with sides from the boxes' bottom on; it
// returns where all ends.
func (l Lab) belowNodes(p *picture, nodes []placed, bottom int, taps map[string][]int) int {
	captures := map[string]int{} // where a node's capture NIC is
	for _, n := range nodes {
		for _, s := range n.down {
			if s.nic.Copy {
				captures[n.Name] = s.x
			} else {
				name := key(s.nic.Network, s.nic.Side)
				taps[name] = append(taps[name], s.x)
			}
		}
	}
	lanes := bottom + laneRow*(len(l.Copies)+1)
	for i, c := range l.Copies {
		to, there := captures[c.To]
		lane := bottom + laneRow*(i+1)
		for _, n := range nodes {
			for _, s := range n.down {
				if there && n.Name == c.From && !s.nic.Copy && s.nic.Network == c.Network && s.nic.Side == c.Side {
					p.Ways = append(p.Ways, way{s.x, bottom, lane, to, bottom})
				}
			}
		}
	}
	for i := range nodes {
		for _, s := range nodes[i].down {
			p.beside(s, lanes+rowOf-4)
		}
	}
	end := lanes + rowOf*tall(nodes, func(n placed) []slot { return n.down })
	for _, n := range l.Networks {
		if len(n.Segments) > 1 {
			end = l.sided(p, n, nodes, bottom, end+30, taps)
		}
	}
	return end
}

// copyLines are what stands below a capture NIC.
func (l Lab) copyLines(node string, c NIC) []string {
	for _, k := range l.Copies {
		if k.To == node {
			return slices.Concat(c.Lines, k.Lines)
		}
	}
	return c.Lines
}

// sided draws a network with sides at y: its segments and what joins these; it returns
// where it ends.
func (l Lab) sided(p *picture, n Network, nodes []placed, bottom, y int, taps map[string][]int) int {
	var ends [][2]int // of the segments
	at := []int{}
	for k, g := range n.Segments {
		name := key(n.Name, g.Side)
		from, to := reach(taps[name])
		if len(taps[name]) == 0 && k > 0 {
			from, to = ends[k-1][1]+2*gap, ends[k-1][1]+2*gap
		}
		label := name + " " + g.Text
		to = max(to, from+wide("small", label))
		if k > 0 && from < ends[k-1][1]+inBox && to > ends[k-1][0]-inBox {
			y += busRow
			from = min(from, ends[0][1]-2*inBox) // to where the wire comes down
		}
		ends, at = append(ends, [2]int{from, to}), append(at, y)
		p.Lines = append(p.Lines, line{from, y, to, y, "bus tested"})
		p.put(from, y+16, "small", label)
		for _, node := range nodes {
			for _, s := range node.down {
				if !s.nic.Copy && key(s.nic.Network, s.nic.Side) == name {
					p.Lines = append(p.Lines, line{s.x, bottom, s.x, y, "tested"})
				}
			}
		}
	}
	x := ends[0][0]
	if n.Under != topology.UnderNode {
		class := "wire"
		if n.Under == topology.UnderExternal {
			class += " outside"
		}
		a, b := ends[0], ends[1]
		if b[1] < a[0] {
			a, b = b, a
		}
		if at[0] == at[1] {
			p.Lines = append(p.Lines, line{a[1], y, b[0], y, class})
		} else {
			x := max(ends[1][0], min(ends[0][1], ends[1][1])-inBox)
			p.Lines = append(p.Lines, line{x, at[0], x, at[1], class})
		}
	}
	y += 16
	for _, s := range n.Lines {
		y += rowOf
		p.put(x, y, "small", n.Name+": "+s)
	}
	return y
}
