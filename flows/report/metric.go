package report

import (
	"math"

	"github.com/mami-project/labctl/flows"
)

// metric is something that is measured over time.
type metric struct {
	Name     string
	Unit     string
	protocol string // of the flows that have it; "" for all
	// rate: a bin's value is the sum of what is in it, by its length; else the sum of amount by that of weight.
	rate bool
	// of is what an interval adds to a bin; false where it does not say.
	of func(flows.Interval) (amount, weight float64, ok bool)
}

var (
	throughput = metric{"Throughput", "bit/s", "", true, func(i flows.Interval) (float64, float64, bool) {
		return float64(i.Bytes) * 8, i.Seconds, i.Seconds > 0
	}}
	rtt = metric{"Round-trip time", "ms", flows.TCP, false, func(i flows.Interval) (float64, float64, bool) {
		return i.RTT * i.Seconds, i.Seconds, i.RTT > 0 && i.Seconds > 0
	}}
	retransmissions = metric{"Retransmissions", "segments/s", flows.TCP, true, func(i flows.Interval) (float64, float64, bool) {
		return float64(i.Retransmits), i.Seconds, i.Seconds > 0
	}}
	jitter = metric{"Jitter", "ms", flows.UDP, false, func(i flows.Interval) (float64, float64, bool) {
		return i.Jitter * i.Seconds, i.Seconds, i.Packets > 0 && i.Seconds > 0
	}}
	loss = metric{"Datagrams lost", "%", flows.UDP, false, func(i flows.Interval) (float64, float64, bool) {
		return float64(i.Lost) * 100, float64(i.Packets), i.Packets > 0
	}}
)

// metrics are those of a report, in its order.
var metrics = []metric{throughput, rtt, retransmissions, jitter, loss}

// short is its name in tables.
func (m metric) short() string {
	if m.Name == rtt.Name {
		return "RTT"
	}
	return m.Name
}

// has says whether flows of a protocol have it.
func (m metric) has(protocol string) bool { return m.protocol == "" || m.protocol == protocol }

// value is that of one interval alone.
func (m metric) value(i flows.Interval) (float64, bool) {
	amount, weight, ok := m.of(i)
	v := amount / weight
	return v, ok && !math.IsNaN(v) && !math.IsInf(v, 0)
}
