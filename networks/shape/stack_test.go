package shape

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

// TestBucket: it holds two frames at least, and the rate of a little while.
func TestBucket(t *testing.T) {
	for _, c := range []struct {
		rate int64
		mtu  int
		want uint32
	}{
		{8000, 1500, 2 * 1514}, {1e6, 9000, 2 * 9014}, {50e6, 1500, 12_500}, {1e9, 1500, 250_000}, {400e9, 1500, 100_000_000},
	} {
		if got := bucket(topology.Impair{Rate: c.rate}, c.mtu); got != c.want {
			t.Errorf("at %d bit/s with an MTU of %d it holds %d bytes, want %d", c.rate, c.mtu, got, c.want)
		}
	}
}

// TestLimits: a delay loses no frame of a million a second, nor one that waits for the rate.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		i    topology.Impair
		mtu  int
		want Limit
		text string
	}{
		{topology.Impair{}, 1500, Limit{}, ""},
		{topology.Impair{Delay: 92 * ms}, 1500, Limit{Frames: 93_000}, "93000 frames for the delay"},
		{topology.Impair{Delay: 92 * ms, Jitter: 2 * ms, Distribution: topology.SpreadNormal}, 1500, Limit{Frames: 101_000}, "101000 frames for the delay"},
		{topology.Impair{Loss: 0.1}, 1500, Limit{Frames: 1000}, "1000 frames for the delay"},
		{topology.Impair{Rate: 1e6, Queue: 6000, AQM: topology.AQMFIFO}, 1500, Limit{Bytes: 6000}, "6000 bytes for the rate"},
		{
			topology.Impair{Delay: time.Second, Rate: 1e6, Queue: 6000, AQM: topology.AQMPIE},
			1500,
			Limit{Frames: 1_001_100, Bytes: 6000, Packets: 3},
			"1001100 frames for the delay, 3 frames for the rate (6000 bytes of the longest)",
		},
		{topology.Impair{Rate: 1e6, Queue: 9100, AQM: topology.AQMFqCoDel}, 9000, Limit{Bytes: 9100, Packets: 2}, "2 frames for the rate (9100 bytes of the longest)"},
	} {
		got, err := Limits(c.i, c.mtu)
		if err != nil || got != c.want || got.String() != c.text {
			t.Errorf("%s: %+v %q, %v, want %+v %q", c.i, got, got, err, c.want, c.text)
		}
	}
	if small, long := memory(2, 1500), memory(1_000_000, 9000); small != 32<<20 || long != 4294967295 || memory(20_000, 1500) != 20_000*(3028+1024) {
		t.Errorf("fq_codel may take %d and %d bytes", small, long)
	}
}

func TestNeeds(t *testing.T) {
	for want, i := range map[string]topology.Impair{
		"":                   {},
		"netem":              {Duplicate: 0.1},
		"tbf":                impairs["rate"],
		"tbf fq_codel":       impairs["fq_codel"],
		"tbf pie":            impairs["pie"],
		"netem tbf fq_codel": impairs["all"],
	} {
		kinds := Needs(i)
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%s needs %q, want %q", i, got, want)
		}
		qs, err := stack(i, 1500)
		if err != nil || !slices.EqualFunc(qs, kinds, func(q qdisc, kind string) bool { return q.kind == kind }) {
			t.Errorf("%s needs %q and is %v, %v", i, kinds, qs, err)
		}
	}
	if got := Module("fq_codel"); got != "sch_fq_codel" {
		t.Errorf("the module is %s", got)
	}
}

// TestWhatTheKernelCannot is an error, not something else.
func TestWhatTheKernelCannot(t *testing.T) {
	fifo := topology.Impair{Rate: 1e6, Queue: 6000, AQM: topology.AQMFIFO}
	with := func(change func(*topology.Impair)) topology.Impair { i := fifo; change(&i); return i }
	for says, i := range map[string]topology.Impair{
		"a jitter up to 2.147483647s": {Delay: time.Minute, Jitter: 3 * time.Second, Distribution: topology.SpreadNormal},
		`spreads as "gauss"`:          {Delay: time.Minute, Jitter: 1, Distribution: "gauss"},
		"without a delay":             {Reorder: 0.1, Loss: 0.1},
		"in bursts of 5":              {Loss: 1, Burst: 5},
		"in bursts of 2":              {Loss: 0.9, Burst: 2},
		"in bursts of 0.5":            {Loss: 0.1, Burst: 0.5},
		"in bursts of 1e+06":          {Loss: 1e-5, Burst: 1e6},
		"a share of 1e-11":            {Corrupt: 1e-11},
		"a share of 1.5":              {Loss: 1.5},
		"a rate of 7 bit/s":           with(func(i *topology.Impair) { i.Rate = 7 }),
		"a queue of 1513 bytes":       with(func(i *topology.Impair) { i.Queue = 1513 }),
		"a queue of 4294967296":       with(func(i *topology.Impair) { i.Queue = 1 << 32 }),
		`kept by "red"`:               with(func(i *topology.Impair) { i.AQM = "red" }),
	} {
		_, errAs := As(i, 1500)
		_, errLimits := Limits(i, 1500)
		_, errScript := Script(i, 1500)
		for _, err := range []error{errAs, errLimits, errScript} {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want one that says %q", err, says)
			}
		}
	}
	if _, err := As(fifo, 0); err == nil {
		t.Error("an MTU of 0 is one")
	}
}
