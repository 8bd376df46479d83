//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks/probe"
	"github.com/mami-project/labctl/topology"
)

// netemLab has wires whose directions do all that netem and the queues can do to frames.
// Rates are so low, queues so long and jitters so large that the late timers of an
// emulated host hide nothing of them.
const netemLab = `
name: netem
image: debian-slim
networks:
  control: {uplink: none}
  plain: {sides: [a, b]}
  late: {sides: [a, b], impair: {a->b: {delay: 192ms, jitter: 25ms}, b->a: {delay: 300ms, jitter: 40ms, distribution: uniform}}}
  lossy: {sides: [a, b], impair: {a->b: {loss: 5%, loss-burst: 4}, b->a: {duplicate: 3%, corrupt: 2%}}}
  early: {sides: [a, b], impair: {a->b: {delay: 250ms, jitter: 20ms, reorder: 5%}, b->a: {rate: 1mbit, aqm: pie, queue: 256KiB}}}
  all:
    sides: [a, b]
    impair:
      a->b: {rate: 2mbit, delay: 150ms, jitter: 20ms, loss: 4%, loss-burst: 3, duplicate: 1%, corrupt: 1%, aqm: fq_codel, queue: 256KiB}
      b->a: {rate: 1mbit, delay: 220ms, jitter: 30ms, distribution: paretonormal, loss: 4%, duplicate: 2%, corrupt: 2%, queue: 64KiB}
nodes:
  one: {nics: [{network: control}, {network: plain, side: a}, {network: late, side: a}, {network: lossy, side: a}, {network: early, side: a}, {network: all, side: a}]}
  two: {nics: [{network: control}, {network: plain, side: b}, {network: late, side: b}, {network: lossy, side: b}, {network: early, side: b}, {network: all, side: b}]}
`

// byTC is what tc tells of each direction, from the root on; what netem may hold and how
// it draws by chance is left out.
var byTC = map[string]string{
	"impair/plain/a->b": "noqueue 0: root",
	"impair/plain/b->a": "noqueue 0: root",
	"impair/late/a->b":  "netem 6c61: root delay 192ms 25ms",
	"impair/late/b->a":  "netem 6c60: root delay 300ms 40ms",
	"impair/lossy/a->b": "netem 6c60: root loss gemodel p 1.31579% r 25% 1-h 100% 1-k 0%",
	"impair/lossy/b->a": "netem 6c60: root duplicate 3% corrupt 2%",
	"impair/early/a->b": "netem 6c61: root delay 250ms 20ms reorder 5% gap 1",
	"impair/early/b->a": "tbf 6c64: root rate 1Mbit burst 3028b lat 2.07s; pie 6c65: parent 6c64:1 limit 173p",
	"impair/all/a->b": "netem 6c61: root delay 150ms 20ms loss gemodel p 1.38889% r 33.3333% 1-h 100% 1-k 0% duplicate 1% corrupt 1%; " +
		"tbf 6c64: parent 6c61:1 rate 2Mbit burst 3028b lat 1.04s; fq_codel 6c65: parent 6c64:1 limit 173p",
	"impair/all/b->a": "netem 6c63: root delay 220ms 30ms loss 4% duplicate 2% corrupt 2%; tbf 6c64: parent 6c63:1 rate 1Mbit burst 3028b lat 500ms",
}

// TestNetem puts impairments on the wires of a lab without machines, both directions of
// each at once, where the kernel has netem: tc tells what was set, measurements agree
// with it, what was changed by hand is mended, and nothing is left.
func TestNetem(t *testing.T) {
	plain(t)
	hosttest.Nested(t, hosttest.NestedHost{}, func(t *testing.T) {
		h, err := host.Connect("", host.DefaultDir)
		noError(t, err)
		defer h.Close()
		f, err := topology.Load("netem.yaml", []byte(netemLab), topology.Known{Recipes: []string{"debian-slim"}})
		noError(t, err)
		b, err := lab.Prepare(h, f, "netem.yaml")
		noError(t, err)
		b.Lab.Nodes = nil // frames are put in and looked for on the host
		stages := b.Resources()
		impairments := stages[len(stages)-1]
		for _, r := range slices.Concat(stages[:len(stages)-1]...) {
			noError(t, r.Create(t.Context()))
		}
		const looks = "tc qdisc show; ip link show"
		plain := sh(t, looks)
		for _, r := range impairments {
			isState(t, r, host.Absent)
			noError(t, r.Create(t.Context()))
			isState(t, r, host.Present)
		}
		tcAgrees(t, b)
		measuredAsSet(t, b)
		tcCounts(t, links(t, b)["impair/lossy/a->b"], 0.025, 0.075)
		for _, r := range impairments {
			changedByHand(t, r, links(t, b)[r.String()])
		}
		unknownToTheFile(t, b)
		tcAgrees(t, b)
		for _, r := range impairments {
			noError(t, r.Destroy(t.Context()))
			isState(t, r, host.Absent)
		}
		if d := cmp.Diff(plain, sh(t, looks)); d != "" {
			t.Errorf("the wires are not as before (-before +after)\n%s", d)
		}
	})
}

// links are the wires' ends at which directions are impaired.
func links(t *testing.T, b lab.Build) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, s := range b.Impairments(t.Context()) {
		all["impair/"+s.Network+"/"+s.Direction] = s.At
	}
	return all
}

// tcAgrees looks whether tc tells of each direction what was set.
func tcAgrees(t *testing.T, b lab.Build) {
	t.Helper()
	got := map[string]string{}
	for name, link := range links(t, b) {
		var qdiscs []string
		for line := range strings.Lines(sh(t, "tc qdisc show dev "+link)) {
			line = regexp.MustCompile(`^qdisc | dev \w+| refcnt \d+| flows .*| target .*| seed \d+|limit \d+ `).ReplaceAllString(line, "")
			qdiscs = append(qdiscs, strings.Join(strings.Fields(line), " "))
		}
		slices.SortFunc(qdiscs, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }) // as their handles do
		got[name] = strings.Join(qdiscs, "; ")
	}
	if d := cmp.Diff(byTC, got); d != "" {
		t.Errorf("by tc (-want +got)\n%s", d)
	}
}

// measuredAsSet measures every direction until each of its values is as it was set. A
// machine that waits for a processor only adds to what the kernel does: one calm moment
// will do.
func measuredAsSet(t *testing.T, b lab.Build) {
	t.Helper()
	const tries = 8
	asSet := map[string]bool{} // by direction and value
	for range tries {
		all, err := b.Calibrate(t.Context(), false, func(lab.Event) {})
		noError(t, err)
		again := map[string]bool{} // networks
		for _, c := range all {
			t.Logf("%s: set %s; measured %s", c.Network, c.Was, c)
			if c.Failed != "" || len(c.Verdict.Values) < 5 {
				t.Fatalf("%s: %s", c.Network, c)
			}
			for _, v := range c.Verdict.Values {
				name := c.Network + " " + c.Direction + " " + v.Name
				t.Logf("  %s: %.4g of %.4g, %.4g to %.4g ± %.4g, %s", v.Name, v.Measured, v.Set, v.Low, v.High, v.Tolerance, v.Result)
				asSet[name] = asSet[name] || v.Result == probe.OK
				again[c.Network] = again[c.Network] || !asSet[name]
			}
		}
		b.Lab.Networks = slices.DeleteFunc(slices.Clone(b.Lab.Networks), func(n topology.Network) bool { return !again[n.Name] })
	}
	for name, ok := range asSet {
		if !ok {
			t.Errorf("%s is not measured as it was set in %d tries", name, tries)
		}
	}
	if len(asSet) == 0 {
		t.Error("nothing was measured")
	}
}

// tcCounts looks whether tc has counted such a share of lost frames.
func tcCounts(t *testing.T, link string, least, most float64) {
	t.Helper()
	out := sh(t, "tc -s qdisc show dev "+link)
	found := regexp.MustCompile(`Sent \d+ bytes (\d+) pkt \(dropped (\d+),`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("tc says %s", out)
	}
	sent, _ := strconv.ParseFloat(found[1], 64)
	dropped, _ := strconv.ParseFloat(found[2], 64)
	t.Logf("tc has counted %.0f frames lost, and %.0f sent", dropped, sent)
	if share := dropped / (dropped + sent); !(share >= least && share <= most) {
		t.Errorf("tc has counted a loss of %.3f, want %.3f to %.3f", share, least, most)
	}
}

// changedByHand changes by tc what an impairment has made, in the ways that fit it: that is
// seen, removed and mended. What somebody else put there is no impairment, and is left.
func changedByHand(t *testing.T, r lab.Resource, link string) {
	t.Helper()
	tc := func(change string) { t.Helper(); sh(t, "tc qdisc "+strings.ReplaceAll(change, "LINK", link)) }
	for _, c := range []struct {
		of, change string
		is         host.State
	}{
		{"impair/late/a->b", "change dev LINK root handle 6c61: netem delay 10ms", host.Partial},
		{"impair/late/a->b", "change dev LINK root handle 6c61: netem delay 192ms 25ms 20%", host.Partial}, // labctl correlates nothing
		{"impair/all/a->b", "change dev LINK parent 6c61:1 handle 6c64: tbf rate 3mbit burst 3028b limit 262144", host.Partial},
		{"impair/all/a->b", "replace dev LINK parent 6c64:1 handle 7: pfifo", host.Partial},
		{"impair/lossy/a->b", "del dev LINK root", host.Absent},
	} {
		if c.of != r.String() {
			continue
		}
		tc(c.change)
		isState(t, r, c.is)
		noError(t, r.Destroy(t.Context()))
		isState(t, r, host.Absent)
		noError(t, r.Create(t.Context()))
		tc(c.change)
		noError(t, r.Create(t.Context()))
		isState(t, r, host.Present)
	}
	noError(t, r.Destroy(t.Context()))
	tc("add dev LINK root handle 7: netem delay 92ms")
	isState(t, r, host.Absent)
	if err := r.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "tc qdisc del dev "+link+" root") {
		t.Errorf("%s beside another's netem: %v", r, err)
	}
	noError(t, r.Destroy(t.Context()))
	tc("del dev LINK root handle 7: netem") // an error where it is gone
	noError(t, r.Create(t.Context()))
}

// unknownToTheFile has a direction of which the file says nothing do something that labctl
// never makes: that is found, and taken away.
func unknownToTheFile(t *testing.T, b lab.Build) {
	t.Helper()
	sh(t, "tc qdisc add dev "+links(t, b)["impair/plain/b->a"]+" root handle 6c60: netem delay 10ms 5ms 20%")
	for _, stage := range b.Resources() {
		for _, r := range stage {
			if r.String() == "impair/plain/b->a" {
				isState(t, r, host.Partial)
				noError(t, r.Create(t.Context()))
				return
			}
		}
	}
	t.Error("it is not found")
}

func isState(t *testing.T, r lab.Removable, want host.State) {
	t.Helper()
	if got, err := r.State(t.Context()); got != want || err != nil {
		t.Errorf("%s is %s, %v, want %s", r, got, err, want)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
