package topology

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dualLab has IPv6 on one network without sides, and on the one whose sides a node joins.
const dualLab = `
name: dual
networks:
  control: {subnet: 10.9.1.0/24, subnet6: "fd00:9:1::/64"}
  plain: {subnet: 10.9.4.0/24, uplink: none}
  test:
    sides: [client, server]
    under-test: node:mid
    subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}
    subnets6: {client: "fd00:9:2::/64", server: "2001:db8:9::/126"}
nodes:
  client: {nics: [{network: control, address: 10.9.1.40}, {network: test, side: client}]}
  mid: {nics: [{network: control, address6: "fd00:9:1::28"}, {network: test, side: client}, {network: test, side: server, address: 10.9.3.200}]}
  server: {nics: [{network: plain}, {network: control}, {network: test, side: server}]}
  capture: {nics: [{network: plain}, {mirror: client}]}
`

// TestAddresses6: those left out have the host numbers of IPv4, but what is taken or
// does not fit; and nodes on networks without IPv6 have none.
func TestAddresses6(t *testing.T) {
	l := decided(t, dualLab)
	var got []string
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			got = append(got, fmt.Sprintf("%s %s %s", n.Name, c.Address, c.Address6))
		}
	}
	want := []string{
		"client 10.9.1.40/24 fd00:9:1::2/64", // ::28 is mid's
		"client 10.9.2.1/24 fd00:9:2::1/64",
		"mid 10.9.1.2/24 fd00:9:1::28/64",
		"mid 10.9.2.2/24 fd00:9:2::2/64",
		"mid 10.9.3.200/24 2001:db8:9::2/126", // ::c8 is outside
		"server 10.9.4.2/24 invalid Prefix",
		"server 10.9.1.3/24 fd00:9:1::3/64",
		"server 10.9.3.1/24 2001:db8:9::1/126",
		"capture 10.9.4.3/24 invalid Prefix",
		"capture invalid Prefix invalid Prefix",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if again := decided(t, dualLab); !slices.Equal(Differences(l, again), nil) {
		t.Error("the same file gives another lab")
	}
}

// TestGateway6: the host has the first address, where it has one at all, and only a
// nat network leads out.
func TestGateway6(t *testing.T) {
	l := decided(t, dualLab)
	var hosts, ways []string
	for _, n := range l.Networks {
		hosts = append(hosts, fmt.Sprintf("%s %s %v", n.Name, n.Gateway6, n.Subnets6()))
	}
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if c.Gateway6.IsValid() {
				ways = append(ways, n.Name+" "+c.Network)
			}
		}
	}
	if d := cmp.Diff([]string{
		"control fd00:9:1::1 [fd00:9:1::/64]", "plain invalid IP []",
		"test invalid IP [fd00:9:2::/64 2001:db8:9::/126]",
	}, hosts); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"client control", "mid control", "server control"}, ways); d != "" {
		t.Error(d)
	}
	inner := decided(t, strings.Replace(dualLab, `"fd00:9:1::/64"`, `"fd00:9:1::/64", uplink: none`, 1))
	if n := inner.Networks[0]; !n.Gateway6.IsValid() || inner.Nodes[0].NICs[0].Gateway6.IsValid() {
		t.Errorf("without uplink the host is %s, and a node's way out %s", n.Gateway6, inner.Nodes[0].NICs[0].Gateway6)
	}
}

// TestRoutes6: each kind of IP is routed by itself, through the same nodes.
func TestRoutes6(t *testing.T) {
	want := []string{
		"client: 10.9.3.0/24 by 10.9.2.2 on test/client",
		"client: 2001:db8:9::/126 by fd00:9:2::2 on test/client",
		"server: 10.9.2.0/24 by 10.9.3.200 on test/server",
		"server: fd00:9:2::/64 by 2001:db8:9::2 on test/server",
	}
	if d := cmp.Diff(want, routeTexts(decided(t, dualLab))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestHosts6: a name has the IPv6 address of the NIC whose IPv4 address it has, and
// never one of another network: measured flows would leave the network under test.
func TestHosts6(t *testing.T) {
	l := decided(t, dualLab)
	of, _ := l.Node("client")
	var got []string
	for _, e := range l.Hosts(of) {
		got = append(got, e.Address.String()+" "+strings.Join(e.Names, " "))
	}
	want := []string{
		"127.0.0.1 localhost", "127.0.1.1 client",
		"10.9.1.40 client.control", "fd00:9:1::2 client.control", "10.9.2.1 client.test", "fd00:9:2::1 client.test",
		"10.9.1.2 mid.control", "fd00:9:1::28 mid.control",
		"10.9.2.2 mid.test mid.test.client mid", "fd00:9:2::2 mid.test mid.test.client mid",
		"10.9.3.200 mid.test.server", "2001:db8:9::2 mid.test.server",
		"10.9.4.2 server.plain", "10.9.1.3 server.control", "fd00:9:1::3 server.control",
		"10.9.3.1 server.test server", "2001:db8:9::1 server.test server",
		"10.9.4.3 capture.plain capture",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	only := decided(t, strings.Replace(dualLab, "    subnets6:", "    #", 1))
	if a := slices.IndexFunc(only.Hosts(of), func(e HostEntry) bool {
		return e.Address.Is6() && slices.Contains(e.Names, "server")
	}); a >= 0 {
		t.Errorf("server is %s, which is not under test", only.Hosts(of)[a].Address)
	}
}

func TestDifferences6(t *testing.T) {
	l := decided(t, dualLab)
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{`"fd00:9:1::28"`, `"fd00:9:1::29"`, []string{
			"nodes.client.nics: 10.9.1.40/24, fd00:9:1::2/64 on control, 10.9.2.1/24, fd00:9:2::1/64 on test/client → " +
				"10.9.1.40/24, fd00:9:1::28/64 on control, 10.9.2.1/24, fd00:9:2::1/64 on test/client",
			"nodes.mid.nics: 10.9.1.2/24, fd00:9:1::28/64 on control, 10.9.2.2/24, fd00:9:2::2/64 on test/client, 10.9.3.200/24, 2001:db8:9::2/126 on test/server → " +
				"10.9.1.2/24, fd00:9:1::29/64 on control, 10.9.2.2/24, fd00:9:2::2/64 on test/client, 10.9.3.200/24, 2001:db8:9::2/126 on test/server",
		}},
		{"test:\n", "test:\n    # the same\n", nil},
	} {
		if d := cmp.Diff(c.want, Differences(l, decided(t, strings.Replace(dualLab, c.from, c.to, 1)))); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	gone := Differences(l, decided(t, strings.Replace(dualLab, "    subnets6:", "    #", 1)))
	if len(gone) != 4 || gone[0] != "networks.test.subnet6: fd00:9:2::/64, 2001:db8:9::/126 → none" {
		t.Errorf("got %q", gone)
	}
}

// TestPublish6: an IPv6 address of the host is read and written in brackets.
func TestPublish6(t *testing.T) {
	for _, s := range []string{"[2001:db8::5]:80:8080", "[fd00::1]:53:53/udp"} {
		p, err := parsePublish(s)
		if err != nil || p.String() != s || !p.HostAddress.Is6() {
			t.Errorf("got %s, %v; want %s", p, err, s)
		}
	}
	plain, _ := parsePublish("80:80")
	four, _ := parsePublish("192.0.2.1:80:80")
	six, _ := parsePublish("[2001:db8::5]:80:80")
	if !plain.Meets(six) || !six.Meets(plain) || four.Meets(six) {
		t.Error("a port of every address meets that of an IPv6 address, and that of an IPv4 address does not")
	}
}
