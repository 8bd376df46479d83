package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/mami-project/labctl/flows"
)

// drawer makes the sections of a page.
type drawer struct {
	runs    []flows.Run
	names   []string
	seconds float64
	err     error // the first
}

// overlaid is one run's classes: a table with a row of each, and plots with a line of each.
func (d *drawer) overlaid(classes []*group) section {
	s := section{ID: "classes", Table: table{Caption: "Numbers by class"}}
	var everything []*flows.Result
	columns := map[string]bool{}
	var rows []map[string]string
	for k, c := range classes {
		everything = append(everything, c.runs[0]...)
		s.Legend = append(s.Legend, keyOf(c.Name, k))
		row := map[string]string{}
		for _, x := range stats(c.runs[0]) {
			if !columns[x.Name] {
				columns[x.Name] = true
			}
			row[x.Name] = x.Text()
		}
		rows = append(rows, row)
	}
	s.Table.Head = []string{"Class", "Flows' starts", "failed"}
	order := statNames(columns)
	s.Table.Head = append(s.Table.Head, order...)
	for k, c := range classes {
		cells := []cell{{Text: c.Name}, {Text: count(c.Starts())}, {Text: count(c.Failed())}}
		for _, name := range order {
			text := rows[k][name]
			if text == "" {
				text = "–"
			}
			cells = append(cells, cell{Text: text})
		}
		s.Table.Rows = append(s.Table.Rows, cells)
	}
	width := binWidth(d.seconds, everything)
	failed := instants(everything)
	for n, m := range metrics {
		var lines []line
		for k, c := range classes {
			if c.has(m) {
				lines = append(lines, line{Name: c.Name, Style: k, binned: bin(m, c.runs[0], d.seconds, width)})
			}
		}
		what := m.Name + " by class"
		s.Plots = d.add(s.Plots, m, fmt.Sprintf("c%d", n), what, lines, marks{failed, d.cut(0)})
	}
	s.Point = fmt.Sprintf("A point is %s of a class: throughput and retransmissions are sums over its flows, the rest are means.", span(width))
	s.Marks = d.marksText(len(failed) > 0)
	return s
}

// statNames are the columns that some class has, in the order of tables.
func statNames(has map[string]bool) []string {
	var all []string
	for _, x := range stats([]*flows.Result{{Protocol: flows.TCP}, {Protocol: flows.UDP}}) {
		if has[x.Name] {
			all = append(all, x.Name)
		}
	}
	return all
}

// section is one class or flow in all runs: numbers, and a plot of each metric with a line of each run.
func (d *drawer) section(g *group, id string) section {
	s := section{group: g, ID: id, Table: d.table(g)}
	var everything []*flows.Result
	for _, results := range g.runs {
		everything = append(everything, results...)
	}
	width := binWidth(d.seconds, everything)
	single := len(d.runs) == 1
	var failed []float64
	for n, m := range metrics {
		if !g.has(m) {
			continue
		}
		var lines []line
		failed = nil
		for k, results := range g.runs {
			if len(results) == 0 {
				continue
			}
			failed = append(failed, instants(results)...)
			lines = append(lines, line{Name: d.names[k], Style: k, binned: bin(m, results, d.seconds, width), band: single})
		}
		at := marks{failed: failed}
		if single {
			at.cut = d.cut(0)
		}
		s.Plots = d.add(s.Plots, m, fmt.Sprintf("%s-%d", id, n), m.Name+" of "+g.Name, lines, at)
	}
	s.Point = "A point is " + span(width) + "."
	if single {
		s.Point = "A point is " + span(width) + "; where that is longer than a report interval, the band reaches from its least interval to its greatest."
		s.Brief = brief(g.runs[0])
	} else {
		for k, results := range g.runs {
			if len(results) > 0 {
				s.Legend = append(s.Legend, keyOf(d.names[k], k))
			}
		}
	}
	s.Marks = d.marksText(len(failed) > 0)
	return s
}

// table has a row of each number, and a column of each run.
func (d *drawer) table(g *group) table {
	t := table{Caption: "Numbers of " + g.Name, Head: append([]string{""}, d.names...)}
	if len(d.runs) == 1 {
		t.Head = nil
	}
	columns := map[string]bool{}
	values := make([]map[string]stat, len(d.runs))
	for k, results := range g.runs {
		values[k] = map[string]stat{}
		if len(results) == 0 {
			continue
		}
		for _, x := range stats(results) {
			columns[x.Name] = true
			values[k][x.Name] = x
		}
	}
	for _, name := range statNames(columns) {
		row := []cell{{Text: name}}
		first, has := values[0][name]
		for k := range d.runs {
			x, ok := values[k][name]
			c := cell{Text: "–"}
			if ok {
				c.Text = x.Text()
			}
			if k > 0 && ok && has {
				c.Change = change(first.value, x.value)
			}
			row = append(row, c)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// brief is what a closed flow says of itself.
func brief(results []*flows.Result) string {
	x := quantiles(throughput, results, 0.5)[0]
	return "median " + x.Text()
}

// add draws a plot and appends it.
func (d *drawer) add(to []figure, m metric, id, title string, lines []line, at marks) []figure {
	if len(lines) == 0 {
		return to
	}
	p := drawing{id: id, title: title, unit: m.Unit, seconds: d.seconds, lines: lines, marks: at}
	p.about = p.describe(m)
	svg, err := p.svg()
	if err != nil && d.err == nil {
		d.err = err
	}
	return append(to, figure{title, svg})
}

// describe tells a plot to who does not see it.
func (d drawing) describe(m metric) string {
	var parts []string
	for _, l := range d.lines {
		least, greatest, sum, n := stat{unit: m.Unit}, stat{unit: m.Unit}, 0.0, 0
		for _, v := range l.Value {
			if math.IsNaN(v) {
				continue
			}
			if n == 0 {
				least.value, greatest.value = v, v
			}
			least.value, greatest.value = fmin(least.value, v), fmax(greatest.value, v)
			sum += v
			n++
		}
		if n == 0 {
			parts = append(parts, l.Name+": nothing was measured")
			continue
		}
		mean := stat{value: sum / float64(n), unit: m.Unit}
		parts = append(parts, fmt.Sprintf("%s: mean %s, from %s to %s", l.Name, mean.Text(), least.Text(), greatest.Text()))
	}
	if n := len(d.failed); n > 0 {
		parts = append(parts, fmt.Sprintf("%d starts failed", n))
	}
	return strings.Join(parts, "; ") + "."
}

// cut is when a run was interrupted; 0 where it was not.
func (d *drawer) cut(run int) float64 {
	if m := d.runs[run].Manifest; m.State == flows.Interrupted {
		return m.Seconds
	}
	return 0
}

func (d *drawer) marksText(failed bool) []string {
	var all []string
	if failed {
		all = append(all, "× a start failed")
	}
	if len(d.runs) == 1 && d.cut(0) > 0 {
		all = append(all, "┆ the run was interrupted")
	}
	return all
}

func keyOf(name string, n int) key {
	k := key{Name: name, Colour: n % colours}
	for _, length := range seriesDash(n) {
		k.Dash = strings.TrimSpace(fmt.Sprintf("%s %g", k.Dash, float64(length)))
	}
	return k
}

func span(seconds float64) string {
	if seconds < 1 {
		return fmt.Sprintf("%g ms", float64(int(seconds*1e6+0.5))/1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}
