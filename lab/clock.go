package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beevik/ntp"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
)

// How a clock is read: so many times, so far apart, and how long one answer may take.
// The first few of them that fail in a row are enough to know that nothing answers.
const (
	clockReadings = 8
	readingPause  = 25 * time.Millisecond
	readingTime   = 500 * time.Millisecond
	failuresMost  = 3
)

// driftMost is how fast a clock that is kept may move against the host's: what
// chronyd slews at the most and what the oscillator is wrong by, 1000 ppm each.
const driftMost = 2e-3

// reading is what one question to a clock tells: how far it is ahead of the host's.
type reading struct {
	at          time.Time // by the host's clock
	least, most time.Duration
}

func (r reading) width() time.Duration { return r.most - r.least }

// newReading is of a clock that was asked and has answered at instants of the host's
// clock, and of its own received and sent, which lie between these.
func newReading(asked, received, sent, answered time.Time) (reading, error) {
	r := reading{at: answered, least: sent.Sub(answered), most: received.Sub(asked)}
	if r.width() < 0 {
		return r, errors.New("it says that it answered before it was asked")
	}
	return r, nil
}

// narrow is what all the readings together tell, at the instant of the best of them.
// None of them is an error, and so is a clock that was set meanwhile.
func narrow(rs []reading) (reading, error) {
	if len(rs) == 0 {
		return reading{}, errors.New("it was not read")
	}
	best := slices.MinFunc(rs, func(a, b reading) int { return cmp.Compare(a.width(), b.width()) })
	all := best
	for _, r := range rs {
		drift := time.Duration(driftMost * float64(r.at.Sub(best.at).Abs()))
		all.least, all.most = max(all.least, r.least-drift), min(all.most, r.most+drift)
	}
	if all.width() < 0 {
		return reading{}, fmt.Errorf("its clock moved by %v or more while it was read", -all.width())
	}
	return all, nil
}

// readOften reads a clock until enough readings are there, the time is over, or nothing answers.
func readOften(ctx context.Context, read func() (reading, error)) ([]reading, error) {
	var rs []reading
	var last error
	for i := range clockReadings {
		if i > 0 {
			select {
			case <-ctx.Done():
				return rs, cmp.Or(last, ctx.Err())
			case <-time.After(readingPause):
			}
		}
		r, err := read()
		if err == nil {
			rs = append(rs, r)
			continue
		}
		last = err
		if i+1 == failuresMost && len(rs) == 0 {
			break
		}
	}
	return rs, last
}

// readNTP reads the clock of who answers NTP there, and returns its last answer.
func readNTP(ctx context.Context, at string) (rs []reading, last *ntp.Response, err error) {
	rs, err = readOften(ctx, func() (reading, error) {
		answer, err := ntp.QueryWithOptions(at, ntp.QueryOptions{Timeout: readingTime, Extensions: []ntp.Extension{sane{}}})
		if err != nil {
			return reading{}, err
		}
		t := answer.Timestamps
		r, err := newReading(t.ClientXmit, t.ServerRecv, t.ServerXmit, t.ClientRecv)
		if err == nil {
			last = answer
			precision := max(0, min(answer.Precision, time.Second))
			r.least, r.most = r.least-precision, r.most+precision
		}
		return r, err
	})
	return rs, last, err
}

// sane refuses answers that the library cannot read.
type sane struct{}

func (sane) ProcessQuery(*bytes.Buffer) error { return nil }

// The bytes of an answer that are exponents of two. Source: RFC 5905 section 7.3.
const pollByte, precisionByte = 2, 3

func (sane) ProcessResponse(answer []byte) error {
	if len(answer) <= precisionByte || int8(answer[pollByte]) == -128 || int8(answer[precisionByte]) == -128 {
		return errors.New("its answer makes no sense")
	}
	return nil
}

// readAgent reads a node's clock by its guest agent.
func readAgent(ctx context.Context, a domains.Agent) ([]reading, error) {
	rs, err := readOften(ctx, func() (reading, error) {
		asked := time.Now()
		said, err := a.Time(ctx)
		if err != nil {
			return reading{}, err
		}
		return newReading(asked, said, said, time.Now())
	})
	if err != nil {
		err = errors.New(host.Excerpt([]byte(err.Error())))
	}
	return rs, err
}
