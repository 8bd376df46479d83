//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// TestDefaultLab is the main job: the built-in lab comes up on a bare host, is
// what it promises to be, and goes away without a trace.
func TestDefaultLab(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "10GiB") // as it is by itself
		witness(t)
		anotherHost(t)
		untouched := hosttest.Foreign(t)
		isClean := clean(t)

		up := labctl(t, "up")
		up.check(t, 0, "lab trafic, from built-in lab", "no KVM")
		if t.Failed() {
			t.FailNow()
		}
		hosttest.ShareSnapshot(t, "trafic")
		for _, c := range []struct {
			name  string
			holds func(*testing.T)
		}{
			{"status tells all", statusTellsAll},
			{"it is drawn and watched", drawnAndWatched},
			{"names resolve", namesResolve},
			{"disks are filled", disksAreFilled},
			{"only what is wanted runs", onlyWhatIsWantedRuns},
			{"the root user's shell is set up", rootsShell},
			{"every way to a node works", everyWayToANode},
			{"flows take the test network", flowsTakeTheTestNetwork},
			{"each frame is captured once", eachFrameIsCapturedOnce},
			{"InfluxDB answers", influxAnswers},
			{"only published ports are open", onlyPublishedPortsAreOpen},
			{"nothing falls back to the control network", nothingFallsBack},
			{"ARP is answered where the address is", arpIsAnsweredInPlace},
			{"a second up does nothing", secondUpDoesNothing},
			{"a lost node is made again", lostNodeIsMadeAgain},
			{"a changed file is refused", changedFileIsRefused},
			{"no node speaks to the outside", noNodeSpeaksToTheOutside},
		} {
			t.Run(c.name, c.holds)
		}
		if d := untouched(); d != "" {
			t.Errorf("what is no lab's was touched:\n%s", d)
		}
		down := must(t, "down")
		if !strings.Contains(down, "none left") {
			t.Errorf("down says %q", down)
		}
		if d := untouched(); d != "" {
			t.Errorf("what is no lab's was touched:\n%s", d)
		}
		isClean()
		if out := must(t, "down", "trafic"); !strings.Contains(out, "nothing to do") {
			t.Errorf("a second down says %q", out)
		}
		if out := must(t, "down"); !strings.Contains(out, "nothing to do") {
			t.Errorf("down with no lab says %q", out)
		}
	})
}

var nodes = []string{"iperf-client", "iperf-server", "tshark", "influxdb"}

func statusTellsAll(t *testing.T) {
	var s lab.Status
	eventually(t, "each node is ready", func() bool { // which a busy one cannot always show in the seconds that it is given
		s = status(t)
		return !slices.ContainsFunc(s.Nodes, func(n lab.NodeStatus) bool { return !n.Ready })
	})
	if s.Name != "trafic" || s.State != lab.Whole || len(s.Strays) != 0 {
		t.Errorf("status is %s of %s, strays %v", s.State, s.Name, s.Strays)
	}
	var names []string
	for _, n := range s.Nodes {
		names = append(names, n.Name)
		if n.State != "present" || !n.Ready || n.Image != "debian" || n.Accelerator != "tcg" {
			t.Errorf("node %+v", n)
		}
		if got := sh(t, "virsh -c qemu:///system domstate "+n.Domain); got != "running" {
			t.Errorf("libvirt says %s of %s", got, n.Domain)
		}
		for _, c := range n.NICs {
			if !strings.Contains(sh(t, "ip -o link show dev "+c.Link), "UP") {
				t.Errorf("%s's link %s is not up", n.Name, c.Link)
			}
			if c.Mirror == "" {
				if p, err := netip.ParsePrefix(c.Address); err != nil || p.Bits() != 24 {
					t.Errorf("%s has address %q", n.Name, c.Address)
				}
			}
		}
	}
	if got, want := fmt.Sprint(names), fmt.Sprint(nodes); got != want {
		t.Errorf("nodes are %s, want %s", got, want)
	}
	if c := s.Nodes[0].NICs; len(c) != 2 || c[1].Network != "test" || c[1].Side != "client" || c[1].Kind != "virtio" || c[1].Address != "10.7.2.40/24" {
		t.Errorf("iperf-client's NICs are %+v", c)
	}
	if len(s.Networks) != 2 || len(s.Networks[1].Segments) != 2 {
		t.Errorf("networks are %+v", s.Networks)
	}
	if len(s.Mirror) != 1 || s.Mirror[0].From != "iperf-client" || s.Mirror[0].To != "tshark" || s.Mirror[0].State != "present" {
		t.Errorf("mirror is %+v", s.Mirror)
	}
	p := s.Provenance
	if len(p.Images["debian"].Disk) != 64 || p.Libvirt == "" || p.QEMU == "" || p.HostKernel == "" || p.Labctl == "" || p.Accelerator != "tcg" {
		t.Errorf("provenance is %+v", p)
	}
	if out := must(t, "list"); !strings.Contains(out, "trafic") || !strings.Contains(out, "whole") {
		t.Errorf("list says %q", out)
	}
}

// drawnAndWatched: a drawing has what is up and what passed there, and so has a watch until Ctrl-C.
func drawnAndWatched(t *testing.T) {
	var drawn string
	eventually(t, "iperf-client is drawn as ready", func() bool { // as in statusTellsAll
		drawn = must(t, "graph", "--live")
		return strings.Contains(drawn, "iperf-client (ready)")
	})
	for _, want := range []string{"lab trafic is whole", "iperf-client (ready)", "link up, "} {
		if !strings.Contains(drawn, want) {
			t.Errorf("the drawing has no %q", want)
		}
	}
	copied := regexp.MustCompile(`[1-9]\d* frames copied, \d+ dropped`) // some are, before the capturing node takes any
	if !copied.MatchString(drawn) {
		t.Errorf("the drawing has no %q", copied)
	}
	cmd := command(t, "status", "--watch", "--json")
	out := watched{each: func(s string) bool {
		twice := strings.Count(s, "\n") > 1
		if twice {
			_ = cmd.Process.Signal(os.Interrupt)
		}
		return twice
	}}
	cmd.Stdout = &out
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("a watch that was interrupted: %v", err)
	}
	var s lab.Status
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.State != lab.Whole {
			t.Errorf("%v of %s", err, line)
		}
	}
	if c := s.Nodes[0].NICs[1].Traffic; c == nil || c.Sent.Frames == 0 || c.Received.Frames == 0 {
		t.Errorf("after a proof, what passed iperf-client's NIC is %+v", c)
	}
}

// namesResolve holds every node to SPEC's table of names.
func namesResolve(t *testing.T) {
	control := map[string]string{"iperf-client": "10.7.1.40", "iperf-server": "10.7.1.41", "tshark": "10.7.1.42", "influxdb": "10.7.1.43"}
	test := map[string]string{"iperf-client": "10.7.2.40", "iperf-server": "10.7.2.41"}
	for _, on := range nodes {
		want := map[string]string{"localhost": "127.0.0.1"}
		for _, n := range nodes {
			want[n] = control[n]
			if test[on] != "" && test[n] != "" {
				want[n] = test[n]
			}
			if n == on {
				want[n] = "127.0.1.1"
			}
			want[n+".control"] = control[n]
			if test[n] != "" {
				want[n+".test"] = test[n]
			}
		}
		script := ""
		for name := range want {
			script += fmt.Sprintf("echo %s $(getent ahostsv4 %s)\n", name, name)
		}
		for line := range strings.Lines(in(t, on, script)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[1] != want[f[0]] {
				t.Errorf("on %s: %q, want %s", on, strings.TrimSpace(line), want[f[0]])
			}
		}
		if got := in(t, on, "hostname; cat /etc/hostname"); got != on+"\n"+on {
			t.Errorf("%s calls itself %q", on, got)
		}
	}
}

func disksAreFilled(t *testing.T) {
	for node, gib := range map[string]int{"iperf-client": 5, "tshark": 10} {
		var kib int
		if _, err := fmt.Sscan(in(t, node, "df -k --output=size / | tail -1"), &kib); err != nil {
			t.Fatal(err)
		}
		if share := float64(kib) / float64(gib<<20); share < 0.93 || share > 1 {
			t.Errorf("%s's file system has %d KiB of %d GiB: %.2f of it", node, kib, gib, share)
		}
	}
}

// onlyWhatIsWantedRuns looks at what listens and what timers there are.
func onlyWhatIsWantedRuns(t *testing.T) {
	for _, n := range nodes {
		listening := in(t, n, "ss -Hltun | awk '{print $5}'")
		if strings.Contains(listening, ":5201") {
			t.Errorf("an iperf3 server listens on %s:\n%s", n, listening)
		}
		if got, want := strings.Contains(listening, ":8086"), n == "influxdb"; got != want {
			t.Errorf("InfluxDB listens on %s: %v\n%s", n, got, listening)
		}
		if !strings.Contains(listening, ":22") {
			t.Errorf("sshd does not listen on %s:\n%s", n, listening)
		}
		if got := in(t, n, "systemctl list-timers --all --no-legend --plain"); strings.Contains(got, "apt") {
			t.Errorf("%s has package timers: %s", n, got)
		}
		if got := in(t, n, "systemctl is-system-running; systemctl --failed --no-legend --plain"); got != "running" {
			t.Errorf("%s is %s", n, got)
		}
		if got := in(t, n, "getent shadow root | cut -d: -f2"); !strings.HasPrefix(got, "*") && !strings.HasPrefix(got, "!") {
			t.Errorf("root has a password on %s: %q", n, got)
		}
	}
}

func rootsShell(t *testing.T) {
	if got := in(t, "iperf-client", "getent passwd root | cut -d: -f7"); got != "/bin/bash" {
		t.Errorf("root's shell is %s", got)
	}
	got := strings.Fields(mustReach(t, "ssh", "iperf-client", "--",
		`bash -lc 'echo $GOOS $GOARCH $CGO_ENABLED; go version; ls -d $(go env GOPATH)/bin $(go env GOPATH)/src; git --version; make --version | head -1; case $PATH in $(go env GOPATH)/bin:*) echo path-is-set;; esac'`))
	for _, want := range []string{"linux", "amd64", "0", "/root/go/bin", "/root/go/src", "git", "Make", "path-is-set"} {
		if !contains(got, want) {
			t.Errorf("root's login shell lacks %q: %v", want, got)
		}
	}
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
