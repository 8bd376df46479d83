package lab

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

// impairedExperiment is of the built-in lab, one of whose directions is impaired: flow 1 passes it, flow 2 does not.
func impairedExperiment(t *testing.T, i topology.Impair) experiment {
	t.Helper()
	e := testExperiment(loadDefault(t))
	e.impaired = []topology.Impair{i}
	e.flows[0].impaired = true
	return e
}

// allSeen are the points of an experiment at which all went through.
func allSeen(e experiment) []point {
	points := e.points()
	for i := range points {
		for _, v := range points[i].views {
			for _, m := range v.want {
				points[i].saw = append(points[i].saw, seen{sent: m, nic: v.nic})
			}
		}
	}
	return points
}

// sees is a frame of an experiment as that NIC sees it.
func (e experiment) sees(nic int, m mark) seen {
	return seen{sent: marks(m.flow, e.flows[m.flow])[m.number], nic: nic}
}

// at is a node's point.
func at(t *testing.T, points []point, node string) *point {
	t.Helper()
	i := slices.IndexFunc(points, func(p point) bool { return p.node.Name == node })
	if i < 0 {
		t.Fatalf("%s is no point", node)
	}
	return &points[i]
}

// drop removes what a node saw of a flow.
func (p *point) drop(flow int, numbers ...int) {
	p.saw = slices.DeleteFunc(p.saw, func(s seen) bool {
		return s.flow == flow && (len(numbers) == 0 || slices.Contains(numbers, s.number))
	})
}

// TestJudgeImpaired: flow 1 goes from iperf-client to iperf-server through what is
// impaired, and flow 2 back through nothing.
func TestJudgeImpaired(t *testing.T) {
	loses := topology.Impair{Loss: 0.1}
	for name, c := range map[string]struct {
		impair topology.Impair
		happen func(*testing.T, experiment, []point)
		wrong  string // "" where nothing is
	}{
		"all arrive":                   {loses, func(*testing.T, experiment, []point) {}, ""},
		"some are lost":                {loses, func(t *testing.T, e experiment, p []point) { at(t, p, "iperf-server").drop(0, 0, 3) }, ""},
		"none arrives":                 {loses, func(t *testing.T, e experiment, p []point) { at(t, p, "iperf-server").drop(0) }, "iperf-server's NIC 2 (test/server) saw none of the 5 frames of flow 1"},
		"none arrives, and none is to": {topology.Impair{Loss: 1}, func(t *testing.T, e experiment, p []point) { at(t, p, "iperf-server").drop(0) }, ""},
		"one comes twice": {loses, func(t *testing.T, e experiment, p []point) {
			s := at(t, p, "iperf-server")
			s.saw = append(s.saw, e.sees(1, mark{0, 1}))
		}, ""},
		"the sender saw one twice": {loses, func(t *testing.T, e experiment, p []point) {
			for _, n := range []string{"iperf-client", "tshark"} {
				s := at(t, p, n)
				s.saw = append(s.saw, e.sees(1, mark{0, 1}))
			}
		}, "iperf-client's NIC 2 (test/client) saw frame 2 of flow 1 2 times instead of once"},
		"one of the plain direction is lost": {loses, func(t *testing.T, e experiment, p []point) {
			at(t, p, "iperf-client").drop(1, 2)
			at(t, p, "tshark").drop(1, 2)
		}, "iperf-client's NIC 2 (test/client) saw frame 3 of flow 2 0 times instead of once"},
		"the copy lacks one": {
			loses, func(t *testing.T, e experiment, p []point) { at(t, p, "tshark").drop(0, 4) },
			"tshark's NIC 2 (copy of iperf-client's on test) saw frame 5 of flow 1 0 times, and iperf-client's NIC 2 (test/client) 1 times",
		},
		"the copy has one more": {loses, func(t *testing.T, e experiment, p []point) {
			s := at(t, p, "tshark")
			s.saw = append(s.saw, e.sees(1, mark{1, 0}))
		}, "saw frame 1 of flow 2 2 times, and iperf-client's NIC 2 (test/client) 1 times"},
		"another network's": {loses, func(t *testing.T, e experiment, p []point) {
			s := at(t, p, "iperf-server")
			s.saw = append(s.saw, e.sees(0, mark{0, 1}))
		}, "frame 2 of flow 1, which does not belong there"},
		"one is damaged": {loses, func(t *testing.T, e experiment, p []point) {
			at(t, p, "iperf-server").saw[0].wrong = "the UDP checksum is wrong"
		}, "the UDP checksum is wrong"},
		"one is damaged, as it may": {topology.Impair{Corrupt: 0.1}, func(t *testing.T, e experiment, p []point) {
			at(t, p, "iperf-server").saw[0].wrong = "the UDP checksum is wrong"
		}, ""},
		"one is too long": {loses, func(t *testing.T, e experiment, p []point) { at(t, p, "iperf-server").saw[0].bytes = 1515 }, "with 1515 bytes instead of 78"},
	} {
		t.Run(name, func(t *testing.T) {
			e := impairedExperiment(t, c.impair)
			points := allSeen(e)
			c.happen(t, e, points)
			err := e.judgeImpaired(points)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

// TestImpairedProofEnds: it waits as long as the impairments hold frames, and sends as
// often as they lose them.
func TestImpairedProofEnds(t *testing.T) {
	for name, c := range map[string]struct {
		impair topology.Impair
		within float64
		rounds int
	}{
		"a delay":        {topology.Impair{Delay: 3 * time.Second, Jitter: 500 * time.Millisecond}, 15, 1},
		"a rate":         {topology.Impair{Rate: 8e3}, 17, 1}, // of 2 × 3404 bytes and their headers
		"a delay of min": {topology.Impair{Delay: 2 * time.Minute}, 60, 1},
		"some loss":      {topology.Impair{Loss: 0.1}, 2, 2},
		"much loss":      {topology.Impair{Loss: 0.5}, 2, 4},
		"nearly all":     {topology.Impair{Loss: 0.99}, 2, mostRounds},
		"all":            {topology.Impair{Loss: 1}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := impairedExperiment(t, c.impair)
			if got := e.rounds(5); got != c.rounds {
				t.Errorf("%d rounds, want %d", got, c.rounds)
			}
			if got := math.Ceil(e.arrivesWithin().Seconds()); got != c.within {
				t.Errorf("within %v s, want %v", got, c.within)
			}
		})
	}
	if e := testExperiment(loadDefault(t)); e.arrivesWithin() != arriveTime {
		t.Error("without impairments it waits for another time")
	}
}

// hopsLab has a wire and a node between sides in a row.
const hopsLab = `
name: hops
networks:
  control: {subnet: 10.9.1.0/24}
  one: {sides: [a, b], subnet: 10.9.11.0/24, impair: {a->b: {rate: 1mbit}, b->a: {delay: 5ms}}}
  two: {sides: [a, b], under-test: "node:mid", subnets: {a: 10.9.12.0/24, b: 10.9.13.0/24}}
nodes:
  first: {nics: [{network: control}, {network: one, side: a}]}
  hop: {forward: true, nics: [{network: control}, {network: one, side: b}, {network: two, side: a}]}
  mid: {nics: [{network: control}, {network: two, side: a}, {network: two, side: b}]}
  last: {nics: [{network: control}, {network: two, side: b}]}
  tap: {nics: [{network: control}, {mirror: {from: mid, side: b}}]}
`

// TestCrossed: what a path passes between its nodes and inside them.
func TestCrossed(t *testing.T) {
	l := decided(t, hopsLab)
	b := Build{Lab: l}
	first, last := l.Nodes[0], l.Nodes[3]
	to, _ := last.NIC("two")
	back, _ := first.NIC("one")
	for name, c := range map[string]struct {
		path []place
		want []string
	}{
		"there": {pathOf(l, first, to.Address.Addr()), []string{"impair/one/a->b", "impair/two/a->b"}},
		"back":  {pathOf(l, last, back.Address.Addr()), []string{"impair/two/b->a", "impair/one/b->a"}},
	} {
		var got []string
		for _, i := range b.crossed(c.path) {
			got = append(got, i.String())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

// TestDirections: which are resources, where their queues and the mirrors are, and how one is named.
func TestDirections(t *testing.T) {
	b := Build{On: newHost(t), Lab: decided(t, hopsLab)}
	var got []string
	for _, i := range b.directions() {
		got = append(got, fmt.Sprint(i, " at ", i.at(), " ", i.mirrors()))
	}
	wire := b.Lab.Networks[1].Wire
	want := []string{
		"impair/one/a->b at " + wire.Ends[0].Link + " []",
		"impair/one/b->a at " + wire.Ends[1].Link + " []",
		"impair/two/a->b at node mid [{mid after}]",
		"impair/two/b->a at node mid [{mid before}]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if rs := b.impairments(); len(rs) != 2 || rs[0].String() != "impair/one/a->b" || rs[1].String() != "impair/one/b->a" {
		t.Errorf("the resources are %v", rs)
	}
	if stages := b.Resources(); len(stages[len(stages)-1]) != 2 {
		t.Errorf("the last stage is %v", stages[len(stages)-1])
	}
	for name, c := range map[string]struct{ network, from, says string }{
		"one of several": {"two", "b", ""},
		"which":          {"", "a", "lab hops has several networks under test: say which by --network NAME"},
		"no such side":   {"one", "c", `no direction begins at "c"; expected --from a or b`},
		"no such":        {"control", "a", `lab hops has no network "control" with a wire or a node between two sides`},
	} {
		there, back, err := b.direction(c.network, c.from)
		switch {
		case c.says != "":
			if err == nil || err.Error() != c.says {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || there.String() != "impair/two/b->a" || back.String() != "impair/two/a->b":
			t.Errorf("%s: %s, %s, %v", name, there, back, err)
		}
	}
	plain := Build{Lab: decided(t, plainLab)}
	if err := plain.ClearImpairments(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "no network under test") {
		t.Errorf("got %v", err)
	}
}
