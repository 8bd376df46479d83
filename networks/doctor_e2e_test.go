//go:build e2e

package networks

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// TestKernel does what labs do with the kernel, and leaves nothing of it.
func TestKernel(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		before := hosttest.Snapshot(t)
		l := demo("red", "10.7")
		l.Nodes[0].NICs = append(l.Nodes[0].NICs, topology.NIC{Kind: topology.KindMacvtap, Link: "lct0"})
		for range 4 { // on whichever thread it comes to run
			c := Kernel(l)
			if c.State() == host.Wrong {
				t.Errorf("%+v", c.Findings)
			}
			for _, feature := range []string{"bridge", "veth", "tun", "macvtap", "clsact", "u32", "mirred", "nft"} {
				if !slices.Contains(strings.Split(c.Found, ", "), feature) {
					t.Errorf("no %s in %q", feature, c.Found)
				}
			}
		}
		if d := hosttest.Diff(before, hosttest.Snapshot(t)); d != "" {
			t.Error("left behind:", d)
		}
		// what an impairment takes is there, or wrong where it is asked for
		kinds := map[string]string{"netem": "sch_netem", "tbf": "sch_tbf", "pie": "sch_pie"}
		l = impaired(topology.UnderWire, topology.Impair{Rate: 1e6, Delay: time.Second, Queue: 1 << 16, AQM: topology.AQMPIE})
		c := Kernel(l)
		lacks, err := Lacks(l)
		if err != nil {
			t.Error(err)
		}
		for kind, module := range kinds {
			told := slices.ContainsFunc(c.Findings, func(f host.Finding) bool {
				return f.Wrong && strings.Contains(f.What, kind) && strings.Contains(f.Fix, "modprobe "+module)
			})
			if has := slices.Contains(strings.Split(c.Found, ", "), kind); has == told {
				t.Errorf("%s is there: %v; told as missing: %v: %+v", kind, has, told, c)
			}
			if lacking := slices.ContainsFunc(lacks, func(u host.Unfit) bool { return strings.Contains(u.Fix, "modprobe "+module) }); lacking != told {
				t.Errorf("%s told as missing: %v; lacking: %v", kind, told, lacks)
			}
		}
		if has := slices.Contains(strings.Split(c.Found, ", "), "tbf"); !has {
			t.Error("no tbf, of which the wire's rates are made")
		}
		if d := hosttest.Diff(before, hosttest.Snapshot(t)); d != "" {
			t.Error("left behind:", d)
		}
		if got := sh(t, "readlink /proc/$PPID/ns/net /proc/self/ns/net | uniq | wc -l"); strings.TrimSpace(got) != "1" {
			t.Error("this process is in another network namespace now")
		}
	})
}

// TestBridged reads real rulesets, as iptables writes them.
func TestBridged(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h, err := host.Connect("", host.DefaultDir)
		must(t, err)
		defer h.Close()
		state := func(want, rules string) {
			t.Helper()
			sh(t, "%s", rules)
			if c := Bridged(h, demo("red", "10.7")); c.State() != want {
				t.Errorf("%s: %s, want %s: %+v", rules, c.State(), want, c)
			}
		}
		state(host.OK, "true")
		state(host.OK, "iptables -P FORWARD DROP") // libvirt's rules will come before it
		state(host.Wrong, "iptables -N LIBVIRT_FWX")
		state(host.OK, "iptables -A FORWARD -j LIBVIRT_FWX")
		state(host.Wrong, "iptables -F FORWARD; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER")
		state(host.Warning, "sysctl -qw net.bridge.bridge-nf-call-iptables=0")
		state(host.OK, "iptables -I FORWARD -i lcb+ -j ACCEPT; iptables -I FORWARD -o lcb+ -j ACCEPT")
		state(host.OK, "sysctl -qw net.bridge.bridge-nf-call-iptables=1")
		state(host.Warning, "ip6tables -P FORWARD DROP")
		state(host.OK, "ip6tables -I FORWARD -i lcb+ -o lcb+ -j ACCEPT")
	})
}

// TestForeignNames: what has a lab's names and is not the lab's is told, and left alone.
func TestForeignNames(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h, err := host.Connect("", host.DefaultDir)
		must(t, err)
		defer h.Close()
		l := demo("red", "10.7")
		if u, err := ForeignNames(t.Context(), h, l); len(u) > 0 || err != nil {
			t.Fatalf("on an empty host: %v, %v", u, err)
		}
		end := l.Networks[2].Wire.Ends[1]
		sh(t, "ip link add %s type bridge; ip link add %s type bridge", end.Link, l.Networks[0].Segments[0].Bridge)
		sh(t, "ip link add %s address %s type bridge", l.Networks[1].Segments[0].Bridge, l.Networks[1].Segments[0].MAC) // as its own
		_, err = h.NetworkDefineXML("<network><name>" + l.Networks[2].Segments[0].Object + "</name></network>")
		must(t, err)
		before := hosttest.Snapshot(t)
		u, err := ForeignNames(t.Context(), h, l)
		if err != nil || len(u) != 3 {
			t.Fatalf("%v, %v", u, err)
		}
		for i, says := range []string{l.Networks[0].Segments[0].Bridge, l.Networks[2].Segments[0].Object, end.Link} {
			if !strings.Contains(u[i].What, says) || !strings.Contains(u[i].Fix, says) {
				t.Errorf("%d is %v", i, u[i])
			}
		}
		strays, err := StrayLinks(map[string]bool{end.Link: true})
		if err != nil || len(strays) != 2 || slices.Contains(strays, end.Link) {
			t.Errorf("strays: %v, %v", strays, err)
		}
		sh(t, "nft add table ip labctl-ghost; nft add table inet labctl-other; nft add table ip labctl-No")
		if labs, err := TablesOf(); err != nil || len(labs) != 1 || labs[0] != "ghost" {
			t.Errorf("tables: %v, %v", labs, err)
		}
		sh(t, "nft delete table ip labctl-ghost; nft delete table inet labctl-other; nft delete table ip labctl-No")
		if d := hosttest.Diff(before, hosttest.Snapshot(t)); d != "" {
			t.Error("touched:", d)
		}
	})
}
