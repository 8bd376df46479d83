package probe

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

func about(value, by float64) Estimate {
	return Estimate{Value: value, Low: value - by, High: value + by, Of: 1000}
}

// asSet is a measurement of what was set.
func asSet() (topology.Impair, Measured) {
	rate := about(49.7, 0.2)
	set := topology.Impair{
		Rate: 50e6, Delay: 92 * time.Millisecond, Jitter: 2 * time.Millisecond, Distribution: topology.SpreadNormal,
		Loss: 0.00025, Duplicate: 0.01, Reorder: 0.05, Corrupt: 0.02, Queue: 1e6, AQM: topology.AQMFIFO,
	}
	m := Measured{
		Sent: 40000, Delay: about(92.3, 0.1), Jitter: about(2.1, 0.1), Loss: Estimate{Value: 0.02, Low: 0.01, High: 0.05, Of: 40000},
		Burst: Estimate{Value: 1, Low: 1, High: 1, Of: 10}, Duplicate: about(1.01, 0.1), Undelayed: about(4.9, 0.3), Corrupt: about(2, 0.2), Rate: &rate,
	}
	return set, m
}

func TestJudge(t *testing.T) {
	set, m := asSet()
	v := Judge("client->server", set, m)
	if v.Result() != OK || len(v.Values) != 8 {
		t.Fatal(v)
	}
	want := "client->server: rate 49.7 of 50 mbit/s, delay 92.3 of 92 ms, jitter 2.1 of 2 ms, loss 0.02 % [0.01–0.05] of 0.025 %, bursts 1 of 1 frames, " +
		"duplicate 1.01 % [0.91–1.11] of 1 %, reorder 4.9 % [4.60–5.20] of 5 %, corrupt 2 % [1.80–2.20] of 2 %"
	if v.String() != want {
		t.Errorf("says\n%s, want\n%s", v, want)
	}
	for what, c := range map[string]struct {
		spoil  func(*topology.Impair, *Measured)
		name   string
		result string
	}{
		"less rate":           {func(i *topology.Impair, _ *Measured) { i.Rate = 52e6 }, "rate_mbit_per_s", Off},
		"more rate":           {func(i *topology.Impair, _ *Measured) { i.Rate = 46e6 }, "rate_mbit_per_s", Off},
		"rate too vague":      {func(_ *topology.Impair, m *Measured) { *m.Rate = about(50, 2) }, "rate_mbit_per_s", Inconclusive},
		"rate less its loss":  {func(i *topology.Impair, m *Measured) { i.Loss, *m.Rate = 0.2, about(40, 0.2) }, "rate_mbit_per_s", OK},
		"more delay":          {func(_ *topology.Impair, m *Measured) { m.Delay = about(95.2, 0.1) }, "delay_ms", Off},
		"no delay":            {func(_ *topology.Impair, m *Measured) { m.Delay = about(0, 0.1) }, "delay_ms", Off},
		"delay within":        {func(_ *topology.Impair, m *Measured) { m.Delay = about(94.5, 0.1) }, "delay_ms", OK},
		"delay too vague":     {func(_ *topology.Impair, m *Measured) { m.Delay = about(92, 8) }, "delay_ms", Inconclusive},
		"held by a low rate":  {func(i *topology.Impair, m *Measured) { i.Rate, m.Delay = 8e3, about(150, 1) }, "delay_ms", OK},
		"more jitter":         {func(_ *topology.Impair, m *Measured) { m.Jitter = about(2.7, 0.1) }, "jitter_ms", Off},
		"jitter of none":      {func(i *topology.Impair, m *Measured) { i.Jitter, m.Jitter, m.Held = 0, about(1, 0.1), new(float64) }, "jitter_ms", Off},
		"more loss":           {func(i *topology.Impair, _ *Measured) { i.Loss = 0.001 }, "loss_percent", Off},
		"loss of none":        {func(i *topology.Impair, m *Measured) { i.Loss, m.Loss = 0, percent(20, 10000, 1) }, "loss_percent", Off},
		"one of 10000":        {func(i *topology.Impair, m *Measured) { i.Loss, m.Loss = 0, percent(1, 10000, 1) }, "loss_percent", OK},
		"none of few":         {func(_ *topology.Impair, m *Measured) { m.Loss = percent(0, 40, 1) }, "loss_percent", Inconclusive},
		"longer bursts":       {func(_ *topology.Impair, m *Measured) { m.Burst = about(3, 0.5) }, "loss_burst_frames", Off},
		"bursts as set":       {func(i *topology.Impair, m *Measured) { i.Burst, m.Burst = 3, about(3, 0.5) }, "loss_burst_frames", OK},
		"no duplicates":       {func(_ *topology.Impair, m *Measured) { m.Duplicate = percent(0, 10000, 1) }, "duplicate_percent", Off},
		"fewer undelayed":     {func(_ *topology.Impair, m *Measured) { m.Undelayed = about(2, 0.2) }, "reorder_percent", Off},
		"undelayed of little": {func(i *topology.Impair, m *Measured) { i.Delay, m.Delay = time.Millisecond, about(1, 0.1) }, "reorder_percent", Inconclusive},
		"order of none": {func(i *topology.Impair, m *Measured) {
			i.Reorder, i.Jitter, m.Overtaken = 0, 0, about(1, 0.1)
		}, "reorder_percent", Off},
		"no damage": {func(_ *topology.Impair, m *Measured) { m.Corrupt = percent(0, 10000, 1) }, "corrupt_percent", Off},
		"all lost": {func(i *topology.Impair, m *Measured) {
			i.Loss, m.Loss, m.Delay = 1, percent(10000, 10000, 1), quantile(nil, 0.5)
		}, "loss_percent", OK},
	} {
		t.Run(what, func(t *testing.T) {
			set, m := asSet()
			c.spoil(&set, &m)
			v := Judge("client->server", set, m)
			got := value(t, v, c.name)
			if got.Result != c.result || (got.Why == "") != (c.result == OK) {
				t.Errorf("%+v, want %s", got, c.result)
			}
			if c.result == Off && (v.Result() != Off || !strings.Contains(v.String(), "(off)")) {
				t.Errorf("%s: %v", v.Result(), v)
			}
			if c.result == Inconclusive && (v.Result() != Inconclusive || !strings.Contains(v.String(), "(inconclusive: "+got.Why)) {
				t.Errorf("%s: %v", v.Result(), v)
			}
		})
	}
	set.Jitter, m.Jitter, m.Held = 0, about(1, 0.1), nil
	if v := Judge("client->server", set, m); v.Result() != OK {
		t.Errorf("a router's own jitter: %v", v)
	}
	set.Jitter = time.Second
	// With a jitter frames overtake each other, and nothing was said about it.
	set.Reorder, m.Overtaken = 0, about(40, 1)
	if v := Judge("client->server", set, m); strings.Contains(v.String(), "reorder") {
		t.Error(v)
	}
}

func TestNothingSet(t *testing.T) {
	none := percent(0, 10000, 1)
	m := Measured{Delay: about(0.0002, 0.0001), Jitter: about(0.01, 0.001), Loss: none, Duplicate: none, Overtaken: none, Corrupt: none}
	v := Judge("server->client", topology.Impair{}, m)
	if want := "server->client: delay 0 of 0 ms, loss 0 % [0.00–0.07] of 0 %"; v.Result() != OK || v.String() != want {
		t.Errorf("%s, want %s", v, want)
	}
}

// A measurement of nothing can be written too: JSON has no infinity.
func TestJSON(t *testing.T) {
	set, m := asSet()
	text, err := json.Marshal(Judge("client->server", set, m).Values[0])
	must(t, err)
	if want := `{"name":"rate_mbit_per_s","set":50,"measured":49.7,"low":49.5,"high":49.900000000000006,"tolerance":1.5,"result":"ok"}`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	empty := count(stream{plan: plan{size: least}, sent: []sent{{}}, blank: make([]byte, least), offset: 14}, set, 0)
	rate := rateOf(stream{}, 0)
	empty.Rate = &rate
	for _, v := range []any{empty, Judge("client->server", set, empty), m} {
		if text, err = json.Marshal(v); err != nil {
			t.Errorf("%+v: %v", v, err)
		}
		var back map[string]any
		must(t, json.Unmarshal(text, &back))
	}
	for text, f := range map[string]float64{"0": 0.0001, "0.025": 0.025, "49.7": 49.68, "200": 200.4, "1234": 1234.2, "-0.5": -0.5, "100": 99.96} {
		if got := digits(f); got != text {
			t.Errorf("%v is written %s, want %s", f, got, text)
		}
	}
}
