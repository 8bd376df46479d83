package networks

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"

	"github.com/mami-project/labctl/topology"
)

func TestPublishRefusesUnknownProtocol(t *testing.T) {
	l := demo("trafic", "10.7")
	l.Nodes[0].Publish = []topology.Publish{{HostPort: 2222, Port: 22, Protocol: "sctp"}}
	if err := (Publish{l}).Create(t.Context()); err == nil || !strings.Contains(err.Error(), `"sctp"`) {
		t.Errorf("create says %v", err)
	}
}

// A macvtap is on a cable before labctl can quiet it: the host's firewall does.
func TestPublishSilencesMacvtaps(t *testing.T) {
	l := demo("trafic", "10.7")
	l.Nodes[0].NICs = append(l.Nodes[0].NICs,
		topology.NIC{Network: "test", Kind: topology.KindMacvtap, Link: "lctmacvtap"},
		topology.NIC{Network: "test", Kind: topology.KindVirtio, Link: "lctvirtio"})
	chains, err := Publish{l}.chains(ipv4)
	must(t, err)
	silent := func(link string) bool {
		want := slices.Concat(oif(expr.CmpOpEq, link), drop)
		return slices.ContainsFunc(chains, func(c chain) bool {
			return c.name == "silence" && slices.ContainsFunc(c.rules, func(r rule) bool { return reflect.DeepEqual(r, want) })
		})
	}
	if !silent("lctmacvtap") || silent("lctvirtio") {
		t.Errorf("silent: the macvtap %v, the tap %v", silent("lctmacvtap"), silent("lctvirtio"))
	}
}

// What a capture NIC's node sends there is for nobody: the host is at its other end.
func TestPublishTakesNothingFromCaptures(t *testing.T) {
	l := demo("trafic", "10.7")
	l.Nodes[0].NICs = append(l.Nodes[0].NICs, topology.NIC{Network: "test", Kind: topology.KindVirtio, Link: "lctcapture", Mirror: "influxdb"})
	chains, err := Publish{l}.chains(ipv4)
	must(t, err)
	if !takesNothing(chains, "lctcapture") {
		t.Error("a capture NIC's frames are let in")
	}
}

// What passes a bridge of Open vSwitch's may be shown to the host at each of its ports.
func TestPublishTakesNothingFromOVSPorts(t *testing.T) {
	l := ovsDemo()
	test := &l.Networks[2]
	test.Segments[0].Uplink = "eno7"
	l.Nodes[0].NICs = append(l.Nodes[0].NICs, topology.NIC{Network: "test", Kind: topology.KindVirtio, Link: "lctport", Bridge: test.Segments[1].Bridge, OVS: true})
	chains, err := Publish{l}.chains(ipv4)
	must(t, err)
	for _, link := range []string{"lctport", "eno7", test.Wire.Ends[0].Link, test.Wire.Ends[1].Link} {
		if !takesNothing(chains, link) {
			t.Errorf("the host takes what comes in at %s", link)
		}
	}
	if chains, err = (Publish{demo("trafic", "10.7")}).chains(ipv4); err != nil || takesNothing(chains, test.Wire.Ends[0].Link) {
		t.Errorf("what is in a bridge of the kernel's has rules of its own: %v", err)
	}
}

// takesNothing says whether what comes in at a link is dropped, for whomever it is.
func takesNothing(chains []chain, link string) bool {
	want := slices.Concat(iif(expr.CmpOpEq, link), drop)
	for _, name := range []string{"input", "forward"} {
		i := slices.IndexFunc(chains, func(c chain) bool { return c.name == name })
		if !slices.ContainsFunc(chains[i].rules, func(r rule) bool { return reflect.DeepEqual(r, want) }) {
			return false
		}
	}
	return true
}

// What nodes forward between sides has addresses of other subnets than the side's: no
// rule looks at these, and what leaves a side for elsewhere is dropped whatever it has.
func TestPublishLetsNodesForward(t *testing.T) {
	l := demo("trafic", "10.7")
	test := &l.Networks[2]
	test.Under, test.Router, test.Wire = topology.UnderNode, "tshark", nil
	test.Segments[1].Subnet = netip.MustParsePrefix("10.7.4.0/24")
	chains, err := Publish{l}.chains(ipv4)
	must(t, err)
	i := slices.IndexFunc(chains, func(c chain) bool { return c.name == "forward" })
	for _, s := range test.Segments {
		var about []rule
		for _, r := range chains[i].rules {
			for _, of := range []rule{iif(expr.CmpOpEq, s.Bridge), oif(expr.CmpOpEq, s.Bridge)} {
				if reflect.DeepEqual(r[:len(of)], of) {
					about = append(about, r)
				}
			}
		}
		from, to := iif(expr.CmpOpEq, s.Bridge), oif(expr.CmpOpEq, s.Bridge)
		want := []rule{slices.Concat(from, to, accept), slices.Concat(from, drop), slices.Concat(to, drop)}
		if !reflect.DeepEqual(about, want) {
			t.Errorf("side %s: %d rules, want %d: what is inside it passes, all else is dropped", s.Side, len(about), len(want))
		}
	}
}
