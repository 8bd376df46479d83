package topology

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Impair is what one direction of the network under test does to its frames; the zero
// Impair passes them as they come. Shares are from 0 to 1.
type Impair struct {
	Rate         int64 // bit/s of Ethernet frames without their check sequences; 0: unlimited
	Delay        time.Duration
	Jitter       time.Duration
	Distribution string  // of the delay, as tc-netem(8) names them; "" without a jitter
	Loss         float64 // share of the frames
	Burst        float64 // frames lost in a row on average; 0: each on its own
	Duplicate    float64
	Reorder      float64 // share that is not delayed
	Corrupt      float64
	Queue        int64  // bytes that wait for the rate; 0 without a rate
	AQM          string // AQMFIFO, AQMFqCoDel or AQMPIE; "" without a rate
}

// How the queue that waits for the rate is kept.
const (
	AQMFIFO    = "fifo"
	AQMFqCoDel = "fq_codel"
	AQMPIE     = "pie"
)

// How a delay spreads.
const (
	SpreadUniform      = "uniform"
	SpreadNormal       = "normal"
	SpreadPareto       = "pareto"
	SpreadParetoNormal = "paretonormal"
)

// leastQueue is how many of the longest frames at least wait for a rate whose queue the
// file leaves open.
const leastQueue = 16

// EthernetHeader is the length of an Ethernet header in bytes.
const EthernetHeader = 14

// IsZero says whether frames pass as they come.
func (i Impair) IsZero() bool { return i == Impair{} }

// String is the impairment in the words of a file: "rate 50mbit, delay 92ms".
func (i Impair) String() string {
	if i.IsZero() {
		return "none"
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if i.Rate > 0 {
		add("rate %s", showRate(i.Rate))
	}
	if i.Delay > 0 {
		add("delay %s", i.Delay)
	}
	if i.Jitter > 0 {
		add("jitter %s (%s)", i.Jitter, i.Distribution)
	}
	if i.Loss > 0 {
		add("loss %s", showShare(i.Loss))
	}
	if i.Burst > 0 {
		add("in bursts of %s", strconv.FormatFloat(i.Burst, 'f', -1, 64))
	}
	for _, s := range []struct {
		name  string
		share float64
	}{{"duplicate", i.Duplicate}, {"reorder", i.Reorder}, {"corrupt", i.Corrupt}} {
		if s.share > 0 {
			add("%s %s", s.name, showShare(s.share))
		}
	}
	if i.Rate > 0 {
		add("queue %s %s", showQueue(i.Queue), i.AQM)
	}
	return strings.Join(parts, ", ")
}

// Impairments reads what a network's directions are to do to frames of that MTU, by
// direction. The error is the first mistake; Load reports them all, with their lines.
func Impairments(sides [2]string, mtu int, by map[string]Impairment) (map[string]Impair, error) {
	all := make(map[string]Impair, len(by))
	for name, spec := range by {
		if _, err := reverse(sides, name); err != nil {
			return nil, err
		}
		i, wrong := spec.parse(mtu)
		if len(wrong) > 0 {
			return nil, fmt.Errorf("%s: %s is %s: %s", name, wrong[0].key, show(wrong[0].value), wrong[0].why)
		}
		all[name] = i
	}
	for name, i := range all {
		back, _ := reverse(sides, name)
		all[name] = i.queued(mtu, all[back].Delay)
	}
	return all, nil
}

// Decide reads what one direction is to do to frames of that MTU, where the other one
// delays its frames by back. The error is the first mistake.
func (s Impairment) Decide(mtu int, back time.Duration) (Impair, error) {
	i, wrong := s.parse(mtu)
	if len(wrong) > 0 {
		return Impair{}, fmt.Errorf("%s is %s: %s", wrong[0].key, show(wrong[0].value), wrong[0].why)
	}
	return i.queued(mtu, back), nil
}

// queued has what the rate carries in the delay of both directions wait for it, unless
// something else was asked for.
func (i Impair) queued(mtu int, back time.Duration) Impair {
	if i.Rate > 0 && i.Queue == 0 {
		bytes := float64(i.Rate) / 8 * (i.Delay + back).Seconds()
		i.Queue = int64(min(max(math.Ceil(bytes), float64(leastQueue*(mtu+EthernetHeader))), mostQueue))
	}
	return i
}

// reverse is the other direction than the one named.
func reverse(sides [2]string, name string) (string, error) {
	there, back := Direction{From: sides[0], To: sides[1]}.String(), Direction{From: sides[1], To: sides[0]}.String()
	switch name {
	case there:
		return back, nil
	case back:
		return there, nil
	}
	return "", fmt.Errorf("%s is no direction of it: expected %s or %s", show(name), there, back)
}

// impairments are those of the network's directions.
func (n *draftNetwork) impairments() map[string]Impair {
	if len(n.Impair) == 0 {
		return nil
	}
	all, err := Impairments([2]string(n.Sides), n.mtu(), n.Impair)
	if err != nil {
		return nil // Load has reported it
	}
	return all
}

// mistake is a value of an Impairment that cannot be.
type mistake struct{ key, value, why string }

// The most that an impairment can be: netem's and tbf's numbers have their limits, and
// beyond these a mistyped unit is likelier than a wish.
const (
	mostRate   = 400e9 // bit/s
	leastRate  = 8e3
	mostDelay  = 60 * time.Second
	mostJitter = 2 * time.Second // netem takes 2³¹ ns for more
	mostQueue  = 1 << 30
)

// parse reads the impairment, with the profile's values where it has none of its own;
// mtu is that of the network.
func (s Impairment) parse(mtu int) (Impair, []mistake) {
	var wrong []mistake
	add := func(key, value, why string) { wrong = append(wrong, mistake{key, value, why}) }
	if s.Profile != "" {
		p, ok := profile(s.Profile)
		if !ok {
			add("profile", s.Profile, meant(s.Profile, "profiles", profileNames()))
			return Impair{}, wrong
		}
		s = s.over(p.Impair)
	}
	var i Impair
	var err error
	if s.Rate != "" {
		if i.Rate, err = parseRate(s.Rate); err != nil {
			add("rate", s.Rate, err.Error())
		}
	}
	for _, d := range []struct {
		key, text string
		to        *time.Duration
	}{{"delay", s.Delay, &i.Delay}, {"jitter", s.Jitter, &i.Jitter}} {
		if d.text == "" {
			continue
		}
		if *d.to, err = parseDelay(d.text); err != nil {
			add(d.key, d.text, err.Error())
		}
	}
	for _, p := range []struct {
		key, text string
		to        *float64
	}{{"loss", s.Loss, &i.Loss}, {"duplicate", s.Duplicate, &i.Duplicate}, {"reorder", s.Reorder, &i.Reorder}, {"corrupt", s.Corrupt, &i.Corrupt}} {
		if p.text == "" {
			continue
		}
		if *p.to, err = parseShare(p.text); err != nil {
			add(p.key, p.text, err.Error())
		}
	}
	if s.Burst != "" {
		i.Burst, err = strconv.ParseFloat(s.Burst, 64)
		switch most := 1.0e6; {
		case err != nil || !(i.Burst >= 1 && i.Burst <= most):
			add("loss-burst", s.Burst, "expected frames in a row, 1 or more, such as 5")
		case s.Loss == "" || i.Loss == 0:
			add("loss-burst", s.Burst, "without loss: there are no bursts of it")
		case i.Loss == 1:
			add("loss-burst", s.Burst, "all frames are lost: there are no bursts of it")
		case i.Loss/(1-i.Loss)/i.Burst > 1:
			add("loss-burst", s.Burst, fmt.Sprintf("so much loss comes in bursts of %.3g at least", i.Loss/(1-i.Loss)))
		}
	}
	if s.Queue != "" {
		if i.Queue, err = parseQueue(s.Queue); err != nil {
			add("queue", s.Queue, err.Error())
		} else if longest := int64(mtu + EthernetHeader); i.Queue < longest {
			add("queue", s.Queue, fmt.Sprintf("no frame of %d bytes, the longest, has room there", longest))
		}
	}
	wrong = append(wrong, s.together(&i)...)
	return i, wrong
}

// together settles what depends on another value.
func (s Impairment) together(i *Impair) []mistake {
	var wrong []mistake
	add := func(key, value, why string) { wrong = append(wrong, mistake{key, value, why}) }
	switch s.Distribution {
	case "", SpreadUniform, SpreadNormal, SpreadPareto, SpreadParetoNormal:
	default:
		add("distribution", s.Distribution, meant(s.Distribution, "distributions", []string{SpreadUniform, SpreadNormal, SpreadPareto, SpreadParetoNormal}))
	}
	switch s.AQM {
	case "", AQMFIFO, AQMFqCoDel, AQMPIE:
	default:
		add("aqm", s.AQM, meant(s.AQM, "queue managements", []string{AQMFIFO, AQMFqCoDel, AQMPIE}))
	}
	if s.Jitter != "" {
		i.Distribution = s.Distribution
		if i.Distribution == "" {
			i.Distribution = SpreadNormal
		}
		if i.Jitter > i.Delay {
			add("jitter", s.Jitter, "more than the delay, and no frame comes before it was sent: raise delay: or lower it")
		}
		if i.Jitter > mostJitter {
			add("jitter", s.Jitter, fmt.Sprintf("expected a time up to %gs", mostJitter.Seconds()))
		}
	} else if s.Distribution != "" {
		add("distribution", s.Distribution, "without a jitter: nothing is distributed")
	}
	if s.Reorder != "" && s.Delay == "" {
		add("reorder", s.Reorder, "without a delay: a frame overtakes others that are held")
	}
	if s.Rate == "" {
		if s.Queue != "" {
			add("queue", s.Queue, "without a rate: nothing waits")
		}
		if s.AQM != "" {
			add("aqm", s.AQM, "without a rate: no queue is kept")
		}
		return wrong
	}
	if i.AQM = s.AQM; i.AQM == "" {
		i.AQM = AQMFIFO
	}
	return wrong
}

// over is the impairment with another's values where it has none.
func (s Impairment) over(below Impairment) Impairment {
	for _, v := range []struct {
		own   *string
		below string
	}{
		{&s.Rate, below.Rate},
		{&s.Delay, below.Delay},
		{&s.Jitter, below.Jitter},
		{&s.Distribution, below.Distribution},
		{&s.Loss, below.Loss},
		{&s.Burst, below.Burst},
		{&s.Duplicate, below.Duplicate},
		{&s.Reorder, below.Reorder},
		{&s.Corrupt, below.Corrupt},
		{&s.Queue, below.Queue},
		{&s.AQM, below.AQM},
	} {
		if *v.own == "" {
			*v.own = v.below
		}
	}
	return s
}
