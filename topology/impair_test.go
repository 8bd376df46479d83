package topology

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestImpair reads what directions do to their frames.
func TestImpair(t *testing.T) {
	for name, c := range map[string]struct {
		network     string
		there, back Impair
		text        string // of the first
	}{
		"none": {"", Impair{}, Impair{}, "none"},
		"one direction": {
			"client->server: {delay: 92ms, loss: 0.025%}",
			Impair{Delay: 92 * time.Millisecond, Loss: 0.00025},
			Impair{},
			"delay 92ms, loss 0.025%",
		},
		"a queue for the delay of both": {
			"client->server: {rate: 50mbit, delay: 92ms}, server->client: {rate: 100mbit, delay: 76ms, aqm: fq_codel}",
			Impair{Rate: 50e6, Delay: 92 * time.Millisecond, Queue: 1_050_000, AQM: AQMFIFO},
			Impair{Rate: 100e6, Delay: 76 * time.Millisecond, Queue: 2_100_000, AQM: AQMFqCoDel},
			"rate 50mbit, delay 92ms, queue 1.0MiB fifo",
		},
		"a queue that is not longer than a file may ask for": {
			"client->server: {rate: 400gbit, delay: 60s}",
			Impair{Rate: 400e9, Delay: time.Minute, Queue: 1 << 30, AQM: AQMFIFO},
			Impair{},
			"rate 400gbit, delay 1m0s, queue 1024.0MiB fifo",
		},
		"a queue of some frames at least": {
			"client->server: {rate: 1.5mbit}",
			Impair{Rate: 1_500_000, Queue: 16 * 1514, AQM: AQMFIFO},
			Impair{},
			"rate 1.5mbit, queue 23.7KiB fifo",
		},
		"all of it": {
			`client->server: {rate: 8kbit, delay: 1s, jitter: 500us, distribution: pareto, loss: 1%, loss-burst: "4", duplicate: 2%, reorder: 3%, corrupt: 4%, queue: 1.5KiB, aqm: pie}`,
			Impair{8000, time.Second, 500 * time.Microsecond, SpreadPareto, 0.01, 4, 0.02, 0.03, 0.04, 1536, AQMPIE},
			Impair{},
			"rate 8kbit, delay 1s, jitter 500µs (pareto), loss 1%, in bursts of 4, duplicate 2%, reorder 3%, corrupt 4%, queue 1.5KiB pie",
		},
		"a jitter is normal": {
			"client->server: {delay: 2ms, jitter: 1ms}",
			Impair{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Distribution: SpreadNormal},
			Impair{},
			"delay 2ms, jitter 1ms (normal)",
		},
		"a profile, and a value beside it": {
			"client->server: {profile: transcontinental-up, rate: 1gbit, queue: 1MiB}",
			Impair{Rate: 1e9, Delay: 92 * time.Millisecond, Loss: 0.00025, Queue: 1 << 20, AQM: AQMFIFO},
			Impair{},
			"rate 1gbit, delay 92ms, loss 0.025%, queue 1.0MiB fifo",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := decided(t, "name: x\nnetworks: {test: {sides: [client, server], impair: {"+c.network+"}}}\nnodes: {n: {nics: [{network: test, side: client}]}}\n")
			ds := l.Networks[0].Directions()
			if d := cmp.Diff([]Direction{{"client", "server", c.there}, {"server", "client", c.back}}, ds); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if got := ds[0].Impair.String(); got != c.text {
				t.Errorf("it is %q, want %q", got, c.text)
			}
		})
	}
}

var profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// TestProfiles: each can be read, says where it comes from, and has a name of its own.
func TestProfiles(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Profiles() {
		i, wrong := p.Impair.parse(1500)
		if len(wrong) > 0 || i.IsZero() || p.About == "" || p.Source == "" || !profileName.MatchString(p.Name) || seen[p.Name] || p.Impair.Profile != "" {
			t.Errorf("%+v: %v", p, wrong)
		}
		seen[p.Name] = true
	}
	if len(seen) == 0 {
		t.Error("there are none")
	}
}
