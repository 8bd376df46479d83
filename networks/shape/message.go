package shape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// What the kernel's pkt_sched.h has and netlink's nl has not.
const (
	netemLatency64 = 10
	netemJitter64  = 11
	netemSlot      = 12
	lossStates     = 1 // NETEM_LOSS_GI
	lossBursts     = 2 // NETEM_LOSS_GE
	pieLimit       = 2
	typeMask       = 0x3fff               // without what says how it is written
	tick           = 64 * time.Nanosecond // PSCHED_SHIFT
)

// qdisc is a queueing discipline as the kernel is told it, or tells it.
type qdisc struct {
	kind           string
	handle, parent uint32
	options        []byte
}

// place is where Set puts a queueing discipline: 0 for netem, 1 for tbf, 2 for what
// keeps the queue; -1 for one that it does not make.
func (q qdisc) place() int {
	switch major, minor := netlink.MajorMinor(q.handle); {
	case minor != 0:
	case q.kind == netem && major >= netemMajor && int(major) < netemMajor+len(spreads):
		return 0
	case q.kind == tbf && major == rateMajor:
		return 1
	case (q.kind == topology.AQMFqCoDel || q.kind == topology.AQMPIE) && major == queueMajor:
		return 2
	}
	return -1
}

// request is a message about it.
func (q qdisc) request(command, flags, index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(command, flags|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: q.handle, Parent: q.parent})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(q.kind)))
	if q.options != nil {
		req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, q.options))
	}
	return req
}

// payload is what is in attributes.
func payload(head []byte, attrs ...*nl.RtAttr) []byte {
	all := slices.Clone(head)
	for _, a := range attrs {
		all = append(all, a.Serialize()...) // padded
	}
	return all
}

func netemOptions(i topology.Impair, limit uint32) []byte {
	q := nl.TcNetemQopt{
		Latency:   ticks(i.Delay),
		Jitter:    ticks(i.Jitter),
		Limit:     limit,
		Duplicate: chance(i.Duplicate),
	}
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(netemLatency64, nl.Uint64Attr(uint64(i.Delay))),
		nl.NewRtAttr(netemJitter64, nl.Uint64Attr(uint64(i.Jitter))),
	}
	if i.Reorder > 0 {
		q.Gap = 1 // each frame may overtake
		attrs = append(attrs, nl.NewRtAttr(nl.TCA_NETEM_REORDER, (&nl.TcNetemReorder{Probability: chance(i.Reorder)}).Serialize()))
	}
	if i.Corrupt > 0 {
		attrs = append(attrs, nl.NewRtAttr(nl.TCA_NETEM_CORRUPT, (&nl.TcNetemCorrupt{Probability: chance(i.Corrupt)}).Serialize()))
	}
	if i.Burst > 0 {
		var g []byte // p, r, h, k1: in the bad state all are lost, in the good one none
		for _, c := range []uint32{chance(toBad(i.Loss, i.Burst)), chance(toGood(i.Burst)), 0, 0} {
			g = binary.NativeEndian.AppendUint32(g, c)
		}
		attrs = append(attrs, nl.NewRtAttr(nl.TCA_NETEM_LOSS|unix.NLA_F_NESTED, payload(nil, nl.NewRtAttr(lossBursts, g))))
	} else {
		q.Loss = chance(i.Loss)
	}
	if t := table(i.Distribution); i.Jitter > 0 && t != nil {
		var b []byte
		for _, v := range t {
			b = binary.NativeEndian.AppendUint16(b, uint16(v))
		}
		attrs = append(attrs, nl.NewRtAttr(nl.TCA_NETEM_DELAY_DIST, b))
	}
	return payload(q.Serialize(), attrs...)
}

func rateOptions(i topology.Impair, mtu int) []byte {
	bytes, burst := bytesPerSecond(i.Rate), bucket(i, mtu)
	q := nl.TcTbfQopt{
		Limit:  uint32(i.Queue),
		Buffer: ticks(time.Duration(float64(burst) / float64(bytes) * float64(time.Second))),
	}
	q.Rate.Rate, q.Rate.Linklayer = uint32(min(bytes, math.MaxUint32)), nl.LINKLAYER_ETHERNET
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(nl.TCA_TBF_PARMS, q.Serialize()),
		nl.NewRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(burst)),
	}
	if bytes > math.MaxUint32 {
		attrs = append(attrs, nl.NewRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(bytes)))
	}
	return payload(nil, attrs...)
}

func queueOptions(kind string, packets uint32, mtu int) []byte {
	if kind == topology.AQMPIE {
		return payload(nil, nl.NewRtAttr(pieLimit, nl.Uint32Attr(packets)))
	}
	return payload(nil,
		nl.NewRtAttr(nl.TCA_FQ_CODEL_LIMIT, nl.Uint32Attr(packets)),
		nl.NewRtAttr(nl.TCA_FQ_CODEL_MEMORY_LIMIT, nl.Uint32Attr(memory(packets, mtu))))
}

// ticks is a time as older attributes have it.
func ticks(d time.Duration) uint32 { return uint32(min(d/tick, math.MaxUint32)) }

// chance is a share of the frames as the kernel has it.
func chance(share float64) uint32 { return uint32(math.Round(share * math.MaxUint32)) }

// share is the one with the fewest digits that the kernel has as that chance.
func share(c uint32) float64 {
	return shortest(float64(c)/math.MaxUint32, func(f float64) bool { return f <= 1 && chance(f) == c })
}

// shortest is the number with the fewest digits near f that will do; f where none does.
func shortest(f float64, does func(float64) bool) float64 {
	for digits := range 17 {
		if short, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', digits, 64), 64); err == nil && does(short) {
			return short
		}
	}
	return f
}

// bursts is the loss of Gilbert's model, and its burst.
func bursts(p, r uint32) (loss, burst float64) {
	burst = shortest(math.MaxUint32/float64(r), func(f float64) bool { return f >= 1 && chance(toGood(f)) == r })
	loss = shortest(float64(p)/(float64(p)+float64(r)), func(f float64) bool {
		return f < 1 && toBad(f, burst) <= 1 && chance(toBad(f, burst)) == p
	})
	return loss, burst
}

// decoded is what queueing disciplines do, and how much waits in them.
type decoded struct {
	topology.Impair
	frames, packets uint32
}

// same says whether the kernel has what it would be told.
func same(there, want []qdisc) bool {
	a, err := decode(there)
	b, err2 := decode(want)
	return err == nil && err2 == nil && a == b && len(want) > 0
}

var errShort = errors.New("the kernel's answer is cut short")

// decode is what a link's queueing disciplines do, the root being ours. What Set never
// makes is an error.
func decode(qs []qdisc) (decoded, error) {
	ours, err := chain(qs)
	if err != nil {
		return decoded{}, err
	}
	var d decoded
	for _, q := range ours {
		switch q.kind {
		case netem:
			err = d.netem(q)
		case tbf:
			err = d.tbf(q.options)
		default:
			err = d.queue(q)
		}
		if err != nil {
			return decoded{}, fmt.Errorf("%s: %w", q.kind, err)
		}
	}
	return d, nil
}

// ourRoot is a link's root queueing discipline where Set has made it.
func ourRoot(qs []qdisc) (qdisc, bool) {
	root, found := rootOf(qs)
	return root, found && (root.place() == 0 || root.place() == 1)
}

// chain are the queueing disciplines from a root that is ours on; none without one.
func chain(qs []qdisc) ([]qdisc, error) {
	q, found := ourRoot(qs)
	var all []qdisc
	for found {
		all = append(all, q)
		parent := q
		if q, found = below(qs, parent); found && q.place() != parent.place()+1 {
			return nil, fmt.Errorf("%s %s is below: %w", q.kind, netlink.HandleStr(q.handle), ErrChanged)
		}
	}
	return all, nil
}

// below is the queueing discipline in another.
func below(qs []qdisc, parent qdisc) (qdisc, bool) {
	for _, q := range qs {
		if q.parent == firstClass(parent.handle) && q.kind != "bfifo" { // tbf's own
			return q, true
		}
	}
	return qdisc{}, false
}

// ErrChanged says that a queueing discipline which is ours is not as Set makes any: Set
// puts another in its place.
var ErrChanged = errors.New("it is not as labctl makes it: it was changed by hand")

func (d *decoded) netem(q qdisc) error {
	if len(q.options) < nl.SizeofTcNetemQopt {
		return errShort
	}
	o := nl.DeserializeTcNetemQopt(q.options)
	attrs, err := attributes(q.options[nl.SizeofTcNetemQopt:])
	if err != nil {
		return err
	}
	d.frames = o.Limit
	d.Delay, d.Jitter = time.Duration(o.Latency)*tick, time.Duration(o.Jitter)*tick
	if v, ok := attrs[netemLatency64]; ok {
		d.Delay = time.Duration(number(v))
	}
	if v, ok := attrs[netemJitter64]; ok {
		d.Jitter = time.Duration(number(v))
	}
	if major, _ := netlink.MajorMinor(q.handle); d.Jitter > 0 {
		d.Distribution = spreads[major-netemMajor]
	}
	d.Loss, d.Duplicate = share(o.Loss), share(o.Duplicate)
	d.Reorder = share(uint32(number(first(attrs[nl.TCA_NETEM_REORDER]))))
	d.Corrupt = share(uint32(number(first(attrs[nl.TCA_NETEM_CORRUPT]))))
	if err := d.losses(attrs[nl.TCA_NETEM_LOSS]); err != nil {
		return err
	}
	correlated := attrs[nl.TCA_NETEM_CORR]
	for _, kind := range []uint16{nl.TCA_NETEM_REORDER, nl.TCA_NETEM_CORRUPT} {
		if v := attrs[kind]; len(v) > 4 {
			correlated = slices.Concat(correlated, v[4:])
		}
	}
	for _, v := range [][]byte{correlated, first(attrs[nl.TCA_NETEM_RATE]), attrs[nl.TCA_NETEM_ECN], attrs[netemSlot]} {
		for _, b := range v {
			if b != 0 {
				return ErrChanged
			}
		}
	}
	if (o.Gap == 0) != (d.Reorder == 0) || o.Gap > 1 {
		return ErrChanged
	}
	return nil
}

// losses are those that come in bursts.
func (d *decoded) losses(model []byte) error {
	if len(model) == 0 {
		return nil
	}
	attrs, err := attributes(model)
	if err != nil {
		return err
	}
	g, ok := attrs[lossBursts]
	if _, other := attrs[lossStates]; other || !ok {
		return ErrChanged
	}
	if len(g) < 16 {
		return errShort
	}
	p, r := binary.NativeEndian.Uint32(g), binary.NativeEndian.Uint32(g[4:])
	if p == 0 || r == 0 || number(g[8:16]) != 0 {
		return ErrChanged
	}
	d.Loss, d.Burst = bursts(p, r)
	return nil
}

func (d *decoded) tbf(options []byte) error {
	attrs, err := attributes(options)
	if err != nil {
		return err
	}
	parms := attrs[nl.TCA_TBF_PARMS]
	if len(parms) < nl.SizeofTcTbfQopt {
		return errShort
	}
	o := nl.DeserializeTcTbfQopt(parms)
	bytes := uint64(o.Rate.Rate)
	if v, ok := attrs[nl.TCA_TBF_RATE64]; ok {
		bytes = number(v)
	}
	if o.Peakrate.Rate != 0 || o.Rate.Overhead != 0 || bytes == 0 || bytes > math.MaxInt64/8 {
		return ErrChanged
	}
	d.Rate, d.Queue, d.AQM = int64(bytes)*8, int64(o.Limit), topology.AQMFIFO
	return nil
}

func (d *decoded) queue(q qdisc) error {
	attrs, err := attributes(q.options)
	if err != nil {
		return err
	}
	limit := attrs[nl.TCA_FQ_CODEL_LIMIT]
	if q.kind == topology.AQMPIE {
		limit = attrs[pieLimit]
	}
	d.AQM, d.packets = q.kind, uint32(number(limit))
	return nil
}

// attributes are those of a message by their kinds.
func attributes(b []byte) (map[uint16][]byte, error) {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errShort, err)
	}
	all := make(map[uint16][]byte, len(list))
	for _, a := range list {
		all[a.Attr.Type&typeMask] = a.Value
	}
	return all, nil
}

// first are the first 4 bytes, of which a structure may have more.
func first(b []byte) []byte { return b[:min(4, len(b))] }

// number is one of 4 or 8 bytes; 0 where there is none.
func number(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}
