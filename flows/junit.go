package flows

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// The parts of JUnit's XML that GitLab and Jenkins read.
type (
	junitSuites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suite    junitSuite
	}
	junitSuite struct {
		XMLName   xml.Name    `xml:"testsuite"`
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Time      string      `xml:"time,attr"` // s
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"` // s
		Failure *junitFailure `xml:"failure"`
		Skipped *junitFailure `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a run and the verdicts on it as JUnit's XML: a test case for each flow
// and each expectation, and for the run, its captures, clocks and InfluxDB.
func JUnit(w io.Writer, r Run, verdicts []Verdict) error {
	m := r.Manifest
	s := junitSuite{
		Name: "labctl run " + m.ID, Timestamp: m.Began.UTC().Format("2006-01-02T15:04:05"), Time: fixed(m.Seconds, 3),
		Cases: flowCases(r.Results),
	}
	for _, v := range verdicts {
		c := junitCase{Class: "expectation", Name: v.Name(), Time: "0", Out: v.Got}
		if !v.OK {
			c.fail(v.Got)
		}
		s.Cases = append(s.Cases, c)
	}
	s.Cases = append(s.Cases, runCase(m), captureCase(m), clockCase(m), influxCase(m))
	for _, c := range s.Cases {
		s.Tests++
		if c.Failure != nil {
			s.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w) // it makes what XML cannot hold to U+FFFD
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Tests: s.Tests, Failures: s.Failures, Suite: s}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// fail adds what is wrong.
func (c *junitCase) fail(why string) {
	if c.Failure == nil {
		c.Failure = &junitFailure{Message: why}
	}
	c.Failure.Text += why + "\n"
}

// flowCases are one of each flow, all its starts together.
func flowCases(results []Result) []junitCase {
	var cases []junitCase
	index, seconds := make(map[string]int), make([]float64, 0)
	for _, r := range results {
		i, known := index[r.Label]
		if !known {
			i = len(cases)
			index[r.Label] = i
			cases = append(cases, junitCase{Class: "flow", Name: r.Label})
			seconds = append(seconds, 0)
		}
		if r.Started >= 0 {
			seconds[i] += max(0, r.Ended-r.Started)
		}
		cases[i].Time = fixed(seconds[i], 3)
		if r.Failed != "" {
			cases[i].fail(fmt.Sprintf("start %d, at %s s: %s", r.Nth+1, fixed(r.Planned, 3), r.Failed))
		}
	}
	return cases
}

// runCase is whether the run has come to its end and can be believed.
func runCase(m Manifest) junitCase {
	c := junitCase{Class: "run", Name: "trusted", Time: "0"}
	if m.State == Interrupted || m.State == Running {
		c.fail("the run has not come to its end: " + m.State)
	}
	if !m.Trusted {
		c.fail("what was measured is not to be trusted: " + strings.Join(m.Wrong, "; "))
	}
	return c
}

func captureCase(m Manifest) junitCase {
	c := junitCase{Class: "run", Name: "capture", Time: "0"}
	if len(m.Captures) == 0 {
		c.Skipped = &junitFailure{Message: "nothing was captured"}
	}
	for _, a := range m.Captures {
		c.Out += fmt.Sprintf("%s: %d frames of %s mirrored, %d in the file, %d missing\n", a.Node, a.Mirrored.Frames, a.Of, a.Written.Frames, a.Missing())
		if a.Failed != "" {
			c.fail(a.Node + ": " + a.Failed)
		}
	}
	return c
}

// clockCase is whether the nodes' clocks were near the host's, before and after.
func clockCase(m Manifest) junitCase {
	const apart = 1.0 // ms
	c := junitCase{Class: "run", Name: "clocks", Time: "0"}
	if len(m.Before)+len(m.After) == 0 {
		c.Skipped = &junitFailure{Message: "the clocks were not compared"}
	}
	for i, o := range append(m.Before[:len(m.Before):len(m.Before)], m.After...) {
		when := "before"
		if i >= len(m.Before) {
			when = "after"
		}
		switch {
		case o.Failed != "":
			c.fail(fmt.Sprintf("%s, %s: %s", o.Node, when, o.Failed))
		case math.Abs(o.Milli) > apart:
			c.fail(fmt.Sprintf("%s, %s: %s ms from the host's clock, ±%s", o.Node, when, fixed(o.Milli, 3), fixed(o.Uncertainty, 3)))
		}
	}
	return c
}

func influxCase(m Manifest) junitCase {
	c := junitCase{Class: "run", Name: "influxdb", Time: "0"}
	switch s := m.Stored; {
	case s == nil:
		c.Skipped = &junitFailure{Message: "the lab has no InfluxDB"}
	case s.Failed != "":
		c.fail(s.Failed)
	case s.Counted != s.Points:
		c.fail(fmt.Sprintf("%d of %d points are in database %s", s.Counted, s.Points, s.Database))
	}
	return c
}
