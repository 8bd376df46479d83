package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A plot's size, in units that are pixels where there is room.
const (
	plotWidth  = 460
	plotHeight = 210
)

// Colours of plots stand for variables of the page's style, so that light and dark
// have their own: the library writes #010000, and the page reads var(--ink).
var (
	ink  = color.RGBA{1, 0, 0, 255}
	grid = color.RGBA{2, 0, 0, 255}
	bad  = color.RGBA{3, 0, 0, 255}

	variables = strings.NewReplacer(colourVariables()...)
)

// How many colours there are (Okabe and Ito's, which colour-blind people can tell
// apart); further lines have the same ones, dashed.
const colours = 6

func seriesColour(n int) color.RGBA { return color.RGBA{16, 0, uint8(n % colours), 255} }

var dashes = [][]vg.Length{nil, {6, 3}, {1.5, 2.5}}

func seriesDash(n int) []vg.Length { return dashes[n/colours%len(dashes)] }

func colourVariables() []string {
	pairs := []string{
		"#010000", "var(--ink)", "#020000", "var(--grid)", "#030000", "var(--bad)",
		"font-family:Liberation Sans;font-variant:normal;font-weight:normal;font-style:normal;", "",
		"stroke-dasharray:;", "",
		" />", "/>",
	}
	for n := range colours {
		pairs = append(pairs, fmt.Sprintf("#1000%02x", n), fmt.Sprintf("var(--s%d)", n),
			fmt.Sprintf("#2000%02x", n), fmt.Sprintf("var(--s%d);fill-opacity:.22", n))
	}
	return pairs
}

// line is one of a plot.
type line struct {
	Name  string
	Style int // its colour and dashes
	binned
	band bool // least and greatest are drawn as well
}

// marks are instants of a plot to be seen.
type marks struct {
	failed []float64 // a start failed
	cut    float64   // the run was interrupted; 0 where it was not
}

// drawing is a plot to be made.
type drawing struct {
	id      string // unique on the page
	title   string
	about   string
	unit    string
	seconds float64
	lines   []line
	marks
}

// scaled chooses the prefix of the y axis's unit, for bit/s.
func (d drawing) scaled() (factor float64, unit string) {
	if d.unit != throughput.Unit {
		return 1, d.unit
	}
	return prefixed(d.greatest())
}

func prefixed(top float64) (factor float64, unit string) {
	switch {
	case top >= 1e9:
		return 1e-9, "Gbit/s"
	case top >= 1e6:
		return 1e-6, "Mbit/s"
	case top >= 1e3:
		return 1e-3, "kbit/s"
	default:
		return 1, "bit/s"
	}
}

// greatest is the top of all the lines.
func (d drawing) greatest() float64 {
	top := math.NaN()
	for _, l := range d.lines {
		for k, v := range l.Value {
			if top = fmax(top, v); l.band && !l.fine {
				top = fmax(top, l.Greatest[k])
			}
		}
	}
	if math.IsNaN(top) {
		return 0
	}
	return top
}

// svg draws it.
func (d drawing) svg() (template.HTML, error) {
	factor, unit := d.scaled()
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Min, p.X.Max = 0, d.seconds
	p.Y.Min, p.Y.Max = 0, d.greatest()*factor*1.05
	if p.Y.Max <= 0 {
		p.Y.Max = 1
	}
	p.X.Label.Text, p.Y.Label.Text = "since the run began (s)", unit
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks(8), ticks(5)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Tick.Color = grid, grid
		a.Width, a.Tick.Width = 1, 1
		a.Tick.Length, a.Padding = 3, 0
		for _, s := range []*draw.TextStyle{&a.Label.TextStyle, &a.Tick.Label} {
			s.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
			s.Color = ink
		}
	}
	g := plotter.NewGrid()
	g.Vertical.Width, g.Vertical.Color = 0, nil
	g.Horizontal.Width, g.Horizontal.Color = 0.7, grid
	p.Add(g)
	for _, l := range d.lines {
		if l.band && !l.fine {
			p.Add(bands(l, factor)...)
		}
	}
	for _, l := range d.lines {
		p.Add(strokes(l, factor)...)
	}
	p.Add(d.marks)
	c := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.Crop(draw.NewCanvas(c, plotWidth, plotHeight), 6, -16, 5, -5)) // browsers' fonts may be wider
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", err
	}
	return d.inline(out.String())
}

// inline makes an element of the page of the library's document, with a name and a description.
func (d drawing) inline(document string) (template.HTML, error) {
	_, rest, ok := strings.Cut(document, "<svg")
	_, body, closed := strings.Cut(rest, ">")
	if !ok || !closed {
		return "", fmt.Errorf("plot %s: the library did not write SVG", d.title)
	}
	esc := html.EscapeString
	head := fmt.Sprintf(`<svg class="plot" viewBox="0 0 %d %d" role="img" aria-labelledby="%[3]s-t %[3]s-d"><title id="%[3]s-t">%[4]s</title><desc id="%[3]s-d">%[5]s</desc>`,
		plotWidth, plotHeight, esc(d.id), esc(d.title), esc(d.about))
	return template.HTML(head + variables.Replace(body)), nil //nolint:gosec // our own drawing: its texts are numbers, or escaped
}

// ticks are at most about n, at round numbers.
func ticks(n float64) plot.TickerFunc {
	return func(least, greatest float64) []plot.Tick {
		var all []plot.Tick
		step := nice((greatest - least) / n)
		for k := math.Ceil(least / step); k*step <= greatest*(1+1e-9); k++ {
			all = append(all, plot.Tick{Value: k * step, Label: strconv.FormatFloat(k*step, 'f', max(0, -int(math.Floor(math.Log10(step)))), 64)})
		}
		return all
	}
}

// strokes are the parts of a line that nothing interrupts.
func strokes(l line, factor float64) []plot.Plotter {
	var all []plot.Plotter
	for _, span := range l.spans() {
		pts := make(plotter.XYs, 0, span[1]-span[0]+1)
		for k := span[0]; k < span[1]; k++ {
			pts = append(pts, plotter.XY{X: l.at(k), Y: l.Value[k] * factor})
		}
		if len(pts) == 1 { // one point alone is as long as its bin
			x, y := pts[0].X, pts[0].Y
			pts = plotter.XYs{{X: x - l.Width/2, Y: y}, {X: x + l.Width/2, Y: y}}
		}
		all = append(all, &plotter.Line{XYs: pts, LineStyle: draw.LineStyle{Color: seriesColour(l.Style), Width: 1.4, Dashes: seriesDash(l.Style)}})
	}
	return all
}

// bands are the areas between the least and the greatest interval.
func bands(l line, factor float64) []plot.Plotter {
	var all []plot.Plotter
	for _, span := range l.spans() {
		var pts, back plotter.XYs
		for k := span[0]; k < span[1]; k++ {
			least, greatest := fmin(l.Least[k], l.Value[k]), fmax(l.Greatest[k], l.Value[k])
			pts = append(pts, plotter.XY{X: l.at(k), Y: greatest * factor})
			back = append(back, plotter.XY{X: l.at(k), Y: least * factor})
		}
		for k := len(back) - 1; k >= 0; k-- {
			pts = append(pts, back[k])
		}
		all = append(all, &plotter.Polygon{XYs: []plotter.XYs{pts}, Color: faint(l.Style)})
	}
	return all
}

// faint is the colour of a line's band: what is behind it shines through.
func faint(n int) color.RGBA { return color.RGBA{32, 0, uint8(n % colours), 255} }

// spans are where a line has values: from the first to before the last index.
func (b binned) spans() [][2]int {
	var all [][2]int
	for k, v := range b.Value {
		switch {
		case math.IsNaN(v):
		case len(all) > 0 && all[len(all)-1][1] == k:
			all[len(all)-1][1]++
		default:
			all = append(all, [2]int{k, k + 1})
		}
	}
	return all
}

// Plot draws crosses on the x axis, and a line where the run was cut short.
func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: bad, Width: 1.6}
	const arm = 4
	for _, at := range m.failed {
		px, py := x(min(max(at, p.X.Min), p.X.Max)), y(p.Y.Min)+arm+2
		c.StrokeLine2(style, px-arm, py-arm, px+arm, py+arm)
		c.StrokeLine2(style, px-arm, py+arm, px+arm, py-arm)
	}
	if m.cut > 0 && m.cut <= p.X.Max {
		c.StrokeLine2(draw.LineStyle{Color: bad, Width: 1.2, Dashes: []vg.Length{4, 3}}, x(m.cut), y(p.Y.Min), x(m.cut), y(p.Y.Max))
	}
}
