package shape

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/topology"
)

// Kinds of queueing disciplines, by the kernel's names.
const (
	netem = "netem"
	tbf   = "tbf"
)

// The handles' upper halves. The kernel does not tell how a delay spreads: netem's own
// handle keeps it, as netemMajor and the place among the spreads.
const (
	netemMajor = 0x6c60
	rateMajor  = 0x6c64
	queueMajor = 0x6c65
)

var spreads = []string{topology.SpreadUniform, topology.SpreadNormal, topology.SpreadPareto, topology.SpreadParetoNormal}

// handle is that of a queueing discipline, below its parts: which here is the first.
func handle(major uint16) uint32 { return netlink.MakeHandle(major, 0) }

func firstClass(h uint32) uint32 { return h | 1 }

const (
	// burstTime is for how long frames leave as fast as they come, after a pause or where
	// the host was too busy to send them in time, before the rate holds.
	burstTime = 2 * time.Millisecond
	// lineRate is how many frames a second may come to a delay.
	lineRate = 1_000_000
	// spare is how many frames more may wait there.
	spare = 1000
	// leastFrame is the length of the shortest Ethernet frame.
	leastFrame = 60
	// widest is how many jitters a delay is longer at most: the tables end there.
	widest = 4
)

// Limit is how much may wait in the queues of an impairment.
type Limit struct {
	Frames  uint32 // that are delayed, or wait for the rate after
	Bytes   uint32 // that wait for the rate
	Packets uint32 // of any length in place of the bytes, where fq_codel or pie keeps them
}

// String is the limit in a line for people.
func (l Limit) String() string {
	s := ""
	if l.Frames > 0 {
		s = fmt.Sprintf("%d frames for the delay", l.Frames)
	}
	if l.Frames > 0 && l.Bytes > 0 {
		s += ", "
	}
	switch {
	case l.Packets > 0:
		s += fmt.Sprintf("%d frames for the rate (%d bytes of the longest)", l.Packets, l.Bytes)
	case l.Bytes > 0:
		s += fmt.Sprintf("%d bytes for the rate", l.Bytes)
	}
	return s
}

// Limits tells how much may wait where Set does what i says.
func Limits(i topology.Impair, mtu int) (Limit, error) {
	if err := check(i, mtu); err != nil {
		return Limit{}, err
	}
	var l Limit
	if hasNetem(i) {
		l.Frames = delayed(i)
	}
	if i.Rate > 0 {
		l.Bytes = uint32(i.Queue)
		if i.AQM != topology.AQMFIFO {
			l.Packets = packets(i, mtu)
		}
	}
	return l, nil
}

// stack are the queueing disciplines that do what i says, from the root on.
func stack(i topology.Impair, mtu int) ([]qdisc, error) {
	if err := check(i, mtu); err != nil {
		return nil, err
	}
	var qs []qdisc
	parent := uint32(netlink.HANDLE_ROOT)
	add := func(kind string, major uint16, options []byte) {
		qs = append(qs, qdisc{kind, handle(major), parent, options})
		parent = firstClass(handle(major))
	}
	if hasNetem(i) {
		add(netem, netemMajor+spread(i), netemOptions(i, delayed(i)))
	}
	if i.Rate > 0 {
		add(tbf, rateMajor, rateOptions(i, mtu))
		if i.AQM != topology.AQMFIFO {
			add(i.AQM, queueMajor, queueOptions(i.AQM, packets(i, mtu), mtu))
		}
	}
	return qs, nil
}

// hasNetem says whether anything but a rate is asked for.
func hasNetem(i topology.Impair) bool {
	return i.Delay > 0 || i.Loss > 0 || i.Duplicate > 0 || i.Corrupt > 0
}

// spread is the place of the delay's distribution among the spreads; the first without.
func spread(i topology.Impair) uint16 {
	return uint16(max(0, slices.Index(spreads, i.Distribution)))
}

// check finds what the kernel cannot do, and would take for something else.
func check(i topology.Impair, mtu int) error {
	frame := int64(mtu + topology.EthernetHeader)
	switch {
	case mtu <= 0:
		return fmt.Errorf("an MTU of %d", mtu)
	case i.Delay < 0 || i.Jitter < 0 || i.Jitter > math.MaxInt32:
		return fmt.Errorf("a delay of %s with a jitter of %s: expected a jitter up to %s", i.Delay, i.Jitter, time.Duration(math.MaxInt32))
	case i.Jitter > 0 && !slices.Contains(spreads, i.Distribution):
		return fmt.Errorf("a delay spreads as %q: expected one of %q", i.Distribution, spreads)
	case i.Delay == 0 && (i.Jitter > 0 || i.Reorder > 0):
		return errors.New("a jitter or reordering without a delay")
	case i.Burst != 0 && !(i.Burst >= 1 && i.Loss > 0 && i.Loss < 1 && chance(toBad(i.Loss, i.Burst)) > 0 && toBad(i.Loss, i.Burst) <= 1):
		return fmt.Errorf("a loss of %g in bursts of %g frames: so much does not come in such bursts", i.Loss, i.Burst)
	}
	for _, share := range []float64{i.Loss, i.Duplicate, i.Reorder, i.Corrupt} {
		if !(share >= 0 && share <= 1) || (share > 0 && chance(share) == 0) {
			return fmt.Errorf("a share of %g of the frames: expected none, or one in 4294967295 to all", share)
		}
	}
	if i.Rate == 0 {
		return nil
	}
	switch {
	case i.Rate < 8:
		return fmt.Errorf("a rate of %d bit/s: expected 8 or more", i.Rate)
	case i.Queue < frame || i.Queue > math.MaxUint32:
		return fmt.Errorf("a queue of %d bytes: expected %d, which is one frame of the longest, to %d", i.Queue, frame, uint32(math.MaxUint32))
	case !slices.Contains([]string{topology.AQMFIFO, topology.AQMFqCoDel, topology.AQMPIE}, i.AQM):
		return fmt.Errorf("a queue kept by %q: expected %s, %s or %s", i.AQM, topology.AQMFIFO, topology.AQMFqCoDel, topology.AQMPIE)
	}
	return nil
}

// delayed is how many frames may wait in netem, such that a delay loses none at line
// rate. Older kernels count there what waits for the rate after it, too.
func delayed(i topology.Impair) uint32 {
	longest := i.Delay + widest*i.Jitter
	frames := math.Ceil(longest.Seconds()*lineRate) + spare + float64(i.Queue/leastFrame)
	return uint32(min(frames, math.MaxUint32))
}

// packets is the queue in frames, as fq_codel and pie count it.
func packets(i topology.Impair, mtu int) uint32 {
	return uint32(max(2, i.Queue/int64(mtu+topology.EthernetHeader)))
}

// memory is what fq_codel may take for so many frames, with what the kernel has
// beside each: its own limit would drop those of a long queue before.
func memory(packets uint32, mtu int) uint32 {
	each := 2*uint64(mtu+topology.EthernetHeader) + 1024
	return uint32(min(max(32<<20, uint64(packets)*each), math.MaxUint32))
}

// bytesPerSecond is the rate as the kernel counts it.
func bytesPerSecond(rate int64) uint64 { return uint64(rate+4) / 8 }

// bucket is how many bytes may leave at once: two frames at least, for tbf drops the
// frames that are longer than it holds.
func bucket(i topology.Impair, mtu int) uint32 {
	bytes := float64(bytesPerSecond(i.Rate)) * burstTime.Seconds()
	return uint32(min(max(bytes, 2*float64(mtu+topology.EthernetHeader)), math.MaxUint32))
}

// A burst of losses begins with one chance and ends with another. These are the chances
// of Gilbert's model, in whose bad state every frame is lost.
func toBad(loss, burst float64) float64 { return loss / (1 - loss) / burst }
func toGood(burst float64) float64      { return 1 / burst }
