package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const routerLab = `
name: router
networks:
  control: {subnet: 10.9.1.0/24}
  test: {sides: [client, server], under-test: "node:mid", subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  mid: {nics: [{network: control}, {network: test, side: server}, {network: test, side: client}]}
  server: {nics: [{network: control}, {network: test, side: server}]}
  capture: {nics: [{network: control}, {mirror: {from: mid, side: client}}]}
  idle: {nics: [{network: control}]}
`

// chainLab has three wires in a row, and beside them one that nothing leads to.
const chainLab = `
name: chain
networks:
  control: {subnet: 10.9.1.0/24}
  one: {sides: [a, b], subnet: 10.9.11.0/24}
  two: {sides: [a, b], subnet: 10.9.12.0/24}
  three: {sides: [a, b], subnet: 10.9.13.0/24}
  aside: {sides: [a, b], subnet: 10.9.14.0/24}
nodes:
  first: {nics: [{network: control}, {network: one, side: a}]}
  hop1: {forward: true, nics: [{network: control}, {network: one, side: b}, {network: two, side: a}]}
  hop2: {forward: true, nics: [{network: control}, {network: two, side: b}, {network: three, side: a}]}
  last: {nics: [{network: three, side: b}, {network: control}]}
  mute: {nics: [{network: one, side: b}, {network: aside, side: a}]}
  far: {nics: [{network: aside, side: b}]}
  capture: {nics: [{network: control}, {mirror: {from: hop1, network: two}}]}
`

// routeTexts are the routes of each node.
func routeTexts(l Lab) []string {
	var all []string
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			for _, r := range c.Routes {
				all = append(all, fmt.Sprintf("%s: %s by %s on %s", n.Name, r.To, r.Via, strings.Trim(c.Network+"/"+c.Side, "/")))
			}
		}
	}
	return all
}

func TestRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		lab  string
		want []string
	}{
		"a wire": {openLab, nil},
		"a node between the sides": {routerLab, []string{
			"client: 10.9.3.0/24 by 10.9.2.2 on test/client",
			"server: 10.9.2.0/24 by 10.9.3.1 on test/server",
		}},
		"three in a row": {chainLab, []string{
			"first: 10.9.12.0/24 by 10.9.11.2 on one/a",
			"first: 10.9.13.0/24 by 10.9.11.2 on one/a",
			"hop1: 10.9.13.0/24 by 10.9.12.2 on two/a",
			"hop2: 10.9.11.0/24 by 10.9.12.1 on two/b",
			"last: 10.9.11.0/24 by 10.9.13.1 on three/b",
			"last: 10.9.12.0/24 by 10.9.13.1 on three/b",
			"mute: 10.9.12.0/24 by 10.9.11.2 on one/b",
			"mute: 10.9.13.0/24 by 10.9.11.2 on one/b",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, routeTexts(decided(t, c.lab))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestForwards: a node between two sides forwards, and so does one that is told to.
func TestForwards(t *testing.T) {
	for lab, want := range map[string]string{openLab: "", routerLab: "mid", chainLab: "hop1 hop2"} {
		var forward []string
		for _, n := range decided(t, lab).Nodes {
			if n.Forward {
				forward = append(forward, n.Name)
			}
		}
		if got := strings.Join(forward, " "); got != want {
			t.Errorf("%q forward, want %q", got, want)
		}
	}
}

// TestNamesAcrossNodes: a name is the address that is nearest over networks with sides.
func TestNamesAcrossNodes(t *testing.T) {
	for name, c := range map[string]struct{ lab, of, want string }{
		"of one side": {routerLab, "client", "10.9.1.2 client.control, 10.9.2.1 client.test, " +
			"10.9.1.3 mid.control, 10.9.3.1 mid.test.server, 10.9.2.2 mid.test mid.test.client mid, " +
			"10.9.1.4 server.control, 10.9.3.2 server.test server, 10.9.1.5 capture.control capture, 10.9.1.6 idle.control idle"},
		"of the other": {routerLab, "server", "10.9.1.2 client.control, 10.9.2.1 client.test client, " +
			"10.9.1.3 mid.control, 10.9.3.1 mid.test mid.test.server mid, 10.9.2.2 mid.test.client, " +
			"10.9.1.4 server.control, 10.9.3.2 server.test, 10.9.1.5 capture.control capture, 10.9.1.6 idle.control idle"},
		"of none": {routerLab, "idle", "10.9.1.2 client.control client, 10.9.2.1 client.test, " +
			"10.9.1.3 mid.control mid, 10.9.3.1 mid.test mid.test.server, 10.9.2.2 mid.test.client, " +
			"10.9.1.4 server.control server, 10.9.3.2 server.test, 10.9.1.5 capture.control capture, 10.9.1.6 idle.control"},
		"of the end of a row": {chainLab, "last", "10.9.1.2 first.control, 10.9.11.1 first.one first, " +
			"10.9.1.3 hop1.control, 10.9.11.2 hop1.one, 10.9.12.1 hop1.two hop1, " +
			"10.9.1.4 hop2.control, 10.9.12.2 hop2.two, 10.9.13.1 hop2.three hop2, " +
			"10.9.13.2 last.three, 10.9.1.5 last.control, " +
			"10.9.11.3 mute.one mute, 10.9.14.1 mute.aside, 10.9.14.2 far.aside far, 10.9.1.6 capture.control capture"},
	} {
		t.Run(name, func(t *testing.T) {
			l := decided(t, c.lab)
			of, _ := l.Node(c.of)
			var got []string
			for _, e := range l.Hosts(of)[2:] {
				got = append(got, e.Address.String()+" "+strings.Join(e.Names, " "))
			}
			if d := cmp.Diff(strings.Split(c.want, ", "), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestReachesAcrossNodes: who captures logs into the nodes that the mirrored one reaches.
func TestReachesAcrossNodes(t *testing.T) {
	for lab, want := range map[string]string{openLab: "", routerLab: "client mid server", chainLab: "first hop1 hop2 last mute"} {
		l := decided(t, lab)
		n, _ := l.Node("capture")
		if got := strings.Join(n.Reaches, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSidesOfTheirOwn: each side of a routed network has a subnet, also where they are chosen.
func TestSidesOfTheirOwn(t *testing.T) {
	open := strings.Replace(routerLab, ", subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}", "", 1)
	f, err := Load("lab.yaml", []byte(open), Known{})
	if err != nil {
		t.Fatal(err)
	}
	first := decided(t, open)
	n := first.Networks[1]
	if s := n.Subnets(); len(s) != 2 || s[0].Overlaps(s[1]) || !n.Segments[0].Chosen || n.Router != "mid" || n.Wire != nil {
		t.Fatalf("got %+v", n)
	}
	chosen := Chosen{Subnets: prefixMap("test/client", "10.200.1.0/24", "test/server", "10.200.2.0/24")}
	kept, err := Decide(f, nil, chosen)
	if err != nil || fmt.Sprint(kept.Networks[1].Subnets()) != "[10.200.1.0/24 10.200.2.0/24]" {
		t.Errorf("%v, %v", kept.Networks[1].Subnets(), err)
	}
}

// TestBridgesOfTheHost: what is the host's own is neither named nor given a MAC by labctl.
func TestBridgesOfTheHost(t *testing.T) {
	l := decided(t, `
name: site
networks:
  site: {uplink: "bridge:br0", subnet: 192.0.2.0/24, gateway: 192.0.2.254}
  test: {sides: [a, b], under-test: external, uplinks: {a: "bridge:br1", b: eth7}}
nodes:
  one: {nics: [{network: site, address: 192.0.2.10}, {network: test, side: a}]}
  two: {nics: [{network: site, address: 192.0.2.1}, {network: test, side: b}]}
`)
	site, test := l.Networks[0], l.Networks[1]
	s := site.Segments[0]
	if site.Uplink != UplinkBridge || site.Gateway.IsValid() || !s.Existing || s.Bridge != "br0" || s.Object != "" || s.MAC != nil {
		t.Errorf("got %+v", site)
	}
	if a, b := test.Segments[0], test.Segments[1]; test.Wire != nil || !a.Existing || a.Bridge != "br1" || b.Existing || b.Uplink != "eth7" || b.Object == "" || test.Directions() != nil {
		t.Errorf("got %+v", test)
	}
	nic := l.Nodes[0].NICs[0]
	if nic.Bridge != "br0" || nic.Gateway.String() != "192.0.2.254" || l.Nodes[0].NICs[1].Bridge != "br1" {
		t.Errorf("got %+v", nic)
	}
}

// prefixMap is of names and prefixes in turn.
func prefixMap(pairs ...string) map[string]netip.Prefix {
	m := make(map[string]netip.Prefix)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = netip.MustParsePrefix(pairs[i+1])
	}
	return m
}
