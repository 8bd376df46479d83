package networks

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// dual is the demo lab with IPv6 on its networks control and test, not on inner.
func dual(lab, prefix, prefix6 string) topology.Lab {
	l := demo(lab, prefix)
	for i, subnet := range []string{prefix6 + ":1::/64", "", prefix6 + ":2::/64"} {
		if subnet == "" {
			continue
		}
		n, p := &l.Networks[i], netip.MustParsePrefix(subnet)
		for k := range n.Segments {
			n.Segments[k].Subnet6 = p
		}
		if n.Gateway.IsValid() {
			n.Gateway6 = p.Addr().Next()
		}
	}
	for i, address := range []string{prefix6 + ":1::2a/64", prefix6 + ":1::2b/64"} {
		c := &l.Nodes[i].NICs[0]
		c.Address6, c.Gateway6 = netip.MustParsePrefix(address), l.Networks[0].Gateway6
	}
	return l
}

// A network with IPv6 has its address, and no lab's network serves anything by it.
func TestRenderOfBothKinds(t *testing.T) {
	s := segments(nil, dual("trafic", "10.7", "fd00:7"), tagOf("trafic"))[0]
	x, err := Render(s.Network, s.Segment, s.Tag)
	must(t, err)
	got, err := x.Marshal()
	must(t, err)
	golden := filepath.Join("testdata", "control.dual.xml")
	if *update {
		must(t, os.WriteFile(golden, []byte(got+"\n"), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", golden, diff)
	}
	if _, err := hosttest.New(t).NetworkDefineXMLFlags(got, libvirt.NETWORK_DEFINE_VALIDATE); err != nil {
		t.Error(err)
	}
}

// TestTables: a lab without IPv6 has no table of it, and one with it has the same
// chains in both.
func TestTables(t *testing.T) {
	families := func(l topology.Lab) (all []nftables.TableFamily) {
		tables, err := Publish{l}.tables()
		must(t, err)
		for _, tb := range tables {
			all = append(all, tb.family)
		}
		return all
	}
	if got := families(demo("trafic", "10.7")); !slices.Equal(got, []nftables.TableFamily{nftables.TableFamilyIPv4}) {
		t.Errorf("without IPv6 there are tables of %v", got)
	}
	l := dual("trafic", "10.7", "fd00:7")
	if got := families(l); !slices.Equal(got, []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}) {
		t.Errorf("with IPv6 there are tables of %v", got)
	}
	tables, err := Publish{l}.tables()
	must(t, err)
	plain, err := Publish{demo("trafic", "10.7")}.tables()
	must(t, err)
	if !sameTables(tables[:1], plain) {
		t.Error("IPv6 changes the rules of IPv4")
	}
	names := func(tb table) (all []string) {
		for _, c := range tb.chains {
			all = append(all, c.head())
		}
		return all
	}
	if d := cmp.Diff(names(tables[0]), names(tables[1])); d != "" {
		t.Error(d)
	}
}

// What is published on an address of one kind of IP leads by that kind alone.
func TestPublishByKind(t *testing.T) {
	l := dual("trafic", "10.7", "fd00:7")
	l.Nodes[0].Publish = append(l.Nodes[0].Publish, topology.Publish{
		HostAddress: netip.MustParseAddr("2001:db8::5"), HostPort: 2223, Port: 22, Protocol: "tcp",
	})
	for name, test := range map[string]struct {
		kind kind
		want []uint16
	}{"IPv4": {ipv4, []uint16{2222, 5555, 8086}}, "IPv6": {ipv6, []uint16{2222, 5555, 2223}}} {
		var got []uint16
		for _, p := range (Publish{l}).ports(test.kind) {
			got = append(got, p.HostPort)
			if !test.kind.is(p.node) {
				t.Errorf("%s: port %d leads to %s", name, p.HostPort, p.node)
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// Where a network has IPv4 alone, IPv6 is dropped whatever else the lab has.
func TestNetworksWithoutIPv6AreClosedToIt(t *testing.T) {
	l := dual("trafic", "10.7", "fd00:7")
	chains, err := Publish{l}.chains(ipv6)
	must(t, err)
	bridge := l.Networks[1].Segments[0].Bridge
	for name, want := range map[string]rule{
		"input": slices.Concat(iif(expr.CmpOpEq, bridge), drop), "forward": slices.Concat(oif(expr.CmpOpEq, bridge), drop),
	} {
		i := slices.IndexFunc(chains, func(c chain) bool { return c.name == name })
		if !slices.ContainsFunc(chains[i].rules, func(r rule) bool { return reflect.DeepEqual(r, want) }) {
			t.Errorf("chain %s lets IPv6 pass on a network that has none", name)
		}
	}
}
