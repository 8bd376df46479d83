package flows

// Result is what came of one start of a flow.
type Result struct {
	Label    string `json:"label"`
	Nth      int    `json:"nth"`   // which of the flow's starts, from 0
	Class    string `json:"class"` // as Flow.Class
	Protocol string `json:"protocol"`
	Upload   bool   `json:"upload"` // from client to server; else from server to client, as trafic does
	TOS      int    `json:"tos"`    // type of service byte

	// Instants since the run's beginning, by the host's clock (s).
	Planned float64 `json:"planned"`
	Started float64 `json:"started"` // of the client's process; -1 where it never started
	Ended   float64 `json:"ended"`

	Failed string `json:"failed,omitempty"` // why, "" where it did not fail

	Sent        int64   `json:"sentBytes"`     // payload that the sending end says it sent
	Received    int64   `json:"receivedBytes"` // payload that the receiving end says it got
	Seconds     float64 `json:"seconds"`       // that the receiving end measured
	Retransmits int64   `json:"retransmits"`   // TCP segments
	Packets     int64   `json:"packets"`       // UDP datagrams that the sending end sent
	Lost        int64   `json:"lost"`          // of these, as the receiving end counts
	OutOfOrder  int64   `json:"outOfOrder"`
	Jitter      float64 `json:"jitterMs"` // UDP, as RFC 3550 has it, at the end
	RTT         float64 `json:"rttMs"`    // TCP, mean over the intervals

	Series []Interval `json:"-"` // in series.csv
}

// Bits is the rate over the whole start, at the receiving end (bit/s).
func (r Result) Bits() float64 { return rate(r.Received, r.Seconds) }

// LostPercent is the part of the datagrams that were lost; 0 for TCP.
func (r Result) LostPercent() float64 { return percent(r.Lost, r.Packets) }

// Interval is what happened to a start of a flow in one report interval, all its
// parallel streams together.
type Interval struct {
	At          float64 // its beginning, since the run's (s)
	Seconds     float64 // how long it was
	Bytes       int64   // payload, at the receiving end
	Retransmits int64   // TCP segments, by the sending end
	Cwnd        int64   // TCP congestion window at its end (bytes)
	RTT         float64 // TCP (ms)
	RTTVar      float64 // TCP (ms)
	Jitter      float64 // UDP (ms)
	Packets     int64   // UDP datagrams that were due at the receiving end: those it got, and those lost
	Lost        int64   // of these; below 0 where some come that were taken for lost before
}

// Bits is the rate of the interval (bit/s).
func (i Interval) Bits() float64 { return rate(i.Bytes, i.Seconds) }

// LostPercent is the part of the interval's datagrams that were lost; 0 for TCP.
func (i Interval) LostPercent() float64 { return percent(i.Lost, i.Packets) }

func rate(bytes int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(bytes) * 8 / seconds
}

func percent(part, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(of)
}
