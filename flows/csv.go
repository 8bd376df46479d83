package flows

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var summaryColumns = []string{
	"flow", "nth", "class", "protocol", "direction", "tos", "planned_s", "started_s", "ended_s", "failed",
	"sent_bytes", "received_bytes", "seconds", "bps", "retransmits", "packets", "lost", "lost_percent",
	"out_of_order", "jitter_ms", "rtt_ms",
}

func (r Run) writeSummary(to io.Writer) error {
	w := csv.NewWriter(to)
	w.Write(summaryColumns) //nolint:errcheck // the writer keeps its error
	for _, x := range r.Results {
		direction := "server to client"
		if x.Upload {
			direction = "client to server"
		}
		w.Write([]string{ //nolint:errcheck // the writer keeps its error
			x.Label, strconv.Itoa(x.Nth), x.Class, x.Protocol, direction, strconv.Itoa(x.TOS),
			fixed(x.Planned, 6), fixed(x.Started, 6), fixed(x.Ended, 6), x.Failed,
			whole(x.Sent), whole(x.Received), fixed(x.Seconds, 6), fixed(x.Bits(), 0), whole(x.Retransmits),
			whole(x.Packets), whole(x.Lost), fixed(x.LostPercent(), 3), whole(x.OutOfOrder),
			fixed(x.Jitter, 3), fixed(x.RTT, 3),
		})
	}
	w.Flush()
	return w.Error()
}

var seriesColumns = []string{
	"flow", "nth", "at_s", "seconds", "bytes", "bps", "retransmits", "cwnd_bytes", "rtt_ms", "rtt_var_ms",
	"jitter_ms", "packets", "lost",
}

func (r Run) writeSeries(to io.Writer) error {
	w := csv.NewWriter(to)
	w.Write(seriesColumns) //nolint:errcheck // the writer keeps its error
	for _, x := range r.Results {
		nth := strconv.Itoa(x.Nth)
		for _, i := range x.Series {
			w.Write([]string{ //nolint:errcheck // the writer keeps its error
				x.Label, nth, fixed(i.At, 6), fixed(i.Seconds, 6), whole(i.Bytes), fixed(i.Bits(), 0),
				whole(i.Retransmits), whole(i.Cwnd), fixed(i.RTT, 3), fixed(i.RTTVar, 3),
				fixed(i.Jitter, 3), whole(i.Packets), whole(i.Lost),
			})
		}
	}
	w.Flush()
	return w.Error()
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

// fixed is a number with at most so many digits behind the point.
func fixed(f float64, digits int) string {
	s := strconv.FormatFloat(f, 'f', digits, 64)
	if digits > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// readSeries reads the series of the run's results.
func (r *Run) readSeries() error {
	path := filepath.Join(r.Dir, SeriesFile)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	type start struct {
		label string
		nth   int
	}
	at := make(map[start]int, len(r.Results))
	for i, x := range r.Results {
		at[start{x.Label, x.Nth}] = i
	}
	c := csv.NewReader(bufio.NewReaderSize(f, 1<<16))
	c.ReuseRecord, c.FieldsPerRecord = true, len(seriesColumns)
	if columns, err := c.Read(); err != nil || !slices.Equal(columns, seriesColumns) {
		return fmt.Errorf("%s is damaged: expected the columns %s", path, strings.Join(seriesColumns, ","))
	}
	last, run := start{}, []Interval(nil) // the rows of one start follow one another
	keep := func() {
		if i := at[last]; len(run) > 0 {
			r.Results[i].Series = append(r.Results[i].Series, run...)
			run = run[:0]
		}
	}
	for {
		fields, err := c.Read()
		if err == io.EOF {
			keep()
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s is damaged: %w", path, err)
		}
		line, _ := c.FieldPos(0)
		n := numbers{fields: fields}
		of := start{fields[0], int(n.whole(1))}
		interval := Interval{
			At: n.fixed(2), Seconds: n.fixed(3), Bytes: n.whole(4), Retransmits: n.whole(6), Cwnd: n.whole(7),
			RTT: n.fixed(8), RTTVar: n.fixed(9), Jitter: n.fixed(10), Packets: n.whole(11), Lost: n.whole(12),
		}
		if n.err != nil {
			return fmt.Errorf("%s:%d is damaged: %w", path, line, n.err)
		}
		if of != last {
			keep()
			last = start{strings.Clone(of.label), of.nth} // the field is of the reader's row
		}
		if _, known := at[of]; !known {
			return fmt.Errorf("%s:%d is of start %s of flow %s, which %s does not have", path, line, fields[1], fields[0], ResultsFile)
		}
		run = append(run, interval)
	}
}

// numbers reads a record's fields; err is the first thing wrong with one.
type numbers struct {
	fields []string
	err    error
}

func (n *numbers) whole(i int) int64 {
	v, err := strconv.ParseInt(n.fields[i], 10, 64)
	n.expect(i, err)
	return v
}

func (n *numbers) fixed(i int) float64 {
	v, err := strconv.ParseFloat(n.fields[i], 64)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		err = errors.New("not a number")
	}
	n.expect(i, err)
	return v
}

func (n *numbers) expect(i int, err error) {
	if err != nil && n.err == nil {
		n.err = fmt.Errorf("%s is %q, expected a number", seriesColumns[i], n.fields[i])
	}
}
