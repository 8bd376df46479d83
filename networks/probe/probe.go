// Package probe measures what a direction of the network under test does to frames,
// and says whether that is what was set.
//
// Marked frames go in at one link of the host and are looked for at another:
//
//	warm up   until the first one comes: tables are learned, the delay is known roughly
//	count     small frames, far below the rate: delay, jitter, loss, duplicates, order, damage
//	flood     the longest frames, faster than the rate: what comes through is the rate
//	judge     what was measured against what was set: ok, off, or inconclusive
//
// Both links are the host's, so that one clock times both ends.
package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/mami-project/labctl/topology"
)

// Path is where frames go in and where they come out, as the host sees them.
type Path struct {
	In, Out string // links of the host
	// Head makes the headers of a frame with so many bytes of payload; checksums
	// over the payload are those of zeros.
	Head func(payload int) []byte
	// Own says that the direction is In's own queueing discipline, so that frames
	// which go past it show what the host itself adds.
	Own bool
	// Floor is what frames take where nothing is set, if that was measured before. A busy node takes longer then:
	// no delay is off for being less than what was set by no more than this.
	Floor time.Duration
}

// Measure sends marked frames through a direction of which is known what was set, and
// tells what came of them. mtu is that of the network under test.
func Measure(ctx context.Context, p Path, set topology.Impair, mtu int) (Measured, error) {
	m, err := measure(ctx, p, set, mtu)
	if err != nil {
		return Measured{}, fmt.Errorf("probe %s to %s: %w", p.In, p.Out, err)
	}
	return m, nil
}

func measure(ctx context.Context, p Path, set topology.Impair, mtu int) (Measured, error) {
	start := time.Now()
	l, err := open(p, mtu)
	if err != nil {
		return Measured{}, err
	}
	defer l.close()
	size := max(least, l.offset+payloadLeast)
	warm, err := l.run(ctx, warming(set, size))
	if err != nil {
		return Measured{}, err
	}
	latest := max(set.Delay, warm.soonest()) + reach(set)
	counted, err := l.run(ctx, counting(set, size, p.Own, latest))
	if err != nil {
		return Measured{}, err
	}
	m := count(counted, set, p.Floor)
	if set.Rate > 0 {
		flooded, err := l.run(ctx, flooding(set, size, mtu+topology.EthernetHeader, latest))
		if err != nil {
			return Measured{}, err
		}
		rate := rateOf(flooded, counted.median())
		m.Rate = &rate
	}
	end := time.Now()
	m.doubt(end.Round(0).Sub(start.Round(0)) - end.Sub(start))
	m.Seconds = end.Sub(start).Seconds()
	return m, nil
}

// steps is how far the host's clocks drift apart in a measurement at most; more is a
// clock that was set.
const steps = 100 * time.Microsecond

// doubt takes back what was measured by a clock that was set meanwhile.
func (m *Measured) doubt(by time.Duration) {
	if by.Abs() <= steps {
		return
	}
	why := fmt.Sprintf("the host's clock was set by %v meanwhile", by)
	m.Delay.Doubt, m.Jitter.Doubt, m.Undelayed.Doubt = why, why, why
	if m.Rate != nil {
		m.Rate.Doubt = why
	}
}
