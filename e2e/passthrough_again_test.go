//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// took runs labctl and tells how long it took.
func took(t *testing.T, args ...string) {
	t.Helper()
	start := time.Now()
	must(t, args...)
	t.Logf("labctl %s took %.1f s", args[0], time.Since(start).Seconds())
}

// unplug takes the NIC of the host from a node, as a labctl does that is killed before it saves it.
func unplug(t *testing.T, node string) {
	t.Helper()
	sh(t, `d=labctl.passing.`+node+`
		`+virsh+`dumpxml $d | sed -n "/<hostdev\|<interface type='hostdev'/,/<.hostdev>\|<.interface>/p" > /tmp/device.xml
		`+virsh+`detach-device $d /tmp/device.xml --live
		for ((i = 0; i < 600; i++)); do
			`+virsh+`dumpxml $d | grep -q hostdev || exit 0
			sleep 0.1
		done
		exit 1`)
}

// passingAgain is that lab when it was ready.
type passingAgain struct {
	*testing.T
	boots map[string]string // of its nodes
}

// boot is which boot of a node this is.
func (p passingAgain) boot(node string) string {
	p.Helper()
	return in(p.T, node, bootID)
}

// dirty leaves something on the disk and in the memory of both nodes, and other settings on their NICs.
func (p passingAgain) dirty() {
	p.Helper()
	for node := range p.boots {
		in(p.T, node, "echo dirt > /root/dirt; echo dirt > /run/dirt; sync")
	}
	in(p.T, "client", "ip link set "+p.link("client")+" mtu 1400")
}

// link is the name of a node's link that is a NIC of the host.
func (p passingAgain) link(node string) string {
	p.Helper()
	return in(p.T, node, "ip -o address show to "+testAddress(p.T, node)+" | cut -d' ' -f2")
}

// isWhole looks that nodes are as they were when they were ready, each with its NIC; those
// (none: all) were started last.
func (p passingAgain) isWhole(how, nodes string) {
	p.Helper()
	s := status(p.T)
	if s.State != lab.Whole || s.Provenance.Start == nil || s.Provenance.Start.How != how || s.Provenance.Start.Nodes != nodes {
		p.Errorf("the lab is %s, started %+v, want %s %s", s.State, s.Provenance.Start, how, nodes)
	}
	for node, boot := range p.boots {
		if now := p.boot(node); now != boot {
			p.Errorf("node %s has booted", node)
		}
		if left := in(p.T, node, "ls /root/dirt /run/dirt 2>/dev/null; true"); left != "" {
			p.Errorf("on node %s there is still %s", node, left)
		}
	}
	for node, driver := range map[string]string{"client": "e1000e", "server": "igbvf"} {
		look := strings.ReplaceAll(`basename $(readlink /sys/class/net/LINK/device/driver); cat /sys/class/net/LINK/mtu
			ethtool -k LINK | grep -E "^(generic-receive|tcp-segmentation)-offload: on"; true`, "LINK", p.link(node))
		if got := in(p.T, node, look); got != driver+"\n1500" {
			p.Errorf("the NIC of node %s has driver, MTU and offloads %q", node, got)
		}
	}
	trafficPasses(p.T)
}

// TestPassthroughAgain: nodes with NICs of the host go back to the moment when they were ready, and
// come up from what was kept, with the NICs that they had; one that no machine has meanwhile is given
// back as it was.
func TestPassthroughAgain(t *testing.T) {
	plain(t)
	hosttest.Nested(t, hosttest.NestedHost{Images: true}, func(t *testing.T) {
		t.Setenv(stateLimit, "1GiB")
		ready(t)
		sh(t, "ip link set nic1 mtu 1400 up; ip link set nic2 mtu 1450 up; ip address add 192.0.2.7/24 dev nic1; ip address add 2001:db8::7/64 dev nic1")
		isClean := becomesClean(t)
		file := passingFile(t)
		took(t, "up", "--timeout", "20m", file)
		p := passingAgain{t, map[string]string{}}
		for _, node := range []string{"client", "server"} {
			p.boots[node] = p.boot(node)
		}
		p.isWhole(lab.Cold, "")

		t.Run("reset", func(t *testing.T) {
			p := passingAgain{t, p.boots}
			p.dirty()
			took(t, "reset", "--timeout", "20m")
			p.isWhole(lab.Reset, "")
		})
		t.Run("a NIC that went", func(t *testing.T) {
			p := passingAgain{t, p.boots}
			unplug(t, "client")
			sh(t, virsh+"suspend labctl.passing.client") // as one that was restored
			if s := status(t); s.State == lab.Whole {
				t.Error("the lab is whole without a NIC of its client")
			}
			took(t, "up", "--timeout", "20m", file)
			p.isWhole(lab.Cold, "client")
		})
		t.Run("a reset that is killed", func(t *testing.T) {
			killed(t, `"phase":"starts","verb":"create","resource":"disk/client"`, "reset", "--events", "client")
			if got := sh(t, "ls -d /sys/bus/pci/devices/"+whole+"/net/* 2>/dev/null || true"); got != "" {
				t.Errorf("while the client is off, its NIC is the host's: %s", got)
			}
			must(t, "down", "passing")
			isClean()
		})
		t.Run("warm", func(t *testing.T) {
			p := passingAgain{t, p.boots}
			if out := must(t, "plan", file); !strings.Contains(out, "nodes start warm") {
				t.Errorf("plan says\n%s", out)
			}
			took(t, "up", "--timeout", "20m", file)
			p.isWhole(lab.Warm, "")
			unplug(t, "server")
			must(t, "down", "passing")
			isClean()
		})
	})
}
