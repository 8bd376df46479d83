package shape

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/topology"
)

// Show is what a node's tc is asked, the NIC's name after it, for Read.
const Show = "tc -j -s -r qdisc show dev"

// mostText is how much of a node's answer is read.
const mostText = 1 << 18

// shown is a queueing discipline as tc shows it; the counters beside are left out.
type shown struct {
	Kind    string          `json:"kind"`
	Handle  string          `json:"handle"`
	Root    bool            `json:"root"`
	Parent  string          `json:"parent"`
	Options json.RawMessage `json:"options"`
}

// shownNetem are netem's options: times in seconds, shares of 1.
type shownNetem struct {
	Delay struct {
		Delay       float64 `json:"delay"`
		Jitter      float64 `json:"jitter"`
		Correlation float64 `json:"correlation"`
	} `json:"delay"`
	Loss struct {
		Loss        float64 `json:"loss"`
		Correlation float64 `json:"correlation"`
	} `json:"loss-random"`
	Bursts *struct {
		ToBad  float64 `json:"p"`
		ToGood float64 `json:"r"`
		InBad  float64 `json:"1-h"`
		InGood float64 `json:"1-k"`
	} `json:"loss-gemodel"`
	Duplicate struct {
		Duplicate   float64 `json:"duplicate"`
		Correlation float64 `json:"correlation"`
	} `json:"duplicate"`
	Reorder struct {
		Reorder     float64 `json:"reorder"`
		Correlation float64 `json:"correlation"`
	} `json:"reorder"`
	Corrupt struct {
		Corrupt     float64 `json:"corrupt"`
		Correlation float64 `json:"correlation"`
	} `json:"corrupt"`
	Gap    uint32          `json:"gap"`
	ECN    bool            `json:"ecn"`
	States json.RawMessage `json:"loss-state"`
	Rate   json.RawMessage `json:"rate"`
	Slot   json.RawMessage `json:"slot"`
}

// shownTBF are tbf's options: bytes and bytes a second.
type shownTBF struct {
	Rate  uint64 `json:"rate"`
	Burst uint64 `json:"burst"`
	Lat   uint64 `json:"lat"`   // µs that the limit lasts beyond the burst
	Limit uint64 `json:"limit"` // where tc was asked for it, or has no lat
	Peak  uint64 `json:"peakrate"`
}

// Read is what a node's NIC does to what it sends, from what Show makes tc print, as
// Get is: see Alike. The text is a guest's: what is no answer of
// tc's is an error, whatever it holds.
func Read(text []byte) (i topology.Impair, ours bool, err error) {
	if len(text) > mostText {
		return topology.Impair{}, false, fmt.Errorf("tc's answer has %d bytes, more than %d", len(text), mostText)
	}
	var all []shown
	if err := json.Unmarshal(text, &all); err != nil {
		return topology.Impair{}, false, fmt.Errorf("tc's answer: %w", err)
	}
	options := map[uint32]json.RawMessage{}
	var qs []qdisc
	for _, s := range all {
		q, err := s.at()
		if err != nil {
			return topology.Impair{}, false, fmt.Errorf("tc's answer: %w", err)
		}
		if _, twice := options[q.handle]; twice && q.handle != 0 {
			return topology.Impair{}, false, fmt.Errorf("tc's answer has %s twice", netlink.HandleStr(q.handle))
		}
		options[q.handle] = s.Options
		qs = append(qs, q)
	}
	if _, ours := ourRoot(qs); !ours {
		return topology.Impair{}, false, nil
	}
	chained, err := chain(qs)
	for _, q := range chained {
		switch q.kind {
		case netem:
			err = readNetem(&i, q, options[q.handle])
		case tbf:
			err = readTBF(&i, options[q.handle])
		default:
			i.AQM = q.kind
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return topology.Impair{}, true, fmt.Errorf("tc's answer: %w", err)
	}
	return i, true, nil
}

// Alike says whether what Read tells can be what Set or Script was asked for: tc tells
// shares to six digits and times to a µs.
func Alike(read, asked topology.Impair) bool {
	near := func(a, b, least float64) bool { return math.Abs(a-b) <= max(1e-5*math.Abs(b), least) }
	for _, d := range []struct{ read, asked *time.Duration }{{&read.Delay, &asked.Delay}, {&read.Jitter, &asked.Jitter}} {
		if !near(float64(*d.read), float64(*d.asked), float64(time.Microsecond)) {
			return false
		}
		*d.read = *d.asked
	}
	for _, s := range []struct{ read, asked *float64 }{
		{&read.Loss, &asked.Loss}, {&read.Burst, &asked.Burst}, {&read.Duplicate, &asked.Duplicate}, {&read.Reorder, &asked.Reorder}, {&read.Corrupt, &asked.Corrupt},
	} {
		if !near(*s.read, *s.asked, 0) {
			return false
		}
		*s.read = *s.asked
	}
	return read == asked
}

// at is the queueing discipline, without its options.
func (s shown) at() (qdisc, error) {
	q := qdisc{kind: s.Kind, parent: netlink.HANDLE_ROOT}
	var err error
	if q.handle, err = readHandle(s.Handle); err != nil {
		return qdisc{}, err
	}
	if !s.Root {
		q.parent, err = readHandle(s.Parent)
	}
	return q, err
}

// readHandle reads "6c60:1", of which either half may be missing: that is 0.
func readHandle(s string) (uint32, error) {
	var h [2]uint64
	part := 0
	for from, at := 0, 0; at <= len(s); at++ {
		if at < len(s) && s[at] != ':' {
			continue
		}
		if part > 1 {
			return 0, fmt.Errorf("%.20q is no handle", s)
		}
		if at > from {
			var err error
			if h[part], err = strconv.ParseUint(s[from:at], 16, 16); err != nil {
				return 0, fmt.Errorf("%.20q is no handle", s)
			}
		}
		part, from = part+1, at+1
	}
	return netlink.MakeHandle(uint16(h[0]), uint16(h[1])), nil
}

func readNetem(i *topology.Impair, q qdisc, options json.RawMessage) error {
	var o shownNetem
	if err := json.Unmarshal(options, &o); err != nil {
		return err
	}
	for _, c := range []float64{o.Delay.Correlation, o.Loss.Correlation, o.Duplicate.Correlation, o.Reorder.Correlation, o.Corrupt.Correlation} {
		if c != 0 {
			return ErrChanged
		}
	}
	if o.ECN || o.States != nil || o.Rate != nil || o.Slot != nil || o.Gap > 1 || (o.Gap == 0) != (o.Reorder.Reorder == 0) {
		return ErrChanged
	}
	const most = 1 << 20 // seconds
	if !(o.Delay.Delay >= 0 && o.Delay.Delay < most && o.Delay.Jitter >= 0 && o.Delay.Jitter < most) {
		return errors.New("a delay that cannot be")
	}
	for _, s := range []float64{o.Loss.Loss, o.Duplicate.Duplicate, o.Reorder.Reorder, o.Corrupt.Corrupt} {
		if !(s >= 0 && s <= 1) {
			return errors.New("a share of the frames that cannot be")
		}
	}
	i.Delay, i.Jitter = seconds(o.Delay.Delay), seconds(o.Delay.Jitter)
	if major, _ := netlink.MajorMinor(q.handle); i.Jitter > 0 {
		i.Distribution = spreads[major-netemMajor]
	}
	i.Loss, i.Duplicate, i.Reorder, i.Corrupt = o.Loss.Loss, o.Duplicate.Duplicate, o.Reorder.Reorder, o.Corrupt.Corrupt
	if b := o.Bursts; b != nil {
		switch {
		case !(b.ToBad > 0 && b.ToBad <= 1 && b.ToGood > 0 && b.ToGood <= 1):
			return errors.New("bursts of losses that cannot be")
		case b.InBad != 1 || b.InGood != 0:
			return ErrChanged
		}
		i.Burst = shortest(1/b.ToGood, func(f float64) bool { return f >= 1 && asShown(toGood(f)) == asShown(b.ToGood) })
		i.Loss = shortest(b.ToBad/(b.ToBad+b.ToGood), func(f float64) bool { return f < 1 && asShown(toBad(f, i.Burst)) == asShown(b.ToBad) })
	}
	return nil
}

func readTBF(i *topology.Impair, options json.RawMessage) error {
	var o shownTBF
	if err := json.Unmarshal(options, &o); err != nil {
		return err
	}
	if o.Limit == 0 {
		o.Limit = uint64(math.Round(float64(o.Rate)*float64(o.Lat)/1e6)) + o.Burst
	}
	switch {
	case o.Peak != 0:
		return ErrChanged
	case o.Rate == 0 || o.Rate > math.MaxInt64/8 || o.Limit == 0 || o.Limit > math.MaxUint32:
		return errors.New("a rate or a queue that cannot be")
	}
	i.Rate, i.Queue, i.AQM = int64(o.Rate)*8, int64(o.Limit), topology.AQMFIFO
	return nil
}

// seconds are rounded to what six digits can say of it.
func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// asShown is a number as tc writes it.
func asShown(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }
