//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// example is the path of a lab file in examples/.
func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExampleRouter brings the lab with a router up, measures through it, and loses the
// router once.
func TestExampleRouter(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		file := example(t, "router.yaml")
		up := upShared(t, "router", file).out
		if !strings.Contains(up, "joined by node router") || !strings.Contains(up, "copy of router on test/server") {
			t.Errorf("up says\n%s", up)
		}
		before := numbers(t, "router")
		must(t, "up", file)
		if after := numbers(t, "router"); after != before {
			t.Errorf("a second up restarts machines:\n%s\nbefore\n%s", after, before)
		}
		t.Run("traffic", func(t *testing.T) {
			goesThrough(t, "client", "server", 63, "router")
			goesThrough(t, "server", "client", 63, "router")
			measuredByName(t, "client", "server", "router")
		})
		t.Run("ssh", func(t *testing.T) {
			got := untilIn(t, "tshark", "set -e; for n in client router.control server; do ssh -o BatchMode=yes $n hostname; done")
			if got != "client\nrouter\nserver" {
				t.Errorf("from tshark: %q", got)
			}
		})
		t.Run("run", runThroughRouter)
		t.Run("the router is lost", func(t *testing.T) {
			sh(t, "virsh -c qemu:///system -q destroy labctl.router.router")
			if s := status(t); s.State != lab.Part {
				t.Errorf("without its router the lab is %s", s.State)
			}
			must(t, "up", file)
			goesThrough(t, "client", "server", 63, "router")
			if was, is := without(before, "labctl.router.router"), without(numbers(t, "router"), "labctl.router.router"); was != is {
				t.Errorf("others were restarted:\n%s\nbefore\n%s", is, was)
			}
		})
		must(t, "down")
		isClean()
	})
}

// runThroughRouter runs flows without naming their ends, and compares what was counted
// at the router with what was captured.
func runThroughRouter(t *testing.T) {
	r := steadyRun(t, "--expect", example(t, "ci/expect.yaml"), example(t, "ci/flows"))
	m := r.Manifest
	if m.Client != "client" || m.Server != "server" || len(m.Captures) != 1 {
		t.Fatalf("from %s to %s, captures %+v", m.Client, m.Server, m.Captures)
	}
	c, bytes := m.Captures[0], uint64(0)
	for _, s := range r.Results {
		bytes += uint64(s.Received)
	}
	if c.Of != "router" || c.Missing() != 0 || c.Written.Bytes < bytes || c.AtNIC.Bytes < bytes || c.AtNIC.Bytes > 2*c.Written.Bytes {
		t.Errorf("%d bytes were received, and the capture is %+v", bytes, c)
	}
	report, err := os.ReadFile(filepath.Join(r.Dir, flows.ReportFile))
	if err != nil || !strings.Contains(string(report), "Between the sides of test: node router") {
		t.Errorf("the report does not name the router: %v", err)
	}
}

// TestExampleDumbbell brings the lab of two pairs up: each has its way through the wire,
// also at the same time.
func TestExampleDumbbell(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		if up := must(t, "up", example(t, "dumbbell.yaml")); !strings.Contains(up, "20 marked frames in 4 directions") {
			t.Errorf("up says\n%s", up)
		}
		for client, server := range map[string]string{"client1": "server1", "client2": "server2"} {
			goesThrough(t, client, server, 64)
			listens(t, server)
		}
		got := in(t, "client1", "iperf3 -c server1 -t 3 -b 1M & iperf3 -c server2 -t 3 -b 1M && wait $! && echo both") // also crosswise
		if !strings.HasSuffix(got, "both") {
			t.Errorf("two flows at once:\n%s", got)
		}
		measuredByName(t, "client2", "server2")
		must(t, "down")
		isClean()
	})
}

// TestExampleChain brings the lab of three hops up: it is three hops by who forwards,
// and carries traffic from end to end.
func TestExampleChain(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		if up := must(t, "up", example(t, "chain.yaml")); !strings.Contains(up, "40 marked frames in 8 directions") {
			t.Errorf("up says\n%s", up)
		}
		goesThrough(t, "client", "server", 62, "hop1", "hop2")
		goesThrough(t, "server", "client", 62, "hop2", "hop1")
		measuredByName(t, "client", "server", "hop1", "hop2")
		if got := in(t, "client", "ip route get $(getent ahostsv4 server | { read -r a _; echo $a; })"); !strings.Contains(got, "mtu 1400") {
			t.Errorf("client has not learnt how narrow the way is: %s", got)
		}
		must(t, "down")
		isClean()
	})
}

// TestExampleCI types what a CI job types.
func TestExampleCI(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		path, results := t.TempDir(), t.TempDir()
		if err := os.Symlink(os.Getenv(binary), filepath.Join(path, "labctl")); err != nil {
			t.Fatal(err)
		}
		t.Log(sh(t, "PATH="+path+":$PATH ../examples/ci/run "+results+" 2>&1"))
		for _, name := range []string{"direct", "routed"} {
			text, err := os.ReadFile(filepath.Join(results, name+".xml"))
			cases, _, found := strings.Cut(string(text), `classname="run"`) // behind it stands what a busy machine's clocks are blamed for
			if err != nil || !found || strings.Contains(cases, "<failure") {
				t.Errorf("JUnit's file of %s is %s, %v", name, text, err)
			}
		}
		if report, err := os.ReadFile(filepath.Join(results, "report.html")); err != nil || !strings.Contains(string(report), "Between the sides of test: node router") {
			t.Errorf("the report has not both labs: %v", err)
		}
		if left := must(t, "list"); left != "" {
			t.Errorf("left are %s", left)
		}
		isClean()
	})
}

// numbers are a lab's machines with libvirt's numbers, which change when one restarts.
func numbers(t *testing.T, name string) string {
	t.Helper()
	return sh(t, "virsh -c qemu:///system -q list | while read -r id name _; do case $name in labctl."+name+".*) echo $name $id ;; esac; done | sort")
}

// without leaves the line out that begins with a word.
func without(lines, word string) string {
	var kept []string
	for line := range strings.Lines(lines) {
		if !strings.HasPrefix(line, word+" ") {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return strings.Join(kept, "\n")
}

// goesThrough looks that a node reaches another by its name with that much of a packet's
// life left, and that those in between are who says so where it is too short.
func goesThrough(t *testing.T, from, to string, ttl int, by ...string) {
	t.Helper()
	if got := untilIn(t, from, "ping -c 1 -W 20 "+to); !strings.Contains(got, fmt.Sprintf(" ttl=%d ", ttl)) {
		t.Errorf("%s pings %s:\n%s", from, to, got)
	}
	for i, hop := range by {
		var got string
		eventually(t, fmt.Sprintf("a packet of %s's ends before %s, after %d nodes", from, to, i), func() bool {
			got = in(t, from, fmt.Sprintf("ping -c 1 -W 20 -t %d %s || :", i+1, to))
			return strings.Contains(got, "Time to live exceeded")
		})
		if !strings.Contains(got, "From "+hop) {
			t.Errorf("%s pings %s over %d nodes, and it does not end at %s:\n%s", from, to, i, hop, got)
		}
	}
}

// stopServing ends a node's iperf3, and waits until it has ended.
const stopServing = "pkill -x iperf3; while pgrep -x iperf3 >/dev/null; do sleep 0.1; done"

// listens has a node serve iperf3.
func listens(t *testing.T, node string) {
	t.Helper()
	in(t, node, stopServing+"; iperf3 -s -D")
	eventually(t, node+" listens", func() bool { return in(t, node, "ss -Hltn 'sport = :5201'") != "" })
}

// measuredByName measures from one node to another in both directions, by name, and
// looks that those in between have forwarded it.
func measuredByName(t *testing.T, client, server string, by ...string) {
	t.Helper()
	listens(t, server)
	defer in(t, server, stopServing)
	before := make([]int, len(by))
	for i, hop := range by {
		before[i] = forwarded(t, hop)
	}
	for _, direction := range []string{"", "-R"} {
		in(t, client, "iperf3 -c "+server+" -n 2M -b 4M "+direction) // bytes, and not seconds, of which a node may miss some
	}
	const least = 2 * (2 << 20) / 1500 * 0.8 // packets, without acknowledgements
	for i, hop := range by {
		if n := forwarded(t, hop) - before[i]; float64(n) < least {
			t.Errorf("%s has forwarded %d packets, fewer than %.0f", hop, n, least)
		}
	}
}

// forwarded is how many packets a node has passed on.
func forwarded(t *testing.T, node string) int {
	t.Helper()
	n, err := strconv.Atoi(in(t, node, `while read -r kind a b c d e n _; do case $kind$a in Ip:[0-9]*) echo $n ;; esac; done </proc/net/snmp`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
