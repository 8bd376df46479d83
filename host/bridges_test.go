package host

import (
	"net/netip"
	"strings"
	"testing"
)

// site is a host with a bridge on which a lab's network may be.
const site = `
link lo flags=0x9
link eno1 mac=3c:ec:ef:00:00:07
link br0 mac=3c:ec:ef:00:00:07
file sys/class/net/br0/mtu 1500
file sys/class/net/br0/addr_assign_type 0
file sys/class/net/br0/bridge/stp_state 0
file sys/class/net/br0/bridge/multicast_snooping 0
file sys/class/net/br0/bridge/vlan_filtering 0
file sys/class/net/br0/bridge/default_pvid 1
file sys/class/net/br0/brif/eno1/state 3
file proc/sys/net/ipv6/conf/br0/disable_ipv6 1
`

func TestBridges(t *testing.T) {
	for name, test := range map[string]struct {
		change []string // of the site
		bridge Bridge
		taken  string
		want   []said
	}{
		"fit":           {nil, Bridge{Name: "br0", MTU: 1500}, "", nil},
		"not there":     {nil, Bridge{Name: "br7", MTU: 1500}, "", []said{{"there is no bridge br7", "name a bridge of this host: br0; or make it"}}},
		"no bridge":     {nil, Bridge{Name: "eno1", MTU: 1500}, "", []said{{"link eno1 is no bridge", "br0"}}},
		"another lab's": {nil, Bridge{Name: "br0", MTU: 1500}, "lab red", []said{{"br0 is that of lab red", "another bridge"}}},
		"down":          {[]string{"link br0 mac", "link br0 flags=0x1002 mac"}, Bridge{Name: "br0", MTU: 1500}, "", []said{{"br0 is down", "ip link set br0 up"}}},
		"too small":     {nil, Bridge{Name: "br0", MTU: 9000}, "", []said{{"an MTU of 1500, and the network one of 9000", "write mtu: 1500 in the file; or, where all that is on the bridge can have it: ip link set br0 mtu 9000"}}},
		"made smaller":  {nil, Bridge{Name: "br0", MTU: 1400}, "", []said{{"an MTU of 1500, and the network one of 1400", "mtu: 1500"}}},
		"without ports": {
			[]string{"file sys/class/net/br0/brif/eno1/state 3", ""},
			Bridge{Name: "br0", MTU: 1500},
			"",
			[]said{{"would take a node's", "ip link set br0 address 3c:ec:ef:00:00:07"}},
		},
		"without ports, its MAC being set": {
			[]string{"file sys/class/net/br0/brif/eno1/state 3", "", "addr_assign_type 0", "addr_assign_type 3"}, Bridge{Name: "br0", MTU: 1500}, "", nil,
		},
		"with labs' taps alone": {
			[]string{"file sys/class/net/br0/brif/eno1/state 3", "link lct0 mac=fe:00:00:00:00:01\nfile sys/class/net/br0/brif/lct0/state 3"},
			Bridge{Name: "br0", MTU: 1500},
			"",
			[]said{{"would take a node's", ""}},
		},
		"in no VLAN": {
			[]string{"vlan_filtering 0", "vlan_filtering 1", "default_pvid 1", "default_pvid 0"},
			Bridge{Name: "br0", MTU: 1500},
			"",
			[]said{{"puts a new port into none", "vlan_default_pvid 1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := sys(t, changed(t, site, test.change...))
			test.bridge.For = "network control"
			got, err := hasBridges(t.Context(), h, Needs{Bridges: []Bridge{test.bridge}, Taken: map[string]string{"br0": test.taken}})
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, test.want)
		})
	}
}

// What a bridge adds to measured traffic is told of sides, and of them alone.
func TestDisturbs(t *testing.T) {
	for name, test := range map[string]struct {
		change []string
		want   string
	}{
		"nothing":      {nil, ""},
		"STP":          {[]string{"stp_state 0", "stp_state 1"}, "spanning tree"},
		"snooping":     {[]string{"multicast_snooping 0", "multicast_snooping 1"}, "multicast_snooping"},
		"IPv6":         {[]string{"disable_ipv6 1", "disable_ipv6 0"}, "the host speaks IPv6 on br0"},
		"br_netfilter": {[]string{"link lo", "file proc/sys/net/bridge/bridge-nf-call-iptables 1\nlink lo"}, "bridge-nf-call-iptables"},
		"and of IPv6":  {[]string{"link lo", "file proc/sys/net/bridge/bridge-nf-call-ip6tables 1\nlink lo"}, "bridge-nf-call-ip6tables"},
	} {
		h := sys(t, changed(t, site, test.change...))
		side := Bridge{For: "side client of network test", Name: "br0", MTU: 1500, Measured: true}
		got, err := h.Disturbs(Needs{Bridges: []Bridge{side}})
		switch {
		case err != nil:
			t.Error(name, err)
		case test.want == "" && len(got) > 0, test.want != "" && len(got) != 1:
			t.Errorf("%s: %+v", name, got)
		case test.want != "" && (!strings.Contains(got[0].What, test.want) || got[0].Wrong || got[0].Why == "" || got[0].Fix == ""):
			t.Errorf("%s: %+v", name, got[0])
		}
		side.Measured = false
		if got, err := h.Disturbs(Needs{Bridges: []Bridge{side}}); err != nil || len(got) > 0 {
			t.Errorf("%s: what is not measured is disturbed: %+v, %v", name, got, err)
		}
	}
}

func TestReaches(t *testing.T) {
	at := netip.MustParseAddr
	on := traffic{routes: []hostRoute{
		{Link: "eno1", To: netip.MustParsePrefix("0.0.0.0/0"), Via: at("203.0.113.1")},
		{Link: "tun0", To: netip.MustParsePrefix("128.0.0.0/1")},
		{Link: "br0", To: netip.MustParsePrefix("192.0.2.0/24"), Kernel: true},
		{Link: "eno1", To: netip.MustParsePrefix("198.51.100.0/24"), Via: at("203.0.113.2")},
	}}
	for address, want := range map[string]bool{"192.0.2.7": true, "198.51.100.7": true, "192.0.3.7": false} {
		if got := on.reaches(at(address)); got != want {
			t.Errorf("%s is reached: %v", address, got)
		}
	}
}
