package flows

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// kind is one application's traffic. It is steady, at a rate, all the time; or it
// comes in bursts of so many bytes, one each period.
type kind struct {
	name    string
	udp     bool
	bitrate string // of one stream, steady
	length  string // of a datagram
	bytes   string // of a burst
	period  time.Duration
}

var kinds = []kind{
	{name: "realtime-audio", udp: true, bitrate: "64K", length: "126"},
	{name: "realtime-video", udp: true, bitrate: "810K", length: "930"},
	{name: "scavenger", bitrate: "1M"},
	{name: "greedy", bytes: "25M", period: 30 * time.Second},
	{name: "abr-video", bytes: "1.8M", period: 10 * time.Second},
	{name: "web-page", bytes: "1246K", period: 10 * time.Second},
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// bits is what one instance offers, bit/s.
func (k kind) bits() float64 {
	if k.period == 0 {
		return amountOf(k.bitrate, decimal)
	}
	return amountOf(k.bytes, binary) * 8 / k.period.Seconds()
}

// mostStreams is how many a client of iperf3's has at most.
const mostStreams = 128

// flows are those of a share: as many instances as fit in it. Steady ones are
// parallel streams of one flow; those in bursts are flows, each with its own start.
func (s share) flows(m mix) ([]Flow, error) {
	instances := math.Floor(s.bits/s.kind.bits() + 1e-9)
	if instances < 1 {
		return nil, fmt.Errorf("%s of the mix has %s, and one takes %s", s.label, showRate(s.bits), showRate(s.kind.bits()))
	}
	each := 1
	if s.kind.period == 0 {
		each = mostStreams
	}
	n, ports := math.Ceil(instances/float64(each)), s.last-s.first+1
	if n > float64(ports) {
		return nil, fmt.Errorf("%s of the mix takes %.0f ports, and its ports-range has %d", s.label, n, ports)
	}
	if n > mostFlows {
		return nil, fmt.Errorf("%s of the mix makes %.0f flows, and a run has at most %d", s.label, n, mostFlows)
	}
	var all []Flow
	for i := range int(n) {
		label := s.label
		if n > 1 {
			label += fmt.Sprintf("-%0*d", len(strconv.Itoa(int(n))), i+1)
		}
		f := s.flow(m, label, i)
		f.Client.Parallel = min(each, int(instances)-i*each)
		all = append(all, f)
	}
	return all, nil
}

// flow is the nth flow of the share.
func (s share) flow(m mix, label string, nth int) Flow {
	common := Config{Port: s.first + nth, ReportInterval: m.interval.Seconds()}
	f := Flow{Label: label, Class: s.kind.name, Server: Server{ServerConfig: ServerConfig{Config: common}}}
	c := &f.Client
	c.ClientConfig = ClientConfig{Config: common, ServerAddress: s.server, Title: s.label, UDP: s.kind.udp}
	c.Bitrate, c.Length, c.Bytes = s.kind.bitrate, s.kind.length, s.kind.bytes
	if s.kind.period == 0 {
		c.Seconds, c.At = m.lasts.Seconds(), []time.Duration{0}
		return f
	}
	for at := offset(m.seed, s.label, nth, min(s.kind.period, m.lasts)); at < m.lasts; at += s.kind.period {
		c.At = append(c.At, at)
	}
	return f
}

// offset is where in its period a flow begins: by chance, and the same each time for
// the same flow of a label and a seed at any load, so that loads can be compared.
func offset(seed, label string, nth int, period time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	r := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", seed, label, nth))))
	return time.Duration(r.Int64N(int64(period/step))) * step
}
