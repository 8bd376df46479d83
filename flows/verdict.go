package flows

import (
	"fmt"
	"path"
)

// Verdict is whether a run keeps an expectation.
type Verdict struct {
	Expectation
	OK  bool
	Got string // the value nearest to the bound or beyond it, and of which start
}

// Name says what is expected of what.
func (e Expectation) Name() string {
	kind := "flow"
	if e.Class {
		kind = "class"
	}
	return fmt.Sprintf("%s %s: %s %s", kind, e.Of, e.Quantity, e.Bound.Text)
}

// Judge gives a verdict on each expectation. One of flows that did not run, or that
// nothing was measured of, is not kept.
func (es Expectations) Judge(r Run) []Verdict {
	vs := make([]Verdict, len(es))
	for i, e := range es {
		vs[i] = e.judge(r.Results)
	}
	return vs
}

func (e Expectation) judge(all []Result) Verdict {
	var of []Result
	for _, r := range all {
		if e.matches(r) {
			of = append(of, r)
		}
	}
	switch {
	case len(of) == 0:
		return Verdict{e, false, "no such flow ran"}
	case e.Quantity == "failed":
		return e.failed(of)
	}
	return e.measured(of)
}

func (e Expectation) matches(r Result) bool {
	if e.Class {
		return e.Of == r.Class
	}
	ok, err := path.Match(e.Of, r.Label)
	return ok && err == nil
}

// failed judges how many starts failed.
func (e Expectation) failed(of []Result) Verdict {
	n, got := 0, ""
	for _, r := range of {
		if r.Failed == "" {
			continue
		}
		if n++; n == 1 {
			got = fmt.Sprintf(", %s: %s", r.start(), r.Failed)
		}
	}
	return Verdict{e, e.Bound.Holds(float64(n)), fmt.Sprintf("%d of %d starts%s", n, len(of), got)}
}

// measured judges the worst of the starts that went through.
func (e Expectation) measured(of []Result) Verdict {
	var q quantity
	for _, known := range quantities {
		if known.name == e.Quantity {
			q = known
		}
	}
	worst, found := Result{}, false
	for _, r := range of {
		if r.Failed != "" || q.protocol != "" && q.protocol != r.Protocol {
			continue
		}
		if !found || q.of(r) < q.of(worst) == e.Bound.AtLeast {
			worst, found = r, true
		}
	}
	if !found {
		return Verdict{e, false, "nothing was measured: no start went through" + only(q.protocol)}
	}
	v := q.of(worst)
	return Verdict{e, e.Bound.Holds(v), q.show(v) + ", " + worst.start()}
}

func only(protocol string) string {
	if protocol == "" {
		return ""
	}
	return ", or none has " + protocol
}

// start names a start of a flow as people count.
func (r Result) start() string { return fmt.Sprintf("start %d of %s", r.Nth+1, r.Label) }
