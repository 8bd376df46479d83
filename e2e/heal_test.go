//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// runs are libvirt's numbers of the running domains: a restarted one has another.
func runs(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, n := range nodes {
		ids[n] = sh(t, "virsh -c qemu:///system domid labctl.trafic."+n)
	}
	return ids
}

func secondUpDoesNothing(t *testing.T) {
	before := runs(t)
	if out := must(t, "plan"); !strings.Contains(out, "nothing to do") {
		t.Errorf("plan of a running lab says %q", out)
	}
	r := labctl(t, "up")
	r.check(t, 0)
	for _, verb := range []string{"create ", "complete ", "remove "} {
		if strings.Contains(r.err, verb) {
			t.Errorf("up on a running lab did %q", verb)
		}
	}
	if after := runs(t); !maps.Equal(before, after) {
		t.Errorf("machines were restarted: %v, then %v", before, after)
	}
}

// TestVerify has the built-in lab lie, and verify see it.
func TestVerify(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t) // as in TestDefaultLab, whose snapshot it is: a host's addresses are in its lab's certificates
		isClean := clean(t)
		upShared(t, "trafic")
		verifySeesWhatIsWrong(t)
		must(t, "down")
		isClean()
	})
}

// TestDefaultLabRebooted reboots nodes of the built-in lab, and proves it with what proofs need in nodes there, or not.
func TestDefaultLabRebooted(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t) // which asks InfluxDB too
		isClean := clean(t)
		must(t, "up")
		t.Run("captures may listen before", capturesMayListenBefore)
		t.Run("workers of proofs end", workersOfProofsEnd)
		t.Run("a rebooted node comes back", rebootedNodeComesBack)
		must(t, "down")
		isClean()
	})
}

// verifySeesWhatIsWrong makes the lab lie in every way the proof is there for.
func verifySeesWhatIsWrong(t *testing.T) {
	s := status(t)
	from, to := s.Nodes[0].NICs[1].Link, s.Nodes[2].NICs[1].Link
	must(t, "verify")

	t.Run("a frame that is not copied", func(t *testing.T) {
		sh(t, "tc filter del dev "+from+" ingress")
		fails(t, 1, []string{"tshark", "0 times instead of once"}, "verify")
		if got := status(t).State; got != lab.Part {
			t.Errorf("status is %s", got)
		}
		if out := must(t, "plan"); strings.TrimSpace(out) == "" || !strings.Contains(out, "complete mirror/iperf-client") {
			t.Errorf("plan says %q", out)
		}
		must(t, "up")
		must(t, "verify")
	})
	t.Run("a frame that is copied twice", func(t *testing.T) {
		sh(t, "tc filter add dev "+from+" egress protocol all prio 9 u32 match u32 0 0 action mirred egress mirror dev "+to+" continue")
		fails(t, 1, []string{"tshark", "2 times instead of once"}, "verify")
		sh(t, "tc filter del dev "+from+" egress prio 9")
		must(t, "verify")
	})
	t.Run("a frame that takes the control network", func(t *testing.T) {
		in(t, "iperf-client", "ip route add 10.7.2.41/32 via 10.7.1.41 src 10.7.2.40")
		fails(t, 1, []string{"iperf-client's NIC 1 (control)", "does not belong there"}, "verify")
		in(t, "iperf-client", "ip route del 10.7.2.41/32")
		must(t, "verify")
	})
	t.Run("a wire that is cut", func(t *testing.T) {
		sh(t, "ip link del $(ip -br link show type veth | grep -o '^lcw[0-9a-f]*' | head -1)")
		fails(t, 1, []string{"0 times instead of once"}, "verify")
		r := labctl(t, "up")
		r.check(t, 0, "create wire/test")
	})
	t.Run("a hosts file that was changed", func(t *testing.T) {
		in(t, "iperf-client", "cp /etc/hosts /root/hosts; sed -i s/10.7.2.41/10.7.1.41/ /etc/hosts")
		fails(t, 1, []string{"iperf-client", "hosts file is not the one that was written"}, "up")
		in(t, "iperf-client", "cat /root/hosts >/etc/hosts")
		must(t, "up")
	})
}

func lostNodeIsMadeAgain(t *testing.T) {
	before := runs(t)
	sh(t, "virsh -c qemu:///system destroy labctl.trafic.iperf-client")
	r := labctl(t, "status")
	r.check(t, 1)
	if !strings.Contains(r.out, "lab trafic is partial") {
		t.Errorf("status says %q", r.out)
	}
	plan := must(t, "plan")
	for _, step := range []string{"complete machine/iperf-client", "create   mirror/iperf-client"} {
		if !strings.Contains(plan, step) {
			t.Errorf("plan lacks %q:\n%s", step, plan)
		}
	}
	if steps := strings.Count(plan, "\n") - 3; steps != 2 { // the lab before them, its mirror and how nodes start after
		t.Errorf("the plan has %d steps:\n%s", steps, plan)
	}
	must(t, "up")
	after := runs(t)
	for _, n := range nodes {
		if (before[n] != after[n]) != (n == "iperf-client") {
			t.Errorf("%s was run %s and is run %s", n, before[n], after[n])
		}
	}
}

func rebootedNodeComesBack(t *testing.T) {
	before := in(t, "iperf-client", bootID)
	labctl(t, "exec", "iperf-client", "--", "systemctl", "reboot")
	eventually(t, "status sees that iperf-client is not ready", func() bool { return !status(t).Nodes[0].Ready })
	eventually(t, "iperf-client has rebooted", func() bool {
		r := labctl(t, "exec", "iperf-client", "--", "sh", "-c", bootID+"; systemctl is-system-running --wait")
		id, state, _ := strings.Cut(r.out, "\n")
		return id != "" && id != before && strings.TrimSpace(state) == "running"
	})
	if out := must(t, "plan"); !strings.Contains(out, "nothing to do") {
		t.Errorf("after a reboot the plan is %q", out)
	}
	must(t, "up")
	namesResolve(t)
	in(t, "influxdb", "rm -f /run/before; touch /run/before")
	labctl(t, "exec", "influxdb", "--", "systemctl", "reboot")
	eventually(t, "influxdb has rebooted", func() bool {
		r := labctl(t, "exec", "influxdb", "--", "sh", "-c", "[ ! -e /run/before ] && systemctl is-system-running --wait")
		return strings.TrimSpace(r.out) == "running"
	})
	must(t, "up")
	influxAnswers(t)
	flowsTakeTheTestNetwork(t)
}

func changedFileIsRefused(t *testing.T) {
	file := t.TempDir() + "/lab.yaml"
	must(t, "init", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := runs(t)
	changed := write(t, "changed.yaml", strings.Replace(string(text), "memory: 512MiB", "memory: 1GiB", 1))
	fails(t, 1, []string{"nodes.iperf-client.memory", "512", "--replace"}, "up", changed)
	commented := write(t, "commented.yaml", string(text)+"# a remark\n")
	if out := must(t, "plan", commented); !strings.Contains(out, "nothing to do") {
		t.Errorf("a remark makes the plan %q", out)
	}
	if after := runs(t); !maps.Equal(before, after) {
		t.Errorf("machines were restarted: %v, then %v", before, after)
	}
}

// nothingFallsBack takes the client's test link down: its flows must fail then.
func nothingFallsBack(t *testing.T) {
	mac := status(t).Nodes[0].NICs[1].MAC
	link := in(t, "iperf-client", "basename $(dirname $(grep -l "+mac+" /sys/class/net/*/address))")
	answers := func() bool {
		r := labctl(t, "exec", "iperf-client", "--", "ping", "-c1", "-W20", "iperf-server")
		return r.code == 0 && strings.Contains(r.out, " 0% packet loss")
	}
	eventually(t, "iperf-server answers iperf-client", answers)
	in(t, "iperf-client", "ip link set "+link+" down")
	if labctl(t, "exec", "iperf-client", "--", "ping", "-c1", "-W5", "iperf-server").code == 0 {
		t.Error("with the test link down iperf-server answers all the same")
	}
	if out := in(t, "iperf-client", "ip route get 10.7.2.41 2>&1 || true"); strings.Contains(out, "dev") {
		t.Errorf("with the test link down there is a way to iperf-server: %s", out)
	}
	in(t, "iperf-client", "ip link set "+link+" up")
	eventually(t, "the link is back", answers)
}

// arpIsAnsweredInPlace asks on the control network for an address on the test network.
func arpIsAnsweredInPlace(t *testing.T) {
	bridge := status(t).Networks[0].Segments[0].Bridge
	const reached = "timeout 10 bash -c '</dev/tcp/%s/22'"
	sh(t, "ip route add 10.7.2.40/32 dev "+bridge)
	if trySh(t, fmt.Sprintf(reached, "10.7.2.40")) {
		t.Error("iperf-client answers on the control network for its test address")
	}
	if got := sh(t, "ip neigh show 10.7.2.40 dev "+bridge); strings.Contains(got, "lladdr") {
		t.Errorf("iperf-client answers ARP on the control network for its test address: %s", got)
	}
	eventually(t, "iperf-client answers at its control address", func() bool { return trySh(t, fmt.Sprintf(reached, "10.7.1.40")) })
	sh(t, "ip route del 10.7.2.40/32 dev "+bridge)
}
