package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

// routedLab has a node between the sides of its network, mirrored on the far one.
const routedLab = `
name: routed
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  test: {sides: [client, server], under-test: "node:mid", subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  mid: {nics: [{network: test, side: client}, {network: control}, {network: test, side: server}]}
  server: {nics: [{network: test, side: server}, {network: control}]}
  tap: {nics: [{network: control}, {mirror: {from: mid, side: server}}]}
`

// chainedLab has three networks in a row, the middle one narrow, and one beside them
// that is joined by a node which does not forward.
const chainedLab = `
name: chained
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  one: {sides: [a, b], subnet: 10.9.11.0/24}
  two: {sides: [a, b], subnet: 10.9.12.0/24, mtu: 1300}
  three: {sides: [a, b], subnet: 10.9.13.0/24}
  aside: {sides: [a, b], subnet: 10.9.14.0/24}
nodes:
  first: {nics: [{network: control}, {network: one, side: a}]}
  hop1: {forward: true, nics: [{network: control}, {network: one, side: b}, {network: two, side: a}]}
  hop2: {forward: true, nics: [{network: two, side: b}, {network: three, side: a}]}
  last: {nics: [{network: three, side: b}]}
  mute: {nics: [{network: three, side: b}, {network: aside, side: a}]}
  far: {nics: [{network: aside, side: b}]}
  tap: {nics: [{network: control}, {mirror: {from: hop1, network: two}}]}
`

// pathText is a path as its nodes and the numbers of their NICs.
func pathText(path []place) string {
	var all []string
	for _, p := range path {
		all = append(all, fmt.Sprintf("%s:%d", p.node, p.nic))
	}
	return strings.Join(all, " ")
}

func TestPaths(t *testing.T) {
	for _, test := range []struct{ lab, from, to, want string }{
		{sidesLab, "a", "10.9.2.4", "a:1 x:0"},
		{sidesLab, "a", "10.9.2.2", "a:1 b:0"},
		{sidesLab, "b", "10.9.3.1", ""}, // on no network of b's
		{sidesLab, "a", "10.9.1.2", ""}, // the control network is no way
		{sidesLab, "a", "10.9.2.99", ""},
		{routedLab, "client", "10.9.3.2", "client:1 mid:0 mid:2 server:0"},
		{routedLab, "server", "10.9.2.1", "server:0 mid:2 mid:0 client:1"},
		{routedLab, "mid", "10.9.3.2", "mid:2 server:0"},
		{routedLab, "client", "10.9.2.2", "client:1 mid:0"},
		{routedLab, "client", "10.9.3.1", "client:1 mid:0"}, // mid's other side
		{chainedLab, "first", "10.9.13.2", "first:1 hop1:1 hop1:2 hop2:0 hop2:1 last:0"},
		{chainedLab, "last", "10.9.11.1", "last:0 hop2:1 hop2:0 hop1:2 hop1:1 first:1"},
		{chainedLab, "hop1", "10.9.13.3", "hop1:2 hop2:0 hop2:1 mute:0"},
		{chainedLab, "first", "10.9.14.1", ""}, // mute's own, and mute does not say so
		{chainedLab, "far", "10.9.11.1", ""},
	} {
		l := decided(t, test.lab)
		from, _ := l.Node(test.from)
		if got := pathText(pathOf(l, from, netip.MustParseAddr(test.to))); got != test.want {
			t.Errorf("%s: from %s to %s by %q, want %q", l.Name, test.from, test.to, got, test.want)
		}
	}
}

// TestPathThatTurns: routes that lead round and round are no path, and the search ends.
func TestPathThatTurns(t *testing.T) {
	l := decided(t, chainedLab)
	to := netip.MustParsePrefix("10.9.99.0/24")
	l.Nodes[1].NICs[2].Routes = append(l.Nodes[1].NICs[2].Routes, topology.Route{To: to, Via: l.Nodes[2].NICs[0].Address.Addr()})
	l.Nodes[2].NICs[0].Routes = append(l.Nodes[2].NICs[0].Routes, topology.Route{To: to, Via: l.Nodes[1].NICs[2].Address.Addr()})
	if path := pathOf(l, l.Nodes[1], to.Addr().Next()); path != nil {
		t.Errorf("by %s", pathText(path))
	}
}

func TestFlowsAcrossNodes(t *testing.T) {
	for _, test := range []struct {
		lab  string
		want []string
	}{
		{routedLab, []string{
			"test: client 10.9.2.1 → server 10.9.3.2 [64 576 1200 1500 64]",
			"test: server 10.9.3.2 → client 10.9.2.1 [64 576 1200 1500 64]",
		}},
		{chainedLab, []string{
			"one: first 10.9.11.1 → hop1 10.9.11.2 [64 576 1200 1500 64]",
			"one: hop1 10.9.11.2 → first 10.9.11.1 [64 576 1200 1500 64]",
			"two: hop1 10.9.12.1 → hop2 10.9.12.2 [64 576 1200 1300 64]",
			"two: hop2 10.9.12.2 → hop1 10.9.12.1 [64 576 1200 1300 64]",
			"three: hop2 10.9.13.1 → last 10.9.13.2 [64 576 1200 1500 64]",
			"three: last 10.9.13.2 → hop2 10.9.13.1 [64 576 1200 1500 64]",
			"three: hop2 10.9.13.1 → mute 10.9.13.3 [64 576 1200 1500 64]",
			"three: mute 10.9.13.3 → hop2 10.9.13.1 [64 576 1200 1500 64]",
			"aside: mute 10.9.14.1 → far 10.9.14.2 [64 576 1200 1500 64]",
			"aside: far 10.9.14.2 → mute 10.9.14.1 [64 576 1200 1500 64]",
			// from end to end, no longer than the narrowest network carries; none to or from mute's
			// other network, whose addresses nobody there answers to
			"one: first 10.9.11.1 → last 10.9.13.2 [64 576 1200 1300 64]",
			"three: last 10.9.13.2 → first 10.9.11.1 [64 576 1200 1300 64]",
			"one: first 10.9.11.1 → mute 10.9.13.3 [64 576 1200 1300 64]",
			"three: mute 10.9.13.3 → first 10.9.11.1 [64 576 1200 1300 64]",
		}},
	} {
		l := decided(t, test.lab)
		if d := cmp.Diff(test.want, flowTexts(flowsOf(l))); d != "" {
			t.Errorf("%s (-want +got)\n%s", l.Name, d)
		}
	}
}

// TestPointsAcrossNodes: a node that forwards sees each frame on both its NICs, and a
// mirror of one of them what passes that one.
func TestPointsAcrossNodes(t *testing.T) {
	for _, test := range []struct {
		lab  string
		want []string
	}{
		{routedLab, []string{
			"0 client's NIC 1 (control): map[]",
			"1 client's NIC 2 (test/client): map[0:5 1:5]",
			"0 mid's NIC 1 (test/client): map[0:5 1:5]",
			"1 mid's NIC 2 (control): map[]",
			"2 mid's NIC 3 (test/server): map[0:5 1:5]",
			"0 server's NIC 1 (test/server): map[0:5 1:5]",
			"1 server's NIC 2 (control): map[]",
			"0 tap's NIC 1 (control): map[]",
			"1 tap's NIC 2 (copy of mid's on test/server): map[0:5 1:5]",
		}},
		{chainedLab, []string{
			"0 first's NIC 1 (control): map[]",
			"1 first's NIC 2 (one/a): map[0:5 1:5 10:5 11:5 12:5 13:5]",
			"0 hop1's NIC 1 (control): map[]",
			"1 hop1's NIC 2 (one/b): map[0:5 1:5 10:5 11:5 12:5 13:5]",
			"2 hop1's NIC 3 (two/a): map[2:5 3:5 10:5 11:5 12:5 13:5]",
			"0 hop2's NIC 1 (two/b): map[2:5 3:5 10:5 11:5 12:5 13:5]",
			"1 hop2's NIC 2 (three/a): map[4:5 5:5 6:5 7:5 10:5 11:5 12:5 13:5]",
			"0 last's NIC 1 (three/b): map[4:5 5:5 10:5 11:5]",
			"0 mute's NIC 1 (three/b): map[6:5 7:5 12:5 13:5]",
			"1 mute's NIC 2 (aside/a): map[8:5 9:5]",
			"0 far's NIC 1 (aside/b): map[8:5 9:5]",
			"0 tap's NIC 1 (control): map[]",
			"1 tap's NIC 2 (copy of hop1's on two): map[2:5 3:5 10:5 11:5 12:5 13:5]",
		}},
	} {
		l := decided(t, test.lab)
		if d := cmp.Diff(test.want, viewTexts(testExperiment(l).points())); d != "" {
			t.Errorf("%s (-want +got)\n%s", l.Name, d)
		}
	}
}

// TestCapturesOfSides: what is counted at a mirrored NIC is that of the side which is
// mirrored, and status says which that is.
func TestCapturesOfSides(t *testing.T) {
	for side, nic := range map[string]int{"client": 0, "server": 2} {
		b := Build{Lab: decided(t, strings.Replace(routedLab, "{from: mid, side: server}", "{from: mid, side: "+side+"}", 1))}
		mid, _ := b.Lab.Node("mid")
		all := (&running{Build: b}).newCaptures()
		if len(all) != 1 || all[0].nic.String() != mid.NICs[nic].MAC.String() || all[0].mirror.From.Link != mid.NICs[nic].Link {
			t.Errorf("%s: got %+v", side, all)
		}
		m := b.mirrorStatus(nil)
		if len(m) != 1 || m[0].From != "mid" || m[0].Network != "test" || m[0].Side != side || m[0].To != "tap" {
			t.Errorf("%s: status says %+v", side, m)
		}
	}
}

// TestStatusOfRoutedNetworks: each side has its subnet, and the node between them is named.
func TestStatusOfRoutedNetworks(t *testing.T) {
	routed, chained := Build{Lab: decided(t, routedLab)}, Build{Lab: decided(t, chainedLab)}
	n := routed.networkStatus(nil)[1]
	if n.Subnet != "" || n.UnderTest != topology.UnderNode || n.Router != "mid" || n.Segments[0].Subnet != "10.9.2.0/24" || n.Segments[1].Subnet != "10.9.3.0/24" {
		t.Errorf("got %+v", n)
	}
	n = chained.networkStatus(nil)[1]
	if n.Subnet != "10.9.11.0/24" || n.UnderTest != topology.UnderWire || n.Router != "" {
		t.Errorf("got %+v", n)
	}
}
