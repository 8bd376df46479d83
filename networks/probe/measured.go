package probe

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mami-project/labctl/topology"
)

// Measured is what a direction did to frames. Intervals are those of 99 %, the rate's of 95 %.
type Measured struct {
	Sent      int        `json:"sent_frames"`               // to be counted
	Delay     Estimate   `json:"delay_ms"`                  // the median one way, without the host's part, and where the spread is lopsided without what that takes off; to its high end the host's part may not be there, where that is a Path's Floor
	Quartiles [2]float64 `json:"delay_quartiles_ms"`        // of the same
	Jitter    Estimate   `json:"jitter_ms"`                 // from the quartiles, in the terms of what was set: a busy host's few late frames do not count
	Deviation float64    `json:"delay_deviation_ms"`        // the standard deviation of the delays
	Host      *float64   `json:"host_delay_ms"`             // the host's part; null where it is not known and nothing was taken off
	Held      *float64   `json:"host_delay_p90_ms"`         // what the host holds one frame in ten for; null where that was not measured meanwhile
	Loss      Estimate   `json:"loss_percent"`              //
	Burst     Estimate   `json:"loss_burst_frames"`         // the mean length of a run of lost frames
	Duplicate Estimate   `json:"duplicate_percent"`         //
	Undelayed Estimate   `json:"undelayed_percent"`         // came in less than half the delay
	Overtaken Estimate   `json:"overtaken_percent"`         // came after one that was sent later (RFC 4737)
	Corrupt   Estimate   `json:"corrupt_percent"`           // of those that came
	Rate      *Estimate  `json:"rate_mbit_per_s,omitempty"` // of Ethernet frames without their check sequences; absent where none was set
	Seconds   float64    `json:"seconds"`                   // that the measurement took
}

// shape is how a delay spreads, in jitters: netem scales a table of quantiles, whose
// standard deviation is 1 as networks/shape makes it. Those of iproute2 are narrower.
type shape struct {
	median    float64 // beside the delay
	quartiles float64 // from one to the other
}

var shapes = map[string]shape{
	"":                          {0, 1.349},
	topology.SpreadNormal:       {0, 1.349},
	topology.SpreadUniform:      {0, 1},
	topology.SpreadPareto:       {-0.361, 0.861},
	topology.SpreadParetoNormal: {-0.247, 1.029},
}

// median is what the stream's spaced frames took.
func (s stream) median() time.Duration {
	d, _ := s.delays(0)
	slices.Sort(d)
	return time.Duration(quantile(d, 0.5).Value * float64(time.Millisecond))
}

// soonest is what the fastest frame took; 0 where none came.
func (s stream) soonest() time.Duration {
	var least int64
	for _, a := range s.came {
		if d := a.at - s.sent[a.number].at; least == 0 || d < least {
			least = d
		}
	}
	return time.Duration(least)
}

// hiccup is how long handing over a frame takes at most; longer, and nobody knows when
// it really went in.
const hiccup = time.Millisecond

// delays (ms) are what spaced frames took, on their way and past the queueing
// discipline. Those faster than least were let by.
func (s stream) delays(least time.Duration) (through, past []float64) {
	seen := make([]bool, len(s.sent))
	for _, a := range s.came {
		f := s.sent[a.number]
		took := time.Duration(a.at - f.at)
		if seen[a.number] || f.took > hiccup {
			continue
		}
		seen[a.number] = true
		lasted := ms(took)
		switch {
		case f.past:
			past = append(past, lasted)
		case f.leads && took >= least:
			through = append(through, lasted)
		}
	}
	return through, past
}

// count reads a stream that was sent to be counted.
func count(s stream, set topology.Impair, floor time.Duration) Measured {
	var m Measured
	m.delay(s, set, floor)

	copies := make([]int, len(s.sent))
	damaged := s.damaged()
	var counted, corrupt, latest, overtaken, undelayed, arrived int
	half := m.host() + ms(set.Delay)/2
	for i, a := range s.came {
		if s.sent[a.number].past {
			continue
		}
		arrived++
		if damaged[i] {
			corrupt++
		}
		if copies[a.number]++; copies[a.number] > 1 {
			continue
		}
		if a.number < latest {
			overtaken++
		}
		latest = max(latest, a.number)
		if float64(a.at-s.sent[a.number].at)/1e6 < half {
			undelayed++
		}
	}
	var lost []bool
	var duplicates, refused int
	for n, f := range s.sent {
		if f.past {
			continue
		}
		counted++
		lost = append(lost, copies[n] == 0)
		if copies[n] > 1 {
			duplicates++
		}
		if f.refused {
			refused++
		}
	}
	gone := 0
	lengths := runs(lost)
	for _, l := range lengths {
		gone += l
	}
	m.Sent = counted
	m.Burst = meanRun(lengths)
	share, burst := float64(gone)/float64(max(1, counted)), m.Burst.Value
	if m.Burst.Doubt != "" {
		burst = set.Burst
	}
	m.Loss = percent(gone, counted, independence(share, burst))
	m.Duplicate = percent(duplicates, counted, 1)
	m.Overtaken = percent(overtaken, counted-gone, 1)
	m.Undelayed = percent(undelayed, counted-gone, 1)
	m.Corrupt = percent(corrupt, arrived, 1)
	switch {
	case s.dropped > 0:
		m.Loss.Doubt = fmt.Sprintf("this host was too slow to look at %d frames that came", s.dropped)
	case refused > 0:
		m.Loss.Doubt = fmt.Sprintf("%d frames found the queue full: does something else use it?", refused)
	}
	return m
}

// delay reads what the stream's spaced frames took.
func (m *Measured) delay(s stream, set topology.Impair, floor time.Duration) {
	var least time.Duration
	if set.Reorder > 0 && set.Reorder < 0.5 {
		least = set.Delay / 2
	}
	through, past := s.delays(least)
	slices.Sort(through)
	slices.Sort(past)
	var host, held float64
	if len(past) > 0 {
		host, held = quantile(past, 0.5).Value, quantile(past, 0.9).Value
		m.Host, m.Held = &host, &held
	} else if floor > 0 {
		host = ms(floor)
		m.Host = &host
	}
	spread := shapes[set.Distribution]
	jitter := ms(set.Jitter)
	m.Delay = quantile(through, 0.5)
	if m.Delay.Of > 0 {
		for _, v := range []*float64{&m.Delay.Value, &m.Delay.Low, &m.Delay.High} {
			*v -= host + spread.median*jitter
		}
		if len(past) == 0 { // the floor is another time's, perhaps a busier one's: now it may be less
			m.Delay.High += host
		}
		m.Quartiles = [2]float64{quantile(through, 0.25).Value - host, quantile(through, 0.75).Value - host}
	}
	m.Deviation = deviation(through)
	m.Jitter = between(through)
	for _, v := range []*float64{&m.Jitter.Value, &m.Jitter.Low, &m.Jitter.High} {
		*v /= spread.quartiles
	}
	if held-host > ms(hostHolds) {
		m.Delay.Doubt = fmt.Sprintf("this host itself held one frame in ten for %.1f ms", held)
		m.Jitter.Doubt = m.Delay.Doubt
	}
}

// hostHolds is what a host may add to one frame in ten; more, and delays are its own.
const hostHolds = time.Millisecond

// host is the host's part of a delay (ms), 0 where it is not known.
func (m *Measured) host() float64 {
	if m.Host == nil {
		return 0
	}
	return *m.Host
}

// damaged says of each arrival whether bits were changed on the way. What is done to
// all of them (a router's MACs, a TTL) is no damage: it is what most have.
func (s stream) damaged() []bool {
	kinds := map[string]int{} // how frames differ from what was sent, and how many do so
	changes := make([]string, len(s.came))
	frame := slices.Clone(s.blank)
	for i, a := range s.came {
		number(frame, s.offset, s.mark, s.first+uint32(a.number))
		change := slices.Clone(a.frame)
		for j := range min(len(change), len(frame)) {
			change[j] ^= frame[j]
		}
		changes[i] = string(change)
		kinds[changes[i]]++
	}
	usual := make([]byte, len(frame))
	for i := range 8 * len(usual) {
		with := 0
		for change, n := range kinds {
			if i/8 < len(change) && change[i/8]>>(i%8)&1 == 1 {
				with += n
			}
		}
		if 2*with > len(s.came) {
			usual[i/8] |= 1 << (i % 8)
		}
	}
	damaged := make([]bool, len(s.came))
	for i := range changes {
		damaged[i] = !bytes.Equal([]byte(changes[i]), usual)
	}
	return damaged
}

// stretches are the parts of a flood whose rates are compared.
const stretches = 10

// settled is the part of a flood that is not looked at: until a bucket of tokens is
// empty and the queue has built up.
const settled = 0.3

// waited is the part of that time in which frames must have waited for the rate; where
// it is less, the flood was none.
const waited = 0.5

// rateOf reads a flood. A frame that was sent before the one in front of it left had to
// wait, and the time between the two is the rate's; other times may be the sender's,
// which a busy host keeps from sending now and then. base is what a frame takes that
// need not wait.
func rateOf(s stream, base time.Duration) Estimate {
	if len(s.came) == 0 {
		return Estimate{Doubt: noneCame}
	}
	length := float64(s.sent[len(s.sent)-1].at - s.sent[0].at)
	var all, waiting []int64 // ns between arrivals
	var sum, sumWaiting int64
	for i, a := range s.came[1:] {
		before := s.came[i].at
		if since := float64(before - s.came[0].at); since < settled*length || since > length {
			continue
		}
		all = append(all, a.at-before)
		sum += a.at - before
		if s.sent[a.number].at < before-base.Nanoseconds() {
			waiting = append(waiting, a.at-before)
			sumWaiting += a.at - before
		}
	}
	if len(all) < 2*stretches {
		return Estimate{Of: len(all), Doubt: "too few frames came for a rate"}
	}
	var e Estimate
	if len(waiting) >= 2*stretches && float64(sumWaiting) >= waited*float64(sum) {
		e = s.pace(waiting)
	} else {
		e = s.pace(all)
		e.Doubt = "this host did not send fast enough to fill it"
	}
	if s.dropped > 0 {
		e.Doubt = fmt.Sprintf("this host was too slow to look at %d frames that came", s.dropped)
	}
	return e
}

// pace is the rate (Mbit/s) of frames that came so many ns after another.
func (s stream) pace(gaps []int64) Estimate {
	rate := func(gaps []int64) float64 {
		var ns int64
		for _, g := range gaps {
			ns += g
		}
		return float64(len(gaps)*s.size*8) / float64(max(1, ns)) * 1e3
	}
	var rates []float64
	for i := range stretches {
		rates = append(rates, rate(gaps[i*len(gaps)/stretches:(i+1)*len(gaps)/stretches]))
	}
	e := Estimate{Value: rate(gaps), Of: len(gaps)}
	half := t95 * deviation(rates) / math.Sqrt(stretches)
	e.Low, e.High = max(0, e.Value-half), e.Value+half
	return e
}
