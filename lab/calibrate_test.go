package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/networks/probe"
	"github.com/mami-project/labctl/topology"
)

// TestCalibrationsAreKept: what was measured is told as long as the direction does what it did then.
func TestCalibrationsAreKept(t *testing.T) {
	b := prepare(t, newHost(t), hopsLab)
	must(t, b.folder().Create(t.Context()))
	i := b.directions()[0]
	if c := b.calibrations().of(i, topology.Impair{}); c != nil {
		t.Errorf("%v was measured of what is not there", c)
	}
	set := topology.Impair{Rate: 1e6, Queue: 1 << 16, AQM: topology.AQMFIFO, Delay: 3 * time.Millisecond}
	c := Calibration{
		Network: "one", Direction: "a->b", At: time.Unix(1, 0).UTC(), Set: set, Was: set.String(),
		Verdict: probe.Verdict{Direction: "a->b", Values: []probe.Value{{Name: "delay_ms", Set: 3, Measured: 3.1, Result: probe.OK}}},
	}
	must(t, b.keepCalibrations(measured{i.String(): remembered{c, set, time.Millisecond}}))
	got := b.calibrations().of(i, set)
	if got == nil || got.String() != "a->b: delay 3.1 of 3 ms" || got.Was != set.String() || got.Off() {
		t.Errorf("kept is %+v", got)
	}
	set.Rate++
	if got := b.calibrations().of(i, set); got != nil {
		t.Errorf("%v is told of what was set since", got)
	}
	if b.calibrations()[i.String()].Floor != time.Millisecond {
		t.Error("what the node takes by itself is not kept")
	}
}

// TestOff: which calibrations are an error.
func TestOff(t *testing.T) {
	values := func(results ...string) probe.Verdict {
		v := probe.Verdict{Direction: "a->b"}
		for _, r := range results {
			v.Values = append(v.Values, probe.Value{Name: "delay_ms", Result: r})
		}
		return v
	}
	for name, c := range map[string]struct {
		c   Calibration
		off bool
	}{
		"as set":              {Calibration{Verdict: values(probe.OK, probe.OK)}, false},
		"not sure":            {Calibration{Verdict: values(probe.OK, probe.Inconclusive)}, false},
		"one value":           {Calibration{Verdict: values(probe.OK, probe.Off, probe.Inconclusive)}, true},
		"nodes get too much":  {Calibration{Verdict: values(probe.OK), Nodes: &Carried{Result: probe.Off}}, true},
		"nodes are too slow":  {Calibration{Verdict: values(probe.OK), Nodes: &Carried{Result: probe.Inconclusive}}, false},
		"it was not measured": {Calibration{Failed: "no node"}, false},
	} {
		if got := c.c.Off(); got != c.off {
			t.Errorf("%s: off is %v", name, got)
		}
		if err := offs([]Calibration{{Verdict: values(probe.OK)}, c.c}); (err != nil) != c.off {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDoubtRate: an emulated node may be slower than its rate, never faster.
func TestDoubtRate(t *testing.T) {
	values := []probe.Value{
		{Name: "rate_mbit_per_s", Set: 5, Measured: 4, Result: probe.Off},
		{Name: "rate_mbit_per_s", Set: 5, Measured: 6, Result: probe.Off},
		{Name: "delay_ms", Set: 5, Measured: 4, Result: probe.Off},
	}
	doubtRate(values)
	if values[0].Result != probe.Inconclusive || values[1].Result != probe.Off || values[2].Result != probe.Off {
		t.Errorf("got %+v", values)
	}
}

// TestCarried compares what iperf3 got through with what the rate leaves.
func TestCarried(t *testing.T) {
	for name, c := range map[string]struct {
		sent, received float64 // Mbit/s
		result, why    string
	}{
		"all of it":             {5.2, 4.6, probe.OK, ""},
		"a little more":         {6, 4.8, probe.OK, ""},
		"more than there is":    {6, 5.2, probe.Off, "more than the rate lets by"},
		"a sender that is slow": {3, 3, probe.Inconclusive, "the sender managed 3"},
		"nodes that are slow":   {6, 3, probe.Inconclusive, "the nodes get less through"},
	} {
		got := Carried{Most: 4.7, Result: probe.Inconclusive}
		got.judge(flows.Result{Sent: int64(c.sent * 1e6 / 8 * 2), Received: int64(c.received * 1e6 / 8 * 2), Seconds: 2})
		if got.Result != c.result || !strings.HasPrefix(got.Why, c.why) || (c.why == "") != (got.Why == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCarryFlows: one way after the other, each from the node on the side where it begins.
func TestCarryFlows(t *testing.T) {
	up, down := carryFlow(0, 0, 6e6), carryFlow(1, 1, 6e6)
	if !up.Client.Upload() || down.Client.Upload() {
		t.Errorf("directions are %v and %v", up.Client.Upload(), down.Client.Upload())
	}
	lasts, _ := up.Lasts()
	if down.Client.At[0] < up.Client.At[0]+lasts || up.Client.Port == down.Client.Port || up.Client.Bitrate != "5535055" {
		t.Errorf("at %v after %v, ports %d and %d, %s", down.Client.At, lasts, up.Client.Port, down.Client.Port, up.Client.Bitrate)
	}
}
