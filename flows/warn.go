package flows

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mami-project/labctl/topology"
)

// Path is what the network under test carries in bit/s; 0 where that is not known.
type Path struct {
	Up   float64 // from the client's node to the server's
	Down float64
}

// Warnings are what may spoil a run with these flows on that path, and is no
// mistake in itself: by flow, then what is true of all of them.
func Warnings(flows []Flow, p Path) []topology.Problem {
	var all []topology.Problem
	for _, f := range flows {
		add := func(msg, hint string) {
			all = append(all, topology.Problem{File: f.File, Line: f.Line, Msg: "flow " + f.Label + ": " + msg, Hint: hint})
		}
		if c, s := f.Client.ReportInterval, f.Server.ReportInterval; s == 0 {
			msg := "its server has no report-interval-s"
			if c == 0 {
				add(msg, "both ends report each second, as iperf3 does where nothing is given")
			} else {
				add(msg, fmt.Sprintf("it gets its client's, %g s; trafic's would report each second", c))
			}
		}
		warnBurst(f, p, add)
		if f.Client.UDP && f.rate() == 0 {
			add("it sends UDP as fast as it can", "what the path does not carry is lost: expected a target-bitrate")
		}
		if !f.Client.Upload() && f.Client.TypeOfService() != 0 {
			add("its server sends with a tos or dscp", "iperf3 before 3.13 does not set it on what the server sends: look at the packets")
		}
		if !f.Client.Upload() && f.Client.FQRate != "" {
			add("its server sends with an fq-rate", "iperf3 before 3.17 does not keep to it in what the server sends")
		}
	}
	return append(all, warnOffered(flows, p)...)
}

// warnBurst tells of a start that the next one comes too early for.
func warnBurst(f Flow, p Path, add func(msg, hint string)) {
	gap, several := f.gap()
	payload, limited := f.payload()
	if !several || !limited || payload == 0 {
		return
	}
	at := "at its target-bitrate"
	lasts, known := f.Lasts()
	if carries := p.of(f); carries > 0 {
		if slow := capped(payload*8/carries) + seconds(f.Client.Omit); !known || slow > lasts {
			lasts, known, at = slow, true, "at the "+showRate(carries)+" that the path carries"
		}
	}
	// From 3.16 on, iperf3 ends such a test with a report interval only.
	interval := seconds(f.Client.ReportInterval)
	if interval == 0 {
		interval = time.Second
	}
	if ends := (lasts + interval - 1) / interval * interval; known && ends >= gap {
		add(fmt.Sprintf("a burst lasts %s %s, and the next comes after %s", ends, at, gap),
			"its server takes one test at a time: iperf3 says that the server is busy, and the burst fails")
	}
}

// of is what the path carries in a flow's direction.
func (p Path) of(f Flow) float64 {
	if f.Client.Upload() {
		return p.Up
	}
	return p.Down
}

// warnOffered tells of more payload than a direction carries. A flow with a rate
// counts as long as it lasts; a burst without one counts as its bytes over the time
// to the next; what ends by time alone takes what is left, and does not count.
func warnOffered(flows []Flow, p Path) []topology.Problem {
	var all []topology.Problem
	for _, d := range []struct {
		name    string
		upload  bool
		carries float64
	}{{"from server to client", false, p.Down}, {"from client to server", true, p.Up}} {
		peak, at, of := Peak(flows, d.upload)
		if d.carries > 0 && peak > d.carries*(1+1e-9) {
			all = append(all, topology.Problem{
				File: of.File, Line: of.Line,
				Msg:  fmt.Sprintf("the flows offer %s %s %s after the run's beginning, and the path carries %s", showRate(peak), d.name, at, showRate(d.carries)),
				Hint: "more cannot arrive, whatever is measured: lower the rates, or say in the report that the path is overloaded",
			})
		}
	}
	return all
}

// Peak is the highest rate of payload that flows in one direction offer together,
// in bit/s, when that is first so, and the flow whose start makes it so.
func Peak(flows []Flow, upload bool) (bits float64, after time.Duration, by Flow) {
	type change struct {
		at   time.Duration
		bits float64
		flow int
	}
	var changes []change
	for i, f := range flows {
		if f.Client.Upload() != upload {
			continue
		}
		for n := range f.Client.At {
			rate, lasts := f.offers(n)
			if rate > 0 && lasts > 0 {
				at := f.Client.At[n]
				changes = append(changes, change{at, rate, i}, change{at + lasts, -rate, i})
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		if a.at != b.at {
			return int(math.Copysign(1, float64(a.at-b.at)))
		}
		return int(math.Copysign(1, a.bits-b.bits)) // what ends makes room for what begins
	})
	sum := 0.0
	for _, c := range changes {
		if sum += c.bits; sum > bits*(1+1e-9) {
			bits, after, by = sum, c.at, flows[c.flow]
		}
	}
	return bits, after, by
}

// offers is the rate that the nth start counts with, and for how long.
func (f Flow) offers(n int) (bits float64, lasts time.Duration) {
	if rate := f.rate(); rate > 0 {
		lasts, known := f.Lasts()
		if !known {
			return 0, 0
		}
		return rate, lasts
	}
	payload, limited := f.payload()
	at := f.Client.At
	switch {
	case !limited || len(at) < 2:
		return 0, 0
	case n+1 < len(at):
		lasts = at[n+1] - at[n]
	default:
		lasts = at[n] - at[n-1]
	}
	return payload * 8 / lasts.Seconds(), lasts
}
