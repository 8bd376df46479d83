package networks

import (
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
	want := slices.Concat(iif(expr.CmpOpEq, "lctcapture"), drop)
	for _, name := range []string{"input", "forward"} {
		i := slices.IndexFunc(chains, func(c chain) bool { return c.name == name })
		if !slices.ContainsFunc(chains[i].rules, func(r rule) bool { return reflect.DeepEqual(r, want) }) {
			t.Errorf("chain %s lets a capture NIC's frames in", name)
		}
	}
}
