package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// dualLab has IPv6 on control and on the network whose sides a node joins; on spare it
// has none.
const dualLab = `
name: dual
networks:
  control: {subnet: 10.9.1.0/24, subnet6: "fd00:9:1::/64"}
  test:
    sides: [left, right]
    under-test: node:mid
    mtu: 1280
    subnets: {left: 10.9.2.0/24, right: 10.9.3.0/24}
    subnets6: {left: "fd00:9:2::/64", right: "fd00:9:3::/64"}
  spare: {sides: [left, right], subnet: 10.9.4.0/24}
nodes:
  a: {nics: [{network: control}, {network: test, side: left}, {network: spare, side: left}], publish: ["2222:22", "127.0.0.1:80:80"]}
  mid: {nics: [{network: test, side: left}, {network: test, side: right}]}
  b: {nics: [{network: test, side: right}, {network: spare, side: right}]}
  tap: {nics: [{network: control}, {mirror: a}]}
`

// Where both ends have IPv6, frames go by it too; each kind in its own sizes.
func TestFlowsOfBothKinds(t *testing.T) {
	l := decided(t, strings.Replace(dualLab, "mirror: a", "mirror: {from: a, network: test}", 1))
	want := []string{
		"test: a 10.9.2.1 → b 10.9.3.2 [64 576 1200 1280 64]",
		"test: b 10.9.3.2 → a 10.9.2.1 [64 576 1200 1280 64]",
		"test: a fd00:9:2::1 → b fd00:9:3::2 [84 576 1280 84]",
		"test: b fd00:9:3::2 → a fd00:9:2::1 [84 576 1280 84]",
		"spare: a 10.9.4.1 → b 10.9.4.2 [64 576 1200 1500 64]",
		"spare: b 10.9.4.2 → a 10.9.4.1 [64 576 1200 1500 64]",
	}
	flows := flowsOf(l)
	if d := cmp.Diff(want, flowTexts(flows)); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff([]place{{"a", 1}, {"mid", 0}, {"mid", 1}, {"b", 0}}, flows[2].path, cmp.AllowUnexported(place{})); d != "" {
		t.Errorf("IPv6 takes another way (-want +got)\n%s", d)
	}
	var copies []string
	for _, p := range testExperiment(l).points() {
		if p.node.Name == "tap" {
			for _, v := range p.views {
				copies = append(copies, fmt.Sprintf("%s: %d", v.named, len(v.want)))
			}
		}
	}
	if d := cmp.Diff([]string{"tap's NIC 1 (control): 0", "tap's NIC 2 (copy of a's on test): 18"}, copies); d != "" {
		t.Error(d)
	}
	e := testExperiment(l)
	golden(t, "dual.listen.sh", e.listen(e.points()[0]))
	golden(t, "dual.send.sh", e.sending(e.flows[0].from, linksIn(e.flows[0].from)))
}

// What is published on every address takes the port by both kinds of IP.
func TestPortsOfBothKinds(t *testing.T) {
	l := decided(t, strings.Replace(dualLab, "mirror: a", "mirror: {from: a, network: test}", 1))
	if d := cmp.Diff([]host.Port{
		{Number: 2222, Protocol: "tcp"},
		{Address: netip.IPv6Unspecified(), Number: 2222, Protocol: "tcp"},
		{Address: netip.MustParseAddr("127.0.0.1"), Number: 80, Protocol: "tcp"},
	}, portsOf(l.Nodes[0]), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	l.Nodes[0].NICs[0].Address6, l.Nodes[0].NICs[1].Address6 = netip.Prefix{}, netip.Prefix{}
	if got := portsOf(l.Nodes[0]); len(got) != 2 {
		t.Errorf("without IPv6: %v", got)
	}
}

// A subnet of IPv6 is another lab's as soon as that is claimed, and status tells of it.
func TestSubnets6AreClaimedAndTold(t *testing.T) {
	h := newHost(t)
	const text = `
name: six
networks: {control: {subnet: 10.9.1.0/24, subnet6: "fd00:9:1::/64"}}
nodes: {one: {nics: [{network: control}]}}
`
	b := prepare(t, h, text)
	put(t, b)
	s, err := b.Look(t.Context())
	must(t, err)
	if n := s.Networks[0]; n.Subnet6 != "fd00:9:1::/64" || n.Gateway6 != "fd00:9:1::1" || n.Segments[0].Subnet6 != "fd00:9:1::/64" {
		t.Errorf("%+v", n)
	}
	if c := s.Nodes[0].NICs[0]; c.Address6 != "fd00:9:1::2/64" {
		t.Errorf("%+v", c)
	}
	marks, err := FindMarks(h)
	must(t, err)
	used, err := inUse(h, "another", marks)
	must(t, err)
	if d := cmp.Diff("[10.9.1.0/24 fd00:9:1::/64]", fmt.Sprint(used)); d != "" {
		t.Error(d)
	}
}
