package report

import (
	"slices"

	"github.com/mami-project/labctl/flows"
)

// group is the starts of one class, or of one flow, in each run.
type group struct {
	Name     string
	Class    string
	Protocol string // of the first start
	Upload   bool
	runs     [][]*flows.Result // by the run's index
}

// groups puts starts together by a name of theirs, in the order of their first start.
func groups(runs []flows.Run, name func(flows.Result) string) []*group {
	byName := map[string]*group{}
	var all []*group
	for n, run := range runs {
		for k := range run.Results {
			r := &run.Results[k]
			g := byName[name(*r)]
			if g == nil {
				g = &group{Name: name(*r), Class: r.Class, Protocol: r.Protocol, Upload: r.Upload, runs: make([][]*flows.Result, len(runs))}
				byName[g.Name] = g
				all = append(all, g)
			}
			g.runs[n] = append(g.runs[n], r)
		}
	}
	return all
}

func byClass(r flows.Result) string { return r.Class }
func byLabel(r flows.Result) string { return r.Label }

// has says whether any of its starts is of the metric's protocol.
func (g *group) has(m metric) bool {
	return slices.ContainsFunc(g.runs, func(results []*flows.Result) bool {
		return slices.ContainsFunc(results, func(r *flows.Result) bool { return m.has(r.Protocol) })
	})
}

// Starts and Failed are their numbers in all runs.
func (g *group) Starts() (n int) {
	for _, results := range g.runs {
		n += len(results)
	}
	return n
}

// Failed is how many of its starts did.
func (g *group) Failed() (n int) {
	for _, results := range g.runs {
		for _, r := range results {
			if r.Failed != "" {
				n++
			}
		}
	}
	return n
}

// instants are when starts failed.
func instants(results []*flows.Result) []float64 {
	var all []float64
	for _, r := range results {
		switch {
		case r.Failed == "":
		case r.Started < 0:
			all = append(all, r.Planned)
		default:
			all = append(all, max(r.Ended, r.Started))
		}
	}
	return all
}
