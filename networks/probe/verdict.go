package probe

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mami-project/labctl/topology"
)

// Verdict compares what a direction does with what was set.
type Verdict struct {
	Direction string  `json:"direction"`
	Values    []Value `json:"values"`
}

// Value is one number that was set, and what was measured of it.
type Value struct {
	Name      string  `json:"name"` // with its unit: rate_mbit_per_s, delay_ms, loss_percent
	Set       float64 `json:"set"`
	Measured  float64 `json:"measured"`
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
	Tolerance float64 `json:"tolerance"` // beyond low and high
	Result    string  `json:"result"`
	Why       string  `json:"why,omitempty"` // where it is not ok
}

// What a Value's Result is.
const (
	OK           = "ok"
	Off          = "off"          // what was set is not what the direction does
	Inconclusive = "inconclusive" // it may be, or not
)

// Result is the worst of the values': off before inconclusive before ok.
func (v Verdict) Result() string {
	worst := OK
	for _, value := range v.Values {
		if value.Result == Off {
			return Off
		}
		if value.Result == Inconclusive {
			worst = Inconclusive
		}
	}
	return worst
}

// How far the measured interval may be from what was set. They cover what is known to
// differ, and not more.
const (
	rateTolerance   = 0.03 // of the rate: a bucket that was filled in a pause, timers that fire late
	delayTolerance  = 1.0  // ms: the kernel's timers and a wakeup on the way
	delayShare      = 0.02 // of the delay: netem counts in ticks, and a router adds its own
	jitterTolerance = 0.25 // ms: what a host's or a router's own jitter is
	jitterShare     = 0.10 // of the jitter: the tables that netem draws from are coarse, and cut at zero
	burstShare      = 0.10 // of the mean run: as netem rounds transition probabilities
	shareTolerance  = 0.01 // percent: one frame in ten thousand is a busy host's
	widestShare     = 2.0  // of what was set: a wider interval holds everything
	widestPercent   = 0.5  // and of what is none
	leastUndelayed  = 2.0  // ms of delay, below which a frame that was let by looks like another
)

// Judge compares what was measured of a direction, such as "client->server", with what
// was set.
func Judge(direction string, set topology.Impair, m Measured) Verdict {
	v := Verdict{Direction: direction}
	add := func(name string, e Estimate, c claim) { v.Values = append(v.Values, c.judge(name, e)) }

	if set.Rate > 0 && m.Rate != nil {
		rate := float64(set.Rate) / 1e6
		// Whether frames are lost or doubled before or after they wait is not known.
		c := claim{set: rate, least: rate * (1 - set.Loss), most: rate * (1 + set.Duplicate), tolerance: rate * rateTolerance}
		c.widest = 2 * c.tolerance
		e := *m.Rate
		if e.Low-c.tolerance > c.most {
			e.Doubt = "" // whatever the host did, more came than the rate lets by
		}
		add("rate_mbit_per_s", e, c)
	}

	delay := ms(set.Delay)
	// A small frame that finds a bucket full is not held by the rate; netem's holds it.
	c := exactly(delay, delayTolerance+delayShare*delay)
	c.most += ms(serialised(set, least))
	c.widest = 2*c.tolerance + ms(set.Jitter)
	add("delay_ms", m.Delay, c)

	// Where none was set, what there is may be the host's or a router's own; it is not where that was measured.
	if jitter := ms(set.Jitter); jitter > 0 || m.Held != nil {
		c = exactly(jitter, jitterTolerance+jitterShare*jitter)
		c.widest = 2*c.tolerance + jitter/2
		add("jitter_ms", m.Jitter, c)
	}

	// netem lets a frame by once that is both lost and doubled, and may lose either of two.
	l, d := set.Loss, set.Duplicate
	add("loss_percent", m.Loss, share(l, l*(1-d), l))
	if l > 0 && l < 1 {
		burst := max(set.Burst, 1/(1-l)) // by chance alone, a loss follows another
		c = exactly(burst, burstShare*burst)
		c.widest = burst
		add("loss_burst_frames", m.Burst, c)
	}
	counts := func(e Estimate) Estimate { // they count frames as the loss does
		if e.Doubt == "" && m.Loss.Doubt != "" {
			e.Doubt = m.Loss.Doubt
		}
		return e
	}
	add("duplicate_percent", counts(m.Duplicate), share(d, d*(1-l)*(1-l), d))
	switch e := counts(m.Undelayed); {
	case set.Reorder > 0:
		if delay < leastUndelayed && e.Doubt == "" {
			e.Doubt = "the delay is too short to tell which frames were not delayed"
		}
		add("reorder_percent", e, share(set.Reorder, set.Reorder, set.Reorder))
	case set.Jitter == 0: // with one, frames overtake each other
		add("reorder_percent", counts(m.Overtaken), share(0, 0, 0))
	}
	add("corrupt_percent", m.Corrupt, share(set.Corrupt, set.Corrupt, set.Corrupt))
	return v
}

// claim is what was set, and what may be measured where it is so.
type claim struct {
	set         float64
	least, most float64
	tolerance   float64
	widest      float64 // that an interval may be to say something
}

func exactly(set, tolerance float64) claim {
	return claim{set: set, least: set, most: set, tolerance: tolerance, widest: math.Inf(1)}
}

// share is a claim in percent, of a share of 1.
func share(set, least, most float64) claim {
	return claim{100 * set, 100 * least, 100 * most, shareTolerance, max(widestShare*100*set, widestPercent)}
}

func (c claim) judge(name string, e Estimate) Value {
	v := Value{Name: name, Set: c.set, Measured: e.Value, Low: e.Low, High: e.High, Tolerance: c.tolerance, Result: OK}
	switch {
	case e.Doubt != "":
		v.Result, v.Why = Inconclusive, e.Doubt
	case e.Low-c.tolerance > c.most || e.High+c.tolerance < c.least:
		v.Result = Off
		v.Why = fmt.Sprintf("measured %s to %s, %s was set", digits(e.Low), digits(e.High), digits(c.set))
	case e.High-e.Low > c.widest:
		v.Result = Inconclusive
		v.Why = fmt.Sprintf("measured %s to %s, which is too wide to tell", digits(e.Low), digits(e.High))
	}
	return v
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// String is the verdict as people read it, on one line:
//
//	client->server: rate 49.7 of 50 mbit/s, delay 92.3 of 92 ms, loss 0.02 % [0.01–0.05] of 0.025 %
func (v Verdict) String() string {
	var parts []string
	for _, value := range v.Values {
		if s := value.String(); s != "" {
			parts = append(parts, s)
		}
	}
	return v.Direction + ": " + strings.Join(parts, ", ")
}

// String is the value as people read it; "" for what was not set and is not there.
func (v Value) String() string {
	name, unit, _ := strings.Cut(v.Name, "_")
	name, unit = strings.ReplaceAll(name, "_", " "), map[string]string{
		"mbit_per_s": "mbit/s", "ms": "ms", "percent": "%", "burst_frames": "frames",
	}[unit]
	if v.Name == "loss_burst_frames" {
		name = "bursts"
	}
	always := name == "delay" || name == "loss"
	if v.Set == 0 && v.Result != Off && !always {
		return ""
	}
	s := name + " " + digits(v.Measured)
	if unit == "%" {
		s += fmt.Sprintf(" %% [%.2f–%.2f] of %s %%", v.Low, v.High, digits(v.Set))
	} else {
		s += " of " + digits(v.Set) + " " + unit
	}
	switch v.Result {
	case Off:
		s += " (off)"
	case Inconclusive:
		s += " (inconclusive: " + v.Why + ")"
	}
	return s
}

// digits is a number with as many digits as a measurement has.
func digits(f float64) string {
	if math.Abs(f) >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'g', 3, 64), 64)
	return strconv.FormatFloat(math.Round(f*1e3)/1e3+0, 'f', -1, 64) // and no -0
}
