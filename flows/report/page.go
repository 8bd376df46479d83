package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mami-project/labctl/flows"
)

// page is what the template shows.
type page struct {
	Title       string
	Style       template.CSS
	Script      template.JS
	Runs        []runHead
	Several     bool
	Differences []difference
	Classes     section
	ByClass     []section // several runs: one of each class
	Flows       []section
	Starts      []startRow
	Left        int // starts that went well and are not shown
	ClassNames  []string
}

// section is a class or a flow, or all classes: numbers and plots.
type section struct {
	*group
	ID     string
	Brief  string
	Table  table
	Plots  []figure
	Legend []key
	Point  string // what a point of its plots is
	Marks  []string
	Open   bool
}

// figure is a plot with its caption.
type figure struct {
	Title string
	SVG   template.HTML
}

// key is a line of a legend.
type key struct {
	Name   string
	Colour int
	Dash   string
}

// table is one of numbers: the first column names the rows.
type table struct {
	Caption string
	Head    []string
	Rows    [][]cell
}

type cell struct{ Text, Change string }

// runHead is what stands at the top of the page for each run.
type runHead struct {
	flows.Manifest
	Colour        int
	Dash          string
	Verdict       string
	Good          bool
	When          string
	Lasted        string
	Tiles         []fact
	Funnels       []funnel
	Clocks        []clock
	Picture       template.HTML
	Facts         []fact
	FailedStarts  int
	StartsPlanned int
}

func pageOf(runs []flows.Run) (page, error) {
	p := page{Style: style, Script: script, Several: len(runs) > 1}
	names := make([]string, len(runs))
	for k, r := range runs {
		names[k] = r.Manifest.ID
		p.Runs = append(p.Runs, head(r, k))
	}
	p.Title = strings.Join(names, ", ")
	classes, byFlow := groups(runs, byClass), groups(runs, byLabel)
	for _, c := range classes {
		p.ClassNames = append(p.ClassNames, c.Name)
	}
	draw := drawer{runs: runs, names: names, seconds: length(runs)}
	var err error
	if p.Several {
		p.Differences = differences(runs)
		for k, c := range classes {
			p.ByClass = append(p.ByClass, draw.section(c, fmt.Sprintf("class-%d", k)))
		}
	} else {
		p.Classes = draw.overlaid(classes)
		p.Starts, p.Left = starts(runs[0])
	}
	for k, f := range byFlow {
		s := draw.section(f, fmt.Sprintf("flow-%d", k))
		s.Open = len(byFlow) <= 4
		p.Flows = append(p.Flows, s)
	}
	if draw.err != nil {
		err = draw.err
	}
	return p, err
}

// length is how far the time axes reach: to the last of what was measured (s).
func length(runs []flows.Run) float64 {
	last := 0.0
	for _, run := range runs {
		last = max(last, run.Manifest.Seconds)
		for _, r := range run.Results {
			last = max(last, r.Planned, r.Ended)
			if n := len(r.Series); n > 0 {
				last = max(last, r.Series[n-1].At+r.Series[n-1].Seconds)
			}
		}
	}
	if last <= 0 || math.IsInf(last, 0) || math.IsNaN(last) {
		return 1
	}
	return last
}

func head(run flows.Run, n int) runHead {
	m := run.Manifest
	s := readLab(m.Provenance)
	h := runHead{
		Manifest: m, Colour: n % colours, Dash: keyOf(m.ID, n).Dash, When: m.Began.UTC().Format("2 January 2006, 15:04:05 UTC"),
		Lasted: time.Duration(m.Seconds * float64(time.Second)).Round(100 * time.Millisecond).String(),
		Clocks: clocks(m), Picture: s.draw(m.Client, m.Server, fmt.Sprintf("lab-%d", n)), Facts: s.facts(m.Versions), StartsPlanned: len(run.Results),
	}
	if m.Began.IsZero() {
		h.When = "not begun"
	}
	for _, a := range m.Captures {
		h.Funnels = append(h.Funnels, funnelOf(a))
	}
	for _, r := range run.Results {
		if r.Failed != "" {
			h.FailedStarts++
		}
	}
	h.Verdict, h.Good = verdict(m)
	h.Tiles = tiles(run, h)
	return h
}

// verdict is whether what was measured can be believed, and how the run stands.
func verdict(m flows.Manifest) (string, bool) {
	switch {
	case m.State == flows.Running:
		return "Still running: these numbers are not the last", false
	case !m.Trusted:
		return "Not to be trusted", false
	case m.State == flows.Done:
		return "Trusted", true
	case m.State == flows.Interrupted:
		return "Interrupted: what was measured until then can be trusted", false
	case m.State == flows.Failed:
		return "Failed in part: what was measured can be trusted", false
	}
	return "In a state that this labctl does not know: " + m.State, false
}

// tiles are the run's numbers at a glance.
func tiles(run flows.Run, h runHead) []fact {
	var got float64
	var retransmits, packets, lost int64
	for _, r := range run.Results {
		got += float64(r.Received)
		retransmits += r.Retransmits
		packets += r.Packets
		lost += r.Lost
	}
	all := []fact{
		{"lasted", h.Lasted},
		{"flows", count(h.Flows)},
		{"starts", count(h.StartsPlanned)},
		{"starts failed", count(h.FailedStarts)},
		{"received", bytesText(got)},
	}
	if run.Manifest.Seconds > 0 {
		all = append(all, fact{"mean throughput", stat{value: got * 8 / run.Manifest.Seconds, unit: throughput.Unit}.Text()})
	}
	all = append(all, fact{"TCP segments retransmitted", count(retransmits)})
	if packets > 0 {
		all = append(all, fact{"UDP datagrams lost", number(float64(lost)/float64(packets)*100) + " %"})
	}
	for _, f := range h.Funnels {
		all = append(all, fact{"frames missing on " + f.Node, f.Gone})
	}
	if s := run.Manifest.Stored; s != nil {
		all = append(all, fact{"points counted in InfluxDB", count(s.Counted) + " of " + count(s.Points)})
	}
	return all
}

// startRow is one start.
type startRow struct {
	flows.Result
	Text []string
}

// How many starts that went well are shown; those that failed always are.
const mostStarts = 2000

// starts are those of a run, failed ones first.
func starts(run flows.Run) (rows []startRow, left int) {
	sorted := slices.Clone(run.Results)
	slices.SortStableFunc(sorted, func(a, b flows.Result) int {
		return cmp.Compare(b2i(a.Failed == ""), b2i(b.Failed == ""))
	})
	good := 0
	for _, r := range sorted {
		if r.Failed == "" {
			if good++; good > mostStarts {
				left++
				continue
			}
		}
		rows = append(rows, startRow{r, startText(r)})
	}
	return rows, left
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// startText is a start's numbers, as the table's columns have them.
func startText(r flows.Result) []string {
	late, rate := "never started", "–"
	if r.Started >= 0 {
		late = signed((r.Started-r.Planned)*1000) + " ms"
	}
	if r.Seconds > 0 {
		rate = stat{value: float64(r.Received) * 8 / r.Seconds, unit: throughput.Unit}.Text()
	}
	text := []string{seconds(r.Planned), late, seconds(r.Ended), bytesText(float64(r.Sent)), bytesText(float64(r.Received)), rate}
	if r.Protocol == flows.UDP {
		lost := "–"
		if r.Packets > 0 {
			lost = fmt.Sprintf("%s of %s lost", count(r.Lost), count(r.Packets))
		}
		return append(text, number(r.Jitter)+" ms jitter", lost)
	}
	return append(text, number(r.RTT)+" ms RTT", count(r.Retransmits)+" retransmitted")
}

func seconds(x float64) string {
	if x < 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f s", x)
}
