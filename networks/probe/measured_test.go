package probe

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mami-project/labctl/topology"
)

// model is a direction that is computed instead of measured.
type model struct {
	plan
	delay  func() time.Duration
	host   time.Duration
	lose   func(n int) bool
	double func(n int) bool
	damage func(n int) bool
	let    func(n int) bool // by, without the delay
}

func never(int) bool { return false }

func modelOf(delay time.Duration) model {
	return model{
		plan:  plan{size: least, frames: 10000, batch: 20, every: time.Millisecond, bypass: 5},
		delay: func() time.Duration { return delay }, lose: never, double: never, damage: never, let: never,
	}
}

// stream is what the model makes of its frames; only those that are counted are asked about, by their number.
func (m model) stream() stream {
	s := stream{plan: m.plan, offset: topology.EthernetHeader, blank: make([]byte, m.size), mark: 77, first: 1000}
	came := func(n int, after time.Duration) {
		f := slices.Clone(s.blank)
		number(f, s.offset, s.mark, s.first+uint32(len(s.sent)-1))
		f[0] ^= 0x41 // as by a router
		if m.damage(n) {
			f[0] ^= 0x40
		}
		s.came = append(s.came, arrival{number: len(s.sent) - 1, at: s.sent[len(s.sent)-1].at + (m.host + after).Nanoseconds(), frame: f})
	}
	for n := range m.frames {
		at := int64(n/m.batch)*m.every.Nanoseconds() + int64(n%m.batch)
		if n%m.batch == 0 && n/m.batch%m.bypass == 0 {
			s.sent = append(s.sent, sent{at: at - 1, past: true})
			came(-1, 0)
		}
		s.sent = append(s.sent, sent{at: at, leads: n%m.batch == 0})
		if m.lose(n) {
			continue
		}
		after := m.delay()
		if m.let(n) {
			after = 0
		}
		came(n, after)
		if m.double(n) {
			came(n, after)
		}
	}
	slices.SortStableFunc(s.came, func(a, b arrival) int { return int(a.at - b.at) })
	return s
}

// What a model does to its frames is what is counted.
func TestCountRecovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := modelOf(20 * time.Millisecond)
		m.frames, m.host = 2000, 50*time.Microsecond
		draw := func(name string) (map[int]bool, func(int) bool) {
			set := map[int]bool{}
			for _, n := range rapid.SliceOfN(rapid.IntRange(0, m.frames-1), 0, 40).Draw(t, name) {
				set[n] = true
			}
			return set, func(n int) bool { return set[n] }
		}
		var lost, double, damage, let map[int]bool
		lost, m.lose = draw("lost")
		double, m.double = draw("double")
		damage, m.damage = draw("damage")
		let, m.let = draw("let")
		got := count(m.stream(), topology.Impair{Delay: 20 * time.Millisecond, Reorder: 0.01}, 0)

		of := func(set map[int]bool, twice map[int]bool) (n int) {
			for i := range set {
				if lost[i] {
					continue
				}
				n++
				if twice[i] {
					n++
				}
			}
			return n
		}
		left := m.frames - len(lost)
		for what, c := range map[string][2]float64{
			"loss":      {got.Loss.Value, share100(len(lost), m.frames)},
			"duplicate": {got.Duplicate.Value, share100(of(double, nil), m.frames)},
			"undelayed": {got.Undelayed.Value, share100(of(let, nil), left)},
			"corrupt":   {got.Corrupt.Value, share100(of(damage, double), left+of(double, nil))},
			"delay":     {got.Delay.Value, 20},
			"host":      {*got.Host, 0.05},
			"sent":      {float64(got.Sent), float64(m.frames)},
		} {
			if !near(c[0], c[1], 1e-9) {
				t.Errorf("%s: %v, want %v", what, c[0], c[1])
			}
		}
	})
}

func share100(n, of int) float64 { return 100 * float64(n) / float64(of) }

// All frames may be damaged, and still it is known what a router does to them.
func TestAllDamaged(t *testing.T) {
	m := modelOf(0)
	n := 0
	m.damage = func(int) bool { n++; return true }
	s := m.stream()
	random := rand.New(rand.NewPCG(3, 4))
	for _, a := range s.came {
		a.frame[0] ^= 0x40 // as it was
		a.frame[random.IntN(len(a.frame))] ^= 1 << random.IntN(8)
	}
	if got := count(s, topology.Impair{Corrupt: 1}, 0); got.Corrupt.Value != 100 {
		t.Errorf("%v of %d frames are damaged", got.Corrupt, n)
	}
}

func TestOvertaken(t *testing.T) {
	m := modelOf(0)
	random := rand.New(rand.NewPCG(5, 6))
	m.delay = func() time.Duration { return time.Duration(random.IntN(1000)) * time.Microsecond }
	s := m.stream()
	latest, want, counted := -1, 0, 0
	for _, a := range s.came { // by another way than the code under test
		if s.sent[a.number].past {
			continue
		}
		counted++
		if a.number < latest {
			want++
		}
		latest = max(latest, a.number)
	}
	if got := count(s, topology.Impair{}, 0).Overtaken; want == 0 || !near(got.Value, share100(want, counted), 1e-9) {
		t.Errorf("%v overtaken, want %d of %d", got, want, counted)
	}
	if got := count(modelOf(5*time.Millisecond).stream(), topology.Impair{}, 0).Overtaken; got.Value != 0 {
		t.Errorf("%v overtaken of frames in order", got)
	}
}

// The jitter and the delay come out as they were set, whatever the distribution.
func TestSpreads(t *testing.T) {
	const delay, jitter = 50 * time.Millisecond, 5 * time.Millisecond
	pareto := func(u float64) float64 { return (math.Pow(1-u, -1.0/3) - 1.5) / math.Sqrt(0.75) }
	for name, draw := range map[string]func(random *rand.Rand) float64{
		topology.SpreadUniform: func(random *rand.Rand) float64 { return 2*random.Float64() - 1 },
		topology.SpreadNormal:  (*rand.Rand).NormFloat64,
		// networks/shape cuts both off at 4, which narrows them, and widens and moves them until the deviation is 1 and the mean 0
		topology.SpreadPareto: func(random *rand.Rand) float64 { return min(1.532*pareto(random.Float64())+0.064, 4) },
		topology.SpreadParetoNormal: func(random *rand.Rand) float64 { // one quantile of both
			u := random.Float64()
			return min(1.357*(math.Sqrt2*math.Erfinv(2*u-1)+3*pareto(u))/4+0.035, 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(7, 8))
			m := modelOf(0)
			m.frames = 40000
			m.delay = func() time.Duration { return delay + time.Duration(draw(random)*float64(jitter)) }
			set := topology.Impair{Delay: delay, Jitter: jitter, Distribution: name}
			got := count(m.stream(), set, 0)
			if !near(got.Delay.Value, 50, 0.5) || !near(got.Jitter.Value, 5, 0.5) {
				t.Errorf("delay %v, jitter %v", got.Delay, got.Jitter)
			}
			if v := Judge("a->b", set, got); v.Result() != OK {
				t.Error(v)
			}
			set.Jitter = 7 * time.Millisecond
			if v := Judge("a->b", set, got); v.Result() != Off {
				t.Error(v)
			}
		})
	}
}

// A host that is too slow is told as such, and no value of it is off.
func TestSlowHost(t *testing.T) {
	set := topology.Impair{Delay: 10 * time.Millisecond, Loss: 0.5}
	late := modelOf(15 * time.Millisecond)
	s := late.stream()
	for i, a := range s.came {
		if s.sent[a.number].past && i%3 == 0 {
			s.came[i].at += int64(5 * time.Millisecond)
		}
	}
	dropped := modelOf(10 * time.Millisecond).stream()
	dropped.dropped = 3
	refused := modelOf(10 * time.Millisecond).stream()
	refused.sent[5].refused = true
	nothing := stream{plan: plan{size: least}, sent: []sent{{}}, blank: make([]byte, least), offset: 14}
	for what, c := range map[string]struct {
		stream
		name, why string
	}{
		"holds frames":  {s, "delay_ms", "held"},
		"drops frames":  {dropped, "loss_percent", "too slow"},
		"full queue":    {refused, "loss_percent", "queue full"},
		"none came":     {nothing, "delay_ms", noneCame},
		"duplicates as": {dropped, "duplicate_percent", "too slow"},
	} {
		v := value(t, Judge("a->b", set, count(c.stream, set, 0)), c.name)
		if v.Result != Inconclusive || !strings.Contains(v.Why, c.why) {
			t.Errorf("%s: %+v", what, v)
		}
	}
	// A frame of which nobody knows when it went in says nothing of the delay.
	slow := modelOf(10 * time.Millisecond).stream()
	for i := range slow.sent {
		if slow.sent[i].leads && i%40 != 0 {
			slow.sent[i].took = 2 * hiccup
			slow.sent[i].at -= int64(5 * time.Millisecond)
		}
	}
	if got := count(slow, set, 0).Delay; !near(got.Value, 10, 1e-6) {
		t.Errorf("delay %+v", got)
	}
}

func value(t *testing.T, v Verdict, name string) Value {
	t.Helper()
	for _, value := range v.Values {
		if value.Name == name {
			return value
		}
	}
	t.Fatalf("%v has no %s", v, name)
	return Value{}
}

// onTheWay is what frames take that need not wait for a bucket.
const onTheWay = 5 * time.Millisecond

// bucket lets a flood through at a rate: a queue behind a bucket of tokens (bytes).
func bucket(rate float64, burst, queue int, p plan, pause func(n int) time.Duration) stream {
	s := stream{plan: p}
	at, free, tokens, last := 0.0, 0.0, float64(burst), 0.0
	for n := range p.frames {
		if n%p.batch == 0 {
			at += p.every.Seconds() + pause(n).Seconds()
		}
		s.sent = append(s.sent, sent{at: int64(at * 1e9)})
		begin := max(at, free)
		if (begin-at)*rate/8 > float64(queue) {
			continue
		}
		tokens = min(float64(burst), tokens+(begin-last)*rate/8)
		wait := max(0, (float64(p.size)-tokens)*8/rate)
		tokens = tokens + wait*rate/8 - float64(p.size)
		free, last = begin+wait, begin+wait
		s.came = append(s.came, arrival{number: n, at: int64((free + onTheWay.Seconds()) * 1e9)})
	}
	return s
}

func TestRateOf(t *testing.T) {
	none := func(int) time.Duration { return 0 }
	for rate, burst := range map[int64]int{2e6: 1600, 20e6: 10000, 200e6: 100000} {
		set := topology.Impair{Rate: rate, Queue: 24224}
		p := flooding(set, least, 1514, 0)
		e := rateOf(bucket(float64(rate), burst, int(set.Queue), p, none), onTheWay)
		if mbit := float64(rate) / 1e6; e.Doubt != "" || !near(e.Value, mbit, mbit/200) || e.High-e.Low > mbit/50 {
			t.Errorf("%d bit/s: %+v", rate, e)
		}
	}
	set := topology.Impair{Rate: 20e6, Queue: 24224}
	p := flooding(set, least, 1514, 0)
	// A sender that pauses must not be taken for a lower rate.
	for pause, want := range map[time.Duration]string{20 * time.Millisecond: OK, 100 * time.Millisecond: Inconclusive} {
		e := rateOf(bucket(20e6, 3000, 24224, p, func(n int) time.Duration {
			if n%(p.batch*40) == 0 {
				return pause
			}
			return 0
		}), onTheWay)
		if v := value(t, Judge("a->b", set, Measured{Rate: &e}), "rate_mbit_per_s"); v.Result != want {
			t.Errorf("a sender that pauses for %v: %+v, want %s", pause, v, want)
		}
	}
	// Nor one that is slower than the rate; but more than the rate is off whoever sent it.
	free := bucket(1e12, 1e9, 1e9, p, none)
	e := rateOf(free, onTheWay)
	for rate, want := range map[int64]string{20e6: Off, 50e6: Inconclusive} {
		v := value(t, Judge("a->b", topology.Impair{Rate: rate}, Measured{Rate: &e}), "rate_mbit_per_s")
		if v.Result != want {
			t.Errorf("30 of %d bit/s: %+v, want %s", rate, v, want)
		}
	}
	full := bucket(20e6, 600000, 24224, p, none)
	if e := rateOf(full, onTheWay); e.Doubt != "" || !near(e.Value, 20, 0.1) {
		t.Errorf("a bucket that holds much: %+v", e)
	}
	full.dropped = 1
	if e := rateOf(full, onTheWay); e.Doubt == "" {
		t.Errorf("frames that were not looked at: %+v", e)
	}
	for _, s := range []stream{{}, {sent: free.sent, came: free.came[:5]}} {
		if e := rateOf(s, 0); e.Doubt == "" {
			t.Errorf("%d frames: %+v", len(s.came), e)
		}
	}
}

// A clock that is set in a measurement makes its delays and its rate worthless.
func TestClockThatIsSet(t *testing.T) {
	set, m := asSet()
	m.doubt(steps)
	if v := Judge("a->b", set, m); v.Result() != OK {
		t.Error(v)
	}
	m.doubt(-2 * steps)
	for name, want := range map[string]string{
		"delay_ms": Inconclusive, "jitter_ms": Inconclusive, "rate_mbit_per_s": Inconclusive, "reorder_percent": Inconclusive, "loss_percent": OK,
	} {
		if v := value(t, Judge("a->b", set, m), name); v.Result != want {
			t.Errorf("%+v, want %s", v, want)
		}
	}
}

// What frames take where nothing is set is taken off; it need not be known.
func TestFloor(t *testing.T) {
	m := modelOf(20 * time.Millisecond)
	m.bypass, m.host = m.frames, 3*time.Millisecond
	s := m.stream()
	s.came = slices.DeleteFunc(s.came, func(a arrival) bool { return s.sent[a.number].past })
	set := topology.Impair{Delay: 20 * time.Millisecond}
	if got := count(s, set, 3*time.Millisecond); !near(got.Delay.Value, 20, 1e-6) || got.Host == nil || *got.Host != 3 || !near(got.Quartiles[0], 20, 1e-6) {
		t.Errorf("%+v", got)
	}
	if got := count(s, set, 0); !near(got.Delay.Value, 23, 1e-6) || got.Host != nil {
		t.Errorf("%+v", got)
	}
	// One that was measured while the node was busy makes no delay too short.
	for set, test := range map[time.Duration]struct {
		floor time.Duration
		want  string
	}{
		20 * time.Millisecond: {8 * time.Millisecond, Inconclusive}, // frames took 23: it is delayed by 15 to 23
		30 * time.Millisecond: {8 * time.Millisecond, Off},
		10 * time.Millisecond: {8 * time.Millisecond, Off},
	} {
		set := topology.Impair{Delay: set, Jitter: 4 * time.Millisecond}
		if v := value(t, Judge("a->b", set, count(s, set, test.floor)), "delay_ms"); v.Result != test.want {
			t.Errorf("%s is set, %s was the floor: %+v, want %s", set.Delay, test.floor, v, test.want)
		}
	}
}

// The delay is that of frames which were delayed, and had nothing just before them.
func TestDelayOfWhich(t *testing.T) {
	m := modelOf(0)
	random := rand.New(rand.NewPCG(11, 12))
	m.delay = func() time.Duration {
		return 20*time.Millisecond + time.Duration(random.NormFloat64()*float64(time.Millisecond))
	}
	m.let = func(int) bool { return random.Float64() < 0.3 }
	s := m.stream()
	for i, a := range s.came {
		if f := s.sent[a.number]; !f.leads && !f.past {
			s.came[i].at += int64(2 * time.Millisecond)
		}
	}
	set := topology.Impair{Delay: 20 * time.Millisecond, Jitter: time.Millisecond, Reorder: 0.3}
	if got := count(s, set, 0); !near(got.Delay.Value, 20, 0.2) || !near(got.Jitter.Value, 1, 0.2) || !near(got.Deviation, 1, 0.2) {
		t.Errorf("%+v", got)
	}
}
