package topology

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// passing is a lab whose client has a device of the host, captured elsewhere.
const passing = `
name: passing
networks:
  control:
  test: {sides: [client, server], uplinks: {client: eth1}}
nodes:
  client: {nics: [{network: control}, {network: test, side: client, passthrough: DEVICE}]}
  server: {nics: [{network: control}, {network: test, side: server}]}
  capture: {nics: [{network: control}, {mirror: client}]}
`

// with is the lab with the client's device, once it is found; from, to: what else is otherwise.
func with(t *testing.T, device string, found []Device, fromTo ...string) (Lab, error) {
	t.Helper()
	src := strings.NewReplacer(append(fromTo, "DEVICE", device)...).Replace(passing)
	f, err := Load("lab.yaml", []byte(src), known)
	if err != nil {
		t.Fatal(err)
	}
	return Decide(f, nil, Chosen{Devices: found})
}

var (
	ownMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	whole  = Device{Node: "client", Network: "test", Address: "0000:3b:00.0", MAC: ownMAC}
	vf     = Device{Node: "client", Network: "test", Address: "0000:3b:10.2", VF: true}
	ofPF   = Device{Node: "client", Network: "test", Address: "0000:3b:10.4", VF: true, PF: "eth0"}
	shown  = Device{Node: "client", Network: "test", Address: "0000:3b:10.2", VF: true, Representor: "eth0_1"}
)

// TestDevices: what a NIC is follows from what the file asks for and what was found.
func TestDevices(t *testing.T) {
	const noUplink = ", uplinks: {client: eth1}"
	given := MAC("nic", "passing", "client", "test") // the MAC of a NIC which has none of its own
	tap := LinkName("tap", "passing", "client", "test")
	for _, c := range []struct {
		name, device string
		found        []Device
		fromTo       []string
		want         NIC
		point        CapturePoint
	}{
		{"a whole one", `"0000:3b:00.0"`, []Device{whole}, nil, NIC{Kind: KindFunction, MAC: ownMAC, Host: HostDevice{PCI: "0000:3b:00.0"}}, CapturePoint{PointUplink, "eth1"}},
		{"one not found", `"0000:3b:00.0"`, nil, nil, NIC{Kind: KindFunction, Host: HostDevice{PCI: "0000:3b:00.0"}}, CapturePoint{PointUplink, "eth1"}},
		{"another found", `"0000:5e:00.0"`, []Device{whole}, nil, NIC{Kind: KindFunction, Host: HostDevice{PCI: "0000:5e:00.0"}}, CapturePoint{PointUplink, "eth1"}},
		{"to be taken", `{device: "0000:3b:00.0", take: true}`, []Device{whole}, nil, NIC{Kind: KindFunction, MAC: ownMAC, Host: HostDevice{PCI: "0000:3b:00.0", Take: true}}, CapturePoint{PointUplink, "eth1"}},
		{"a virtual function", `"0000:3b:10.2"`, []Device{vf}, nil, NIC{Kind: KindVF, MAC: given, Host: HostDevice{PCI: "0000:3b:10.2"}}, CapturePoint{PointUplink, "eth1"}},
		{"any virtual function", `{pf: eth0, vlan: 42}`, []Device{ofPF}, nil, NIC{Kind: KindVF, MAC: given, Host: HostDevice{PCI: "0000:3b:10.4", PF: "eth0", VLAN: 42}}, CapturePoint{PointUplink, "eth1"}},
		{"of another NIC", `{pf: eth5}`, []Device{ofPF}, nil, NIC{Kind: KindVF, MAC: given, Host: HostDevice{PF: "eth5"}}, CapturePoint{PointUplink, "eth1"}},
		{"a macvtap", `{macvtap: eth0}`, nil, nil, NIC{Kind: KindMacvtap, MAC: given, Link: tap, Host: HostDevice{Macvtap: "eth0"}}, CapturePoint{PointMacvtap, tap}},
		{"a representor", `"0000:3b:10.2"`, []Device{shown}, []string{noUplink, ", uplinks: {server: eth1}"}, NIC{Kind: KindVF, MAC: given, Host: HostDevice{PCI: "0000:3b:10.2"}}, CapturePoint{PointRepresentor, "eth0_1"}},
		{"a port", `"0000:3b:00.0"`, []Device{whole}, []string{"mirror: client", "mirror: {from: client, port: eth9}"}, NIC{Kind: KindFunction, MAC: ownMAC, Host: HostDevice{PCI: "0000:3b:00.0"}}, CapturePoint{PointPort, "eth9"}},
		{"virtio", `{macvtap: eth0}`, nil, []string{", passthrough: DEVICE", ""}, NIC{Kind: KindVirtio, MAC: given, Link: tap, Bridge: LinkName("bridge", "passing", "test", "client")}, CapturePoint{PointTap, tap}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := with(t, c.device, c.found, c.fromTo...)
			if err != nil {
				t.Fatal(err)
			}
			got := l.Nodes[0].NICs[1]
			c.want.Network, c.want.Side, c.want.MTU, c.want.Address = "test", "client", 1500, got.Address
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if got := l.Nodes[2].NICs[1]; got.Point != c.point || got.Kind != KindVirtio || got.Mirror != "client" {
				t.Errorf("captured at %+v, want %+v", got.Point, c.point)
			}
		})
	}
}

// TestNowhereToCapture: a mirror that cannot be is an error at its line, which tells every way.
func TestNowhereToCapture(t *testing.T) {
	for _, found := range []Device{whole, vf} {
		_, err := with(t, `"`+found.Address+`"`, []Device{found}, "{client: eth1}", "{server: eth1}")
		want := "lab.yaml:9: node capture mirrors NIC 2 of node client, which is " + found.Address + " of the host: its frames pass the host nowhere"
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
			continue
		}
		for _, way := range []string{"uplinks: {client: NIC}", "mirror: {from: client, port: NIC}", "representor", "macvtap"} {
			if !strings.Contains(err.Error(), way) {
				t.Errorf("%s is no way out in %v", way, err)
			}
		}
	}
	if _, err := with(t, `"0000:3b:00.0"`, nil, "{client: eth1}", "{server: eth1}"); err != nil {
		t.Errorf("of a device that is not found: %v", err)
	}
}

func TestDifferencesOfDevices(t *testing.T) {
	old, err := with(t, `"0000:3b:00.0"`, []Device{whole})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		device string
		fromTo []string
		want   string
	}{
		{`"0000:3b:00.1"`, nil, "by 0000:3b:00.1"},
		{`{pf: eth0, vlan: 42}`, nil, "by a virtual function of eth0 in VLAN 42"},
		{`{pf: eth0}`, nil, "by a virtual function of eth0"},
		{`{macvtap: eth0}`, nil, "by a macvtap on eth0"},
		{`"0000:3b:00.0"`, []string{"{client: eth1}", "{client: eth2}"}, "networks.test.uplinks: client by eth1 → client by eth2"},
		{`"0000:3b:00.0"`, []string{"mirror: client", "mirror: {from: client, port: eth9}"}, "mirror of client on test from eth9"},
	} {
		now, err := with(t, c.device, nil, c.fromTo...)
		if err != nil {
			t.Fatal(err)
		}
		if d := Differences(old, now); len(d) != 1 || !strings.HasSuffix(d[0], c.want) {
			t.Errorf("%s, %v: %q, want %q", c.device, c.fromTo, d, c.want)
		}
	}
}

// TestDevicesOfBothSides: a node between two sides has a device on each.
func TestDevicesOfBothSides(t *testing.T) {
	f, err := Load("lab.yaml", []byte(`
name: both
networks:
  test: {sides: [client, server], under-test: "node:mid"}
nodes:
  mid: {nics: [{network: test, side: client, passthrough: {pf: eth0}}, {network: test, side: server, passthrough: {pf: eth0}}]}
`), known)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Decide(f, nil, Chosen{Devices: []Device{
		{Node: "mid", Network: "test", Address: "0000:3b:10.4", VF: true, PF: "eth0"}, {Node: "mid", Network: "test", Address: "0000:3b:10.6", VF: true, PF: "eth0"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := l.Nodes[0].NICs[0].Host.PCI, l.Nodes[0].NICs[1].Host.PCI; a != "0000:3b:10.4" || b != "0000:3b:10.6" {
		t.Errorf("they are %s and %s", a, b)
	}
}

// TestOVS: the bridges which labctl makes for sides are Open vSwitch's, what is plugged into
// them knows it, and the copy is taken by Open vSwitch; bridges of the host's own stay what they are.
func TestOVS(t *testing.T) {
	const own, site = ", uplinks: {client: eth1}}", `, uplinks: {client: "bridge:br1"}}`
	kinds := func(l Lab) (of []bool) {
		for _, n := range l.Networks {
			for _, s := range n.Segments {
				of = append(of, s.OVS)
			}
			if n.Wire != nil {
				of = append(of, n.Wire.Ends[0].OVS, n.Wire.Ends[1].OVS)
			}
		}
		for _, n := range l.Nodes {
			for _, c := range n.NICs {
				of = append(of, c.OVS)
			}
		}
		return of
	}
	for name, c := range map[string]struct {
		to, point string
		want      []bool // segments: control, client, server; wire ends; NICs: two a node
	}{
		"linux":       {", bridge: linux}", PointTap, make([]bool, 11)},
		"ovs":         {", bridge: ovs}", PointOVS, []bool{false, true, true, true, true, false, true, false, true, false, false}},
		"one of ours": {", bridge: ovs" + site, PointTap, []bool{false, false, true, false, true, false, false, false, true, false, false}},
	} {
		l, err := with(t, "", nil, ", passthrough: DEVICE", "", own, c.to)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, kinds(l)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		if got := l.Nodes[2].NICs[1].Point; got != (CapturePoint{c.point, l.Nodes[0].NICs[1].Link}) {
			t.Errorf("%s: captured at %+v", name, got)
		}
	}
}
