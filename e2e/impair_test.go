//go:build e2e

package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks/probe"
)

// impairedLab has a wire, whose rates the development host's kernel can keep, and a node
// between two sides, whose kernel can do all of it.
const impairedLab = `
name: shaped
image: debian-slim
networks:
  control: {}
  wire:
    sides: [a, b]
    impair:
      a->b: {rate: 5mbit}
      b->a: {rate: 20mbit, queue: 64KiB}
  far:
    sides: [a, b]
    under-test: node:mid
    impair:
      a->b: {delay: 40ms, jitter: 3ms, loss: 2%}
      b->a: {rate: 8mbit, delay: 60ms, aqm: fq_codel}
nodes:
  client: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: wire, side: a}, {network: far, side: a}]}
  server: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: wire, side: b}, {network: far, side: b}]}
  mid: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: far, side: a}, {network: far, side: b}]}
  tap: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {mirror: {from: client, network: wire}}]}
`

// TestImpaired brings up a lab whose networks under test do something to frames, has it
// measured, and changes it while it is up.
func TestImpaired(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "4GiB")
		isClean := clean(t)
		file := write(t, "lab.yaml", impairedLab)
		if out := must(t, "plan", file); !strings.Contains(out, "create   impair/wire/a->b") || !strings.Contains(out, "the mirror of client copies its frames before that") {
			t.Errorf("the plan is\n%s", out)
		}
		r := labctl(t, "up", file)
		r.check(t, 0, "create impair/far/b->a: done", "network wire: a->b: rate ")
		if !strings.Contains(r.out, "each seen exactly once") {
			t.Errorf("the lab was not proven before it was impaired: %s", r.out)
		}
		if strings.Contains(r.err, "does not do what it was set to") {
			calibrated(t)
		}
		for _, c := range []struct {
			name  string
			holds func(*testing.T)
		}{
			{"what was set was measured", setIsMeasured},
			{"nodes feel it", nodesFeelIt},
			{"a second up does nothing", func(t *testing.T) {
				r := labctl(t, "up", file)
				r.check(t, 0)
				if strings.Contains(r.err, "impair/") || !strings.Contains(r.out, "through the impaired network") {
					t.Errorf("it says %s, and did %s", r.out, r.err)
				}
			}},
			{"the mirror is still proven", func(t *testing.T) { impairedMirrorIsProven(t, file) }},
			{"nodes go back to before it, and are impaired again", resetIsImpaired},
			{"it is changed while the lab is up", func(t *testing.T) { impairmentChanges(t, file) }},
			{"what is off is told", offIsTold},
			{"it is cleared", impairmentsGo},
		} {
			t.Run(c.name, c.holds)
		}
		must(t, "down")
		isClean()
	})
}

// calibrated measures until each direction does what it was set to, and returns what was told then: an
// emulated node between the sides loses frames, really, while the machine is busy with something else.
func calibrated(t *testing.T) (told string) {
	t.Helper()
	inTime(t, 10*time.Minute, "each direction does what it was set to", func() bool {
		r := labctl(t, "verify", "--calibrate", "--timeout", "5m", "--json")
		told = r.out
		return r.code == 0
	})
	return told
}

// impairment is a direction as status tells it.
func impairment(t *testing.T, network, direction string) lab.ImpairmentStatus {
	t.Helper()
	all := status(t).Impairments
	i := slices.IndexFunc(all, func(s lab.ImpairmentStatus) bool { return s.Network == network && s.Direction == direction })
	if i < 0 {
		t.Fatalf("status has no %s of %s: %+v", direction, network, all)
	}
	return all[i]
}

// found is what was measured of a direction's value.
func found(t *testing.T, s lab.ImpairmentStatus, name string) probe.Value {
	t.Helper()
	if s.Measured == nil {
		t.Fatalf("%s of %s was not measured", s.Direction, s.Network)
	}
	vs := s.Measured.Verdict.Values
	i := slices.IndexFunc(vs, func(v probe.Value) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("%s of %s has no %s: %s", s.Direction, s.Network, name, s.Measured)
	}
	return vs[i]
}

// resetIsImpaired: what a node did is gone with its memory, and is what the file says.
func resetIsImpaired(t *testing.T) {
	must(t, "impair", "set", "--network", "far", "--from", "a", "--delay", "10ms")
	r := labctl(t, "reset")
	r.check(t, 0, "create impair/far/a->b: done", "create impair/far/b->a: done")
	for _, s := range status(t).Impairments {
		if !s.As {
			t.Errorf("%s of %s is %s, and not as the file says", s.Direction, s.Network, s.Now)
		}
	}
}

func setIsMeasured(t *testing.T) {
	for _, c := range []struct {
		network, direction, name string
		set                      float64
	}{
		{"wire", "a->b", "rate_mbit_per_s", 5},
		{"wire", "b->a", "rate_mbit_per_s", 20},
		{"far", "a->b", "delay_ms", 40},
		{"far", "a->b", "jitter_ms", 3},
		{"far", "a->b", "loss_percent", 2},
		{"far", "b->a", "delay_ms", 60},
		{"far", "b->a", "rate_mbit_per_s", 8},
	} {
		s := impairment(t, c.network, c.direction)
		if !s.As || s.Failed != "" || s.Limits == "" {
			t.Errorf("%+v", s)
		}
		v := found(t, s, c.name)
		t.Logf("%s %s %s: %.4g measured [%.4g, %.4g] of %g, %s", c.network, c.direction, c.name, v.Measured, v.Low, v.High, v.Set, v.Result)
		if v.Set != c.set || v.Result == probe.Off || v.Measured < 0.5*c.set || v.Measured > 2*c.set {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	if s := impairment(t, "wire", "b->a"); len(s.Mirrors) != 1 || s.Mirrors[0] != (lab.MirrorPlace{Node: "client", At: lab.PlaceAfter}) {
		t.Errorf("mirrors are %v", s.Mirrors)
	}
}

// nodesFeelIt: a round trip takes what both directions hold a frame for, and iperf3 gets no more through than they let.
func nodesFeelIt(t *testing.T) {
	listens(t, "server")
	defer in(t, "server", "pkill -x iperf3")
	rtt, err := strconv.ParseFloat(in(t, "client", `ping -q -c 12 -i 0.2 server.far | grep -o 'mdev = [0-9.]*' | cut -d' ' -f3`), 64)
	if err != nil || rtt < 85 || rtt > 1000 {
		t.Errorf("the shortest round trip took %g ms, and both directions 100, %v", rtt, err)
	}
	for direction, most := range map[string]float64{"": 1e6, "--reverse": 8.5} { // Mbit/s: the one loses packets, the other has a rate
		before := forwarded(t, "mid")
		got := in(t, "client", "iperf3 -c server.far -t 4 -f m "+direction)
		passed := forwarded(t, "mid") - before
		rate := regexp.MustCompile(`([0-9.]+) Mbits/sec +receiver`).FindStringSubmatch(got)
		if rate == nil || passed < 20 {
			t.Errorf("the node between forwarded %d packets of\n%s", passed, got)
			continue
		}
		if through, err := strconv.ParseFloat(rate[1], 64); err != nil || through == 0 || through > most {
			t.Errorf("iperf3 %s got %g Mbit/s through, %v:\n%s", direction, through, err, got)
		}
	}
	c := impairment(t, "wire", "a->b").Measured.Nodes
	if c == nil || c.Received <= 0 || c.Received > 5 {
		t.Errorf("iperf3 got through %+v", c)
	}
}

// impairedMirrorIsProven: a mirror that lacks a direction is found among losses, too.
func impairedMirrorIsProven(t *testing.T, file string) {
	client := status(t).Nodes[0].NICs[1].Link
	sh(t, "tc filter del dev "+client+" egress")
	fails(t, 1, []string{"tap's NIC 2 (copy of client's on wire) saw frame", "0 times, and client's NIC 2"}, "verify")
	must(t, "up", file)
}

func impairmentChanges(t *testing.T, file string) {
	fails(t, 1, []string{"several networks under test"}, "impair", "set", "--from", "a", "--rate", "2mbit")
	fails(t, 1, []string{"rate is 2Mbps: expected bits a second"}, "impair", "set", "--network", "wire", "--from", "a", "--rate", "2Mbps")
	out := must(t, "impair", "set", "--network", "wire", "--from", "a", "--rate", "2mbit", "--queue", "32KiB")
	if out != "rate 2mbit, queue 32.0KiB fifo\n" {
		t.Errorf("it says %q", out)
	}
	s := impairment(t, "wire", "a->b")
	if s.As || s.Now != "rate 2mbit, queue 32.0KiB fifo" || !strings.HasPrefix(s.File, "rate 5mbit, ") || s.Measured != nil || status(t).State != lab.Whole {
		t.Errorf("%+v", s)
	}
	var all struct{ Directions []lab.Calibration }
	if err := json.Unmarshal([]byte(calibrated(t)), &all); err != nil || len(all.Directions) != 4 {
		t.Fatalf("%d directions, %v", len(all.Directions), err)
	}
	if v := found(t, impairment(t, "wire", "a->b"), "rate_mbit_per_s"); v.Set != 2 || v.Result != probe.OK {
		t.Errorf("%+v", v)
	}
	if out := must(t, "impair", "show"); !strings.Contains(out, "the lab's file says rate 5mbit") || !strings.Contains(out, "node mid") {
		t.Errorf("it shows\n%s", out)
	}
	must(t, "impair", "set", "--network", "far", "--from", "b", "--profile", "transcontinental-up", "--delay", "10ms")
	if s := impairment(t, "far", "b->a"); !strings.HasPrefix(s.Now, "rate 50mbit, delay 10ms, loss 0.025%") {
		t.Errorf("%+v", s)
	}
	if out := must(t, "plan", file); !strings.Contains(out, "complete impair/wire/a->b\ncomplete impair/far/b->a") {
		t.Errorf("the plan is\n%s", out)
	}
	must(t, "up", file)
	for _, s := range status(t).Impairments {
		if !s.As || s.Measured == nil {
			t.Errorf("%+v", s)
		}
	}
}

// offIsTold takes a quarter of the measurement's frames away beside what was set.
func offIsTold(t *testing.T) {
	link := impairment(t, "wire", "a->b").At
	sh(t, "tc qdisc add dev "+link+" clsact; tc filter add dev "+link+" egress protocol 0x88b5 prio 7 u32 match u8 0 3 at 7 action mirred egress redirect dev lo")
	r := labctl(t, "verify", "--calibrate")
	r.check(t, 1, "network wire does not do what it was set to: a->b: ")
	if !strings.Contains(r.out, "(off)") || !strings.Contains(must(t, "status"), "(off)") {
		t.Errorf("it says %s", r.out)
	}
	sh(t, "tc qdisc del dev "+link+" clsact")
}

func impairmentsGo(t *testing.T) {
	must(t, "impair", "clear", "--network", "wire", "--from", "a")
	if a, b := impairment(t, "wire", "a->b"), impairment(t, "wire", "b->a"); a.Now != "none" || !b.As {
		t.Errorf("%+v, %+v", a, b)
	}
	must(t, "impair", "clear")
	for _, s := range status(t).Impairments {
		if s.Now != "none" || s.Measured != nil {
			t.Errorf("%+v", s)
		}
	}
	if out := must(t, "verify"); !strings.Contains(out, "each seen exactly once") {
		t.Errorf("verify says %s", out)
	}
}

// TestImpairmentThatTheKernelLacks: it is refused by name before anything is made, where the kernel lacks it.
func TestImpairmentThatTheKernelLacks(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		file := write(t, "lab.yaml", strings.Replace(impairedLab, "b->a: {rate: 20mbit, queue: 64KiB}", "b->a: {delay: 20ms}", 1))
		if trySh(t, "ip link add probe type veth; made=0; tc qdisc add dev probe root netem delay 1ms || made=1; ip link del probe; exit $made") {
			must(t, "plan", file)
			return
		}
		fails(t, 4, []string{"the kernel gives no netem", "modprobe sch_netem"}, "plan", file)
		fails(t, 4, []string{"the kernel gives no netem", "modprobe sch_netem"}, "up", file)
		isClean()
	})
}
