//go:build e2e

package networks

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// TestPublishByIPv6 brings up two labs with IPv6 whose machines are network
// namespaces, beside another host that has it too.
func TestPublishByIPv6(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		alpha, beta := dual("alpha", "10.7", "fd00:7"), dual("beta", "10.8", "fd00:8")
		beta.Nodes[0].Publish, beta.Nodes[1].Publish = nil, nil
		closedHost(t, alpha, beta)
		t.Run("nothing is announced", func(t *testing.T) { nothingAnnounced(t, alpha) })
		station(t, "outside")
		sh(t, `sysctl -qw net.ipv6.conf.v-outside.accept_dad=0 net.ipv6.conf.v-outside.disable_ipv6=0
			ip address add 2001:db8::1/64 dev v-outside nodad`)
		speak6(t, "outside", "2001:db8::2/64", "2001:db8::1")
		for name, node := range map[string]topology.Node{"tshark": alpha.Nodes[0], "influxdb": alpha.Nodes[1], "other": beta.Nodes[0]} {
			machine(t, name, node)
			speak6(t, name, node.NICs[0].Address6.String(), node.NICs[0].Gateway6.String())
			serveAsNode(t, name, "6")
		}
		serve(t, "outside", "tcp6", ":80")
		serve(t, "", "tcp6", "[::1]:7777")
		serve(t, "", "tcp6", "[::1]:2222")
		serve(t, "", "tcp6", ":8888")

		noneTentative(t)
		before := hosttest.Snapshot(t)
		a, b := Publish{alpha}, Publish{beta}
		contract(t, a)
		must(t, b.Create(t.Context()))
		must(t, a.Create(t.Context()))
		t.Run("paths", func(t *testing.T) { paths6(t, alpha) })
		for what, spoil := range map[string]string{
			"a rule added":        "nft add rule ip6 labctl-alpha forward tcp dport 1 accept",
			"a chain flushed":     "nft flush chain ip6 labctl-alpha input",
			"its table is gone":   "nft delete table ip6 labctl-alpha",
			"only its table left": "nft delete table ip labctl-alpha",
		} {
			t.Run(what, func(t *testing.T) {
				sh(t, "%s", spoil)
				heals(t, a)
			})
		}
		t.Run("a table without a lab", func(t *testing.T) {
			if labs, err := TablesOf(); err != nil || strings.Join(labs, " ") != "alpha beta" {
				t.Errorf("tables of %q, %v", labs, err)
			}
			old := Publish{demo("alpha", "10.7")} // the lab as it was before it had IPv6
			heals(t, old)
			if left := sh(t, "nft list tables"); strings.Contains(left, "ip6 labctl-alpha") {
				t.Errorf("the table of IPv6 stays:\n%s", left)
			}
			must(t, a.Create(t.Context()))
		})
		must(t, Publish{topology.Lab{Name: "alpha"}}.Destroy(t.Context())) // by name alone
		is(t, a, host.Absent)
		is(t, b, host.Present)
		must(t, a.Create(t.Context()))
		must(t, a.Destroy(t.Context()))
		must(t, b.Destroy(t.Context()))
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error("left behind:", diff)
		}
	})
}

// speak6 gives a station IPv6 as labctl gives it to nodes: an address and the way out.
func speak6(t *testing.T, name, address, gateway string) {
	t.Helper()
	sh(t, `ip netns exec %[1]s sysctl -qw net.ipv6.conf.eth0.accept_ra=0 net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.disable_ipv6=0
		ip -n %[1]s address replace %[2]s dev eth0 nodad
		ip -n %[1]s route replace ::/0 via %[3]s dev eth0`, name, address, gateway)
}

// nothingAnnounced has a machine that asks for routers on a lab's network: nobody answers.
func nothingAnnounced(t *testing.T, l topology.Lab) {
	bridge := l.Networks[0].Segments[0].Bridge
	if out := sh(t, "pgrep -a 'dnsmasq|radvd' || true"); strings.Contains(out, "labctl.") {
		t.Errorf("libvirt serves a lab's network: %s", out)
	}
	station(t, "asker")
	defer endStation(t, "asker")
	heard := listen(t, "asker", "eth0", unix.ETH_P_ALL) // of one kind alone it would not hear what the machine sends
	sh(t, "ip link set v-asker master %s; ip netns exec asker sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0", bridge)
	const solicits, announces = 133, 134
	asked, wait := false, patience
	for f := heard.next(wait); f != nil; f = heard.next(wait) {
		if len(f) < 55 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IPV6 || f[20] != unix.IPPROTO_ICMPV6 {
			continue
		}
		switch f[54] {
		case announces:
			t.Errorf("a router is announced: %x", f)
		case solicits:
			asked, wait = true, time.Second
		}
	}
	if !asked {
		t.Error("the machine does not ask for routers: this test shows nothing")
	}
}

// paths6 tries who reaches what by IPv6, and as whom.
func paths6(t *testing.T, l topology.Lab) {
	hosts := strings.Fields(sh(t, "ip -6 -o address show dev %s scope link", l.Networks[0].Segments[0].Bridge))[3]
	linkLocal, _, _ := strings.Cut(hosts, "/")
	eventually(t, "the host answers", func() bool { // as neighbours are asked again
		return sh(t, "ip netns exec influxdb ping -6 -c1 -W20 -I eth0 %s >/dev/null 2>&1 && echo yes || true", linkLocal) == "yes\n"
	})
	answered(t, []path{
		{"outside", "tcp6", "[2001:db8::1]:2222", "tshark to 2001:db8::2", "a published port answers, and sees the client"},
		{"outside", "udp6", "[2001:db8::1]:5555", "tshark to 2001:db8::2", "UDP too"},
		{"outside", "tcp6", "[2001:db8::1]:8888", " to 2001:db8::2", "the host's own services are as they were"},
		{"outside", "tcp6", "[2001:db8::1]:8086", "", "published on an IPv4 address"},
		{"outside", "tcp6", "[2001:db8::1]:22", "", "a node's port is not the host's"},
		{"outside", "tcp6", "[2001:db8::1]:9999", "", "not published"},
		{"outside", "tcp6", "[fd00:7:1::2a]:22", "", "the node's own address, a published port"},
		{"outside", "tcp6", "[fd00:7:1::2b]:9999", "", "another node"},
		{"outside", "udp6", "[fd00:7:1::2a]:55", "", "UDP to the node's own address"},
		{"outside", "tcp6", "[fd00:7:1::1]:8888", "", "the host's address on the lab's network is the lab's"},
		{"outside", "tcp6", "[fd00:7:1::1]:2222", "", "there, published ports are not published either"},

		{"", "tcp6", "[2001:db8::1]:2222", "tshark to fd00:7:1::1", "the host, by its address"},
		{"", "tcp6", "[::1]:2222", " to ::1", "not by its loopback, where the host's own services stay reached"},
		{"", "tcp6", "[::1]:7777", " to ::1", "the host's loopback works"},
		{"", "tcp6", "[fd00:7:1::2a]:22", "tshark to fd00:7:1::1", "the host reaches nodes directly"},

		{"influxdb", "tcp6", "[fd00:7:1::2a]:22", "tshark to fd00:7:1::2b", "nodes of one network"},
		{"influxdb", "tcp6", "[fd00:7:1::1]:8888", " to fd00:7:1::2b", "a node reaches the host by its own address"},
		{"influxdb", "tcp6", "[" + linkLocal + "%eth0]:8888", "", "and not by a link-local one"},
		{"influxdb", "tcp6", "[2001:db8::1]:2222", "tshark to fd00:7:1::1", "a node, by the host's address"},
		{"influxdb", "tcp6", "[2001:db8::2]:80", "outside to 2001:db8::1", "a nat network leads out, behind the host"},

		{"other", "tcp6", "[fd00:7:1::2a]:22", "", "another lab's nodes"},
		{"other", "tcp6", "[fd00:7:1::1]:8888", "", "the host's address in another lab"},
		{"influxdb", "tcp6", "[fd00:8:1::2a]:22", "", "the other way round"},
		{"other", "tcp6", "[2001:db8::1]:2222", "tshark to fd00:7:1::1", "what another lab publishes"},
	})
}
