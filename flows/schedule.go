package flows

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Schedule is every start of the flows, earliest first.
func Schedule(flows []Flow) []Start {
	var all []Start
	for i, f := range flows {
		for n, at := range f.Client.At {
			all = append(all, Start{Flow: i, Nth: n, After: at})
		}
	}
	slices.SortStableFunc(all, func(a, b Start) int { return cmp.Compare(a.After, b.After) })
	return all
}

// iperf3's own, where a file says nothing.
const (
	defaultSeconds  = 10
	defaultPort     = 5201
	defaultUDPRate  = 1e6 // bit/s
	defaultTCPBlock = 128 << 10
)

// Lasts is how long one start sends when nothing is in its way; false where that
// depends on the network.
func (f Flow) Lasts() (time.Duration, bool) {
	c := f.Client
	payload, limited := f.payload()
	if !limited {
		return seconds(cmp.Or(c.Seconds, defaultSeconds) + c.Omit), true
	}
	rate := f.rate()
	if rate == 0 || payload == 0 {
		return 0, false
	}
	return capped(payload*8/rate) + seconds(c.Omit), true
}

// capped is a time that may be beyond what a duration holds.
func capped(s float64) time.Duration {
	return seconds(math.Min(s, 365*24*3600))
}

// payload is how many bytes a start sends in all, 0 where that is not known; false
// where it ends by time.
func (f Flow) payload() (bytes float64, limited bool) {
	c := f.Client
	switch {
	case c.Bytes != "":
		return amountOf(c.Bytes, binary), true
	case c.Blocks == "":
		return 0, false
	}
	length := amountOf(c.Length, binary)
	if length == 0 && !c.UDP {
		length = defaultTCPBlock
	}
	return amountOf(c.Blocks, binary) * length, true
}

// rate is what a start offers in bit/s, all its streams together; 0 is as much as
// the network takes.
func (f Flow) rate() float64 {
	c := f.Client
	rate, _ := parseBitrate(c.Bitrate) // checked when it was read
	if c.Bitrate == "" && c.UDP {
		rate = defaultUDPRate
	}
	if fq := amountOf(c.FQRate, decimal); fq > 0 && (rate == 0 || fq < rate) {
		rate = fq
	}
	return rate * float64(max(c.Parallel, 1))
}

// gap is the shortest time between two starts; false where there is only one.
func (f Flow) gap() (time.Duration, bool) {
	least, some := time.Duration(math.MaxInt64), false
	for i := 1; i < len(f.Client.At); i++ {
		least, some = min(least, f.Client.At[i]-f.Client.At[i-1]), true
	}
	return least, some
}
