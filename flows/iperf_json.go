package flows

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// document reads one JSON document of iperf3's into a test, part by part, so that a
// long one takes little memory and one cut short gives what it has.
type document struct {
	*json.Decoder
	test Test
	left *int // intervals that may still come
}

// read reads the document; what is wrong with it is the test's error too.
func (d *document) read() error {
	err := d.members()
	d.test.foldTail()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("iperf3's output is cut short: it was killed, or the disk is full")
	}
	if err != nil {
		d.test.Error = printable(err.Error())
	}
	return err
}

func (d *document) members() error {
	if err := d.delim('{'); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "start":
			err = d.start()
		case "intervals":
			err = d.intervals()
		case "end":
			err = d.end()
		case "error":
			var text string
			if err = d.part("error", &text); err == nil {
				d.test.Error = printable(text)
			}
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return err
		}
	}
	return d.delim('}')
}

// delim takes a brace or bracket.
func (d *document) delim(expected json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return err
	}
	if got != expected {
		return fmt.Errorf("iperf3's JSON has %v, expected %v", got, expected)
	}
	return nil
}

// part reads a value that may not be large.
func (d *document) part(name string, into any) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if len(raw) > largestPart {
		return fmt.Errorf("%s in iperf3's JSON has %d bytes, expected at most %d", name, len(raw), largestPart)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s in iperf3's JSON: %w", name, err)
	}
	return nil
}

func (d *document) start() error {
	var s struct {
		Cookie    string                   `json:"cookie"`
		Timestamp struct{ Timesecs count } `json:"timestamp"`
		Accepted  *struct{}                `json:"accepted_connection"`
		Test      *struct {
			Protocol string `json:"protocol"`
			Streams  count  `json:"num_streams"`
			Omit     count  `json:"omit"`
			Reverse  count  `json:"reverse"`
			Bidir    count  `json:"bidir"`
		} `json:"test_start"`
	}
	if err := d.part("start", &s); err != nil {
		return err
	}
	t := &d.test
	t.Cookie, t.Server = printable(s.Cookie), s.Accepted != nil
	t.Began = time.Unix(int64(s.Timestamp.Timesecs), 0)
	if s.Test == nil {
		return nil // an error came before
	}
	t.Protocol = strings.ToLower(printable(s.Test.Protocol))
	t.Streams, t.Omit, t.Reverse = int(s.Test.Streams), int(s.Test.Omit), s.Test.Reverse != 0
	switch {
	case t.Protocol != TCP && t.Protocol != UDP:
		return fmt.Errorf("iperf3 ran a test of %s, expected tcp or udp", t.Protocol)
	case s.Test.Bidir != 0:
		return errBidirectional
	case t.Streams > mostStreams:
		return fmt.Errorf("iperf3 tells of %d streams, expected at most %d", t.Streams, mostStreams)
	}
	return nil
}

var errBidirectional = errors.New("iperf3 ran a bidirectional test: take two flows, one of them with reverse: false")

// sums is what iperf3 says of several streams together.
type sums struct {
	Start       number `json:"start"`
	End         number `json:"end"`
	Seconds     number `json:"seconds"`
	Bytes       count  `json:"bytes"`
	Retransmits count  `json:"retransmits"`
	Jitter      number `json:"jitter_ms"`
	Lost        signed `json:"lost_packets"`
	Packets     count  `json:"packets"`
	Omitted     bool   `json:"omitted"`
}

func (s sums) sum() Sum {
	return Sum{
		Bytes: int64(s.Bytes), Seconds: float64(s.Seconds), Retransmits: int64(s.Retransmits),
		Packets: int64(s.Packets), Lost: int64(s.Lost), Jitter: float64(s.Jitter),
	}
}

func (d *document) intervals() error {
	if err := d.delim('['); err != nil {
		return err
	}
	for d.More() {
		if *d.left--; *d.left < 0 {
			return fmt.Errorf("iperf3 wrote more than %d intervals: use a longer report interval", mostIntervals)
		}
		if err := d.interval(); err != nil {
			return err
		}
	}
	return d.delim(']')
}

func (d *document) interval() error {
	var i struct {
		Streams []struct {
			Cwnd   count  `json:"snd_cwnd"`
			RTT    number `json:"rtt"`    // µs
			RTTVar number `json:"rttvar"` // µs
			Sender bool   `json:"sender"`
		} `json:"streams"`
		Sum *sums `json:"sum"`
	}
	if err := d.part("an interval", &i); err != nil {
		return err
	}
	switch {
	case i.Sum == nil:
		return errors.New("an interval in iperf3's JSON has no sum")
	case len(i.Streams) > mostStreams:
		return fmt.Errorf("iperf3 tells of %d streams, expected at most %d", len(i.Streams), mostStreams)
	case i.Sum.Omitted:
		return nil
	}
	got := Interval{
		Bytes: int64(i.Sum.Bytes), Retransmits: int64(i.Sum.Retransmits),
		Packets: int64(i.Sum.Packets), Lost: int64(i.Sum.Lost), Jitter: float64(i.Sum.Jitter),
	}
	for _, s := range i.Streams {
		if s.Sender != i.Streams[0].Sender {
			return errBidirectional
		}
		got.Cwnd += int64(s.Cwnd)
		got.RTT += float64(s.RTT) / 1000 / float64(len(i.Streams))
		got.RTTVar += float64(s.RTTVar) / 1000 / float64(len(i.Streams))
	}
	d.test.add(got, float64(i.Sum.End))
	return nil
}

// add appends an interval that ends at an instant. Each begins where the one before
// ended: with omitted seconds, iperf3's own beginnings and lengths are wrong.
func (t *Test) add(i Interval, end float64) {
	if n := len(t.Intervals); n > 0 {
		last := t.Intervals[n-1]
		i.At = last.At + last.Seconds
	}
	i.Seconds = max(0, end-i.At)
	t.Intervals = append(t.Intervals, i)
}

// foldTail adds a last interval of hardly any length, which would have an absurd
// rate, to the one before.
func (t *Test) foldTail() {
	const hardly = 0.2 // of the one before
	n := len(t.Intervals)
	if n < 2 || t.Intervals[n-1].Seconds >= hardly*t.Intervals[n-2].Seconds {
		return
	}
	last := &t.Intervals[n-2]
	last.count(t.Intervals[n-1])
	last.Seconds += t.Intervals[n-1].Seconds
	t.Intervals = t.Intervals[:n-1]
}

// count adds what another interval has counted, and takes its last state.
func (i *Interval) count(o Interval) {
	i.Bytes += o.Bytes
	i.Retransmits += o.Retransmits
	i.Packets += o.Packets
	i.Lost += o.Lost
	i.Cwnd, i.RTT, i.RTTVar, i.Jitter = o.Cwnd, o.RTT, o.RTTVar, o.Jitter
}

func (d *document) end() error {
	var e struct {
		Streams []struct {
			UDP struct {
				OutOfOrder count `json:"out_of_order"`
			} `json:"udp"`
		} `json:"streams"`
		Sum      *sums `json:"sum"` // UDP, and all there is of it in 3.9
		Sent     *sums `json:"sum_sent"`
		Received *sums `json:"sum_received"`
	}
	if err := d.part("end", &e); err != nil {
		return err
	}
	t := &d.test
	switch {
	case e.Sent != nil && e.Received != nil:
		t.Sent, t.Received, t.Whole = e.Sent.sum(), e.Received.sum(), true
	case e.Sum != nil:
		t.Sent, t.Received, t.Whole = e.Sum.sum(), e.Sum.sum(), true
		switch all := total(t.Intervals); { // its bytes are those sent, at the server only if by itself
		case !t.Sends():
			t.Received.Bytes = all.Bytes
		case !t.Server && t.Sent.Packets > 0:
			t.Received.Bytes -= t.Sent.Bytes / t.Sent.Packets * t.Received.Lost // of one size all
		default:
			t.Received = Sum{}
		}
	}
	for _, s := range e.Streams {
		t.Received.OutOfOrder += int64(s.UDP.OutOfOrder)
	}
	return nil
}

// total is what all intervals have counted.
func total(is []Interval) Interval {
	var all Interval
	for _, i := range is {
		all.count(i)
		all.Seconds += i.Seconds
	}
	return all
}
