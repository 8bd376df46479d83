package flows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Test is one iperf3 test as one of its two ends tells it, by iperf3 --json. What it
// says comes from a guest: texts are made printable, and numbers are within bounds.
type Test struct {
	Cookie   string    // the same at both ends; "" where the test never began
	Error    string    // what went wrong, by iperf3 or with its output; "" if nothing
	Server   bool      // the server's view; else the client's
	Began    time.Time // by this end's clock, whole seconds
	Protocol string    // TCP or UDP
	Reverse  bool      // from server to client
	Streams  int
	Omit     int  // seconds at the beginning that do not count
	Whole    bool // it has come to its end and summed up

	// What was sent and what was received. That of the other end is what it told in
	// the end: 0 where it did not.
	Sent, Received Sum

	Intervals []Interval // this end's view, since the test's beginning; those omitted are left out
}

// Sum is a whole test at one end, all its streams together.
type Sum struct {
	Bytes       int64 // payload
	Seconds     float64
	Retransmits int64   // TCP segments
	Packets     int64   // UDP datagrams
	Lost        int64   // of these
	OutOfOrder  int64   // of these
	Jitter      float64 // UDP (ms)
}

// Sends says whether the end whose view this is sends the data.
func (t Test) Sends() bool { return t.Server == t.Reverse }

// Bounds of what a guest may say: iperf3 comes nowhere near them.
const (
	largestOutput = 64 << 20 // bytes
	largestPart   = 1 << 20  // bytes of an interval or the like; 128 streams take 100 KB
	mostTests     = 10_000
	mostIntervals = 200_000 // of all tests
	longestText   = 300     // letters of an error
)

// ReadTests reads what iperf3 --json wrote: a client's one test, or the tests of a
// server one after another. The error tells of anything else there: text outside JSON, nothing
// at all, JSON cut short. Tests read before it are returned, the one it is in as well,
// with that error as its own.
func ReadTests(r io.Reader) ([]Test, error) {
	src, err := io.ReadAll(io.LimitReader(r, largestOutput+1))
	if err != nil {
		return nil, err
	}
	if len(src) > largestOutput {
		return nil, fmt.Errorf("iperf3 wrote more than %d MiB: use a longer report interval", largestOutput>>20)
	}
	var tests []Test
	var text []byte // outside JSON
	left := mostIntervals
	for {
		if src = bytes.TrimSpace(src); len(src) == 0 {
			break
		}
		if src[0] != '{' {
			line, rest, _ := bytes.Cut(src, []byte("\n"))
			if len(text) < 4*longestText {
				text = append(append(text, line...), '\n')
			}
			src = rest
			continue
		}
		if len(tests) == mostTests {
			return tests, fmt.Errorf("iperf3 wrote more than %d tests", mostTests)
		}
		d := document{Decoder: json.NewDecoder(bytes.NewReader(src)), left: &left}
		err := d.read()
		tests = append(tests, d.test)
		if err != nil {
			return tests, err
		}
		src = src[d.InputOffset():]
	}
	switch {
	case len(text) > 0:
		return tests, errors.New(said(string(text)))
	case len(tests) == 0:
		return nil, errors.New("iperf3 wrote nothing")
	}
	return tests, nil
}

// ReadTest reads what iperf3 --json wrote of one test: whatever is wrong with that is
// the test's Error. iperf3 3.9 tells its errors on stderr only: hand that in behind stdout.
func ReadTest(r io.Reader) Test {
	tests, err := ReadTests(r)
	var t Test
	switch {
	case len(tests) == 1:
		t = tests[0]
	case len(tests) > 1:
		err = fmt.Errorf("iperf3 wrote %d tests, expected one", len(tests))
	}
	if err != nil && t.Error == "" {
		t.Error = err.Error()
	}
	return t
}

// said is what iperf3 says in text outside JSON: the line with its name, else the first.
func said(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "iperf3: "); ok {
			first = strings.TrimPrefix(rest, "error - ")
			break
		}
	}
	return printable(first)
}

// printable is a guest's text as it may stand in a message.
func printable(s string) string {
	n := 0
	s = strings.Map(func(r rune) rune {
		if n++; n > longestText {
			return -1
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
