package flows

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// Expectations are bounds that a run has to keep.
type Expectations []Expectation

// Expectation is one bound, on each start of some flows.
type Expectation struct {
	Class    bool   // Of is a class; else a pattern of flows' labels, such as audio-*
	Of       string // whose starts
	Quantity string // throughput, loss, rtt, jitter, retransmits or failed
	Bound    Bound
}

// Bound is a limit of a quantity.
type Bound struct {
	AtLeast bool    // else at most
	Limit   float64 // in the quantity's own unit
	Text    string  // as it is written
}

// Holds says whether a value keeps the bound.
func (b Bound) Holds(v float64) bool {
	if b.AtLeast {
		return v >= b.Limit
	}
	return v <= b.Limit
}

// bounds are the quantities of a flow or class, as the file has them.
type bounds struct {
	Throughput  string `yaml:"throughput"`
	Loss        string `yaml:"loss"`
	RTT         string `yaml:"rtt"`
	Jitter      string `yaml:"jitter"`
	Retransmits string `yaml:"retransmits"`
	Failed      string `yaml:"failed"`
}

const expectStart = `a first one:
  flow:
    "*": {throughput: ">= 50kbit", loss: "<= 1%", failed: 0}`

// LoadExpectations reads an expectations file:
//
//	flow:
//	  audio-*: {loss: "<= 1%", jitter: "<= 5ms"}
//	class:
//	  greedy: {throughput: ">= 5mbit", rtt: "<= 200ms", retransmits: "<= 100", failed: 0}
//
// Starts that fail are not expected unless failed allows for them. What is wrong in the
// file is told by file:line.
func LoadExpectations(name string, src []byte) (Expectations, error) {
	var f struct {
		Flow  map[string]bounds `yaml:"flow"`
		Class map[string]bounds `yaml:"class"`
	}
	d := topology.ReadDocument(name, src, "expectations file", expectStart, &f)
	if err := d.Err(); err != nil {
		return nil, err
	}
	var all Expectations
	for _, pattern := range slices.Sorted(maps.Keys(f.Flow)) {
		if _, err := path.Match(pattern, ""); err != nil {
			d.Add(fmt.Sprintf("flow %q is not a pattern", pattern), "* is any text, ? any letter, [ab] one of these", "flow", pattern)
		}
		all = append(all, read(d, "flow", pattern, f.Flow[pattern])...)
	}
	for _, class := range slices.Sorted(maps.Keys(f.Class)) {
		all = append(all, read(d, "class", class, f.Class[class])...)
	}
	if len(all) == 0 && d.Err() == nil {
		d.Add("the file expects nothing", expectStart)
	}
	return all, d.Err()
}

// read reads the bounds of a flow or class.
func read(d *topology.Document, kind, of string, b bounds) (all Expectations) {
	for _, q := range quantities {
		text := q.text(b)
		if text == "" {
			continue
		}
		bound, ok := q.bound(text)
		if !ok {
			d.Add(fmt.Sprintf("%s of %s %s is %q", q.name, kind, of, text), "expected such as "+q.example, kind, of, q.name)
			continue
		}
		all = append(all, Expectation{kind == "class", of, q.name, bound})
	}
	switch {
	case len(all) == 0:
		d.Add(fmt.Sprintf("%s %s expects nothing", kind, of), "expected some of throughput, loss, rtt, jitter, retransmits, failed", kind, of)
	case b.Failed == "":
		all = append(all, Expectation{kind == "class", of, "failed", Bound{Text: "<= 0"}})
	}
	return all
}

// quantity is something that can be expected.
type quantity struct {
	name     string
	example  string
	protocol string // that alone has it; "" for both
	units    map[string]float64
	text     func(bounds) string
	of       func(Result) float64
}

var (
	times = map[string]float64{"us": 0.001, "ms": 1, "s": 1000}
	none  = map[string]float64{"": 1}

	quantities = []quantity{
		{
			"throughput", `">= 5mbit"`, "",
			map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9},
			func(b bounds) string { return b.Throughput }, Result.Bits,
		},
		{"loss", `"<= 1%"`, UDP, map[string]float64{"%": 1}, func(b bounds) string { return b.Loss }, Result.LostPercent},
		{"rtt", `"<= 200ms"`, TCP, times, func(b bounds) string { return b.RTT }, func(r Result) float64 { return r.RTT }},
		{"jitter", `"<= 5ms"`, UDP, times, func(b bounds) string { return b.Jitter }, func(r Result) float64 { return r.Jitter }},
		{"retransmits", `"<= 100"`, TCP, none, func(b bounds) string { return b.Retransmits }, func(r Result) float64 { return float64(r.Retransmits) }},
		{"failed", `"<= 0", or 0`, "", none, func(b bounds) string { return b.Failed }, nil},
	}
)

// bound reads >= or <=, a number and a unit; a number alone of failed starts is the most there may be.
func (q quantity) bound(text string) (Bound, bool) {
	b := Bound{Text: text}
	rest, atMost := strings.CutPrefix(text, "<=")
	if !atMost {
		rest, b.AtLeast = strings.CutPrefix(text, ">=")
	}
	if !atMost && !b.AtLeast {
		if q.name != "failed" {
			return b, false
		}
		b.Text = "<= " + text
	}
	rest = strings.TrimSpace(rest)
	digits := strings.TrimLeft(rest, "0123456789.")
	scale, known := q.units[strings.TrimSpace(digits)]
	n, err := strconv.ParseFloat(rest[:len(rest)-len(digits)], 64)
	b.Limit = n * scale
	return b, known && err == nil
}

// show is a value in a unit one can read.
func (q quantity) show(v float64) string {
	unit, scale := "", 1.0
	switch {
	case len(q.units) == 1:
		unit = slices.Collect(maps.Keys(q.units))[0]
	case q.protocol == "":
		for u, s := range q.units {
			if s > scale && v >= s {
				unit, scale = u, s
			}
		}
		unit = cmp.Or(unit, "bit")
	default:
		unit = "ms"
	}
	return fixed(v/scale, 3) + unit
}
