package host

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestUses(t *testing.T) {
	route := func(to, via string, table int, kernel bool) traffic {
		r := hostRoute{Link: "eth1", To: netip.MustParsePrefix(to), Table: table, Kernel: kernel}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		return traffic{routes: []hostRoute{r}}
	}
	const mainTable, local, vpn = unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL, 51820
	for name, test := range map[string]struct {
		traffic   traffic
		what, end string // none where the link is in no use
	}{
		"nothing":                   {traffic{}, "", ""},
		"default route":             {route("0.0.0.0/0", "192.0.2.1", mainTable, false), "default route via 192.0.2.1", "ip route del default via 192.0.2.1 dev eth1"},
		"default route, IPv6":       {route("::/0", "fe80::1", mainTable, false), "default route via fe80::1", "ip -6 route del default via fe80::1 dev eth1"},
		"default without a gateway": {route("0.0.0.0/0", "", mainTable, false), "default route", "ip route del default dev eth1"},
		"gateway of the other family": {
			route("0.0.0.0/0", "fe80::1", mainTable, false), "default route via fe80::1", "ip route del default via inet6 fe80::1 dev eth1",
		},
		"gateway route": {
			route("10.0.0.0/8", "192.0.2.9", mainTable, false),
			"route to 10.0.0.0/8 via 192.0.2.9", "ip route del 10.0.0.0/8 via 192.0.2.9 dev eth1",
		},
		"route in another table": {
			route("10.0.0.0/8", "", vpn, false),
			"route to 10.0.0.0/8 in table 51820", "ip route del 10.0.0.0/8 dev eth1 table 51820",
		},
		"route of somebody's": {
			route("2001:db8:1::/48", "", mainTable, false),
			"route to 2001:db8:1::/48", "ip -6 route del 2001:db8:1::/48 dev eth1",
		},
		"kernel's with a gateway": {
			route("198.51.100.0/24", "192.0.2.1", mainTable, true),
			"route to 198.51.100.0/24 via 192.0.2.1", "ip route del 198.51.100.0/24 via 192.0.2.1 dev eth1",
		},
		"link-local with a gateway": {
			route("169.254.169.254/32", "192.0.2.1", mainTable, false),
			"route to 169.254.169.254/32 via 192.0.2.1", "ip route del 169.254.169.254/32 via 192.0.2.1 dev eth1",
		},
		"kernel's for an address":  {route("192.0.2.0/24", "", mainTable, true), "", ""},
		"kernel's for the host":    {route("192.0.2.7/32", "", local, true), "", ""},
		"link-local route":         {route("fe80::/64", "", mainTable, false), "", ""},
		"link-local route, IPv4":   {route("169.254.0.0/16", "", mainTable, false), "", ""},
		"multicast route":          {route("ff00::/8", "", local, false), "", ""},
		"multicast route, IPv4":    {route("224.0.0.0/4", "", mainTable, false), "", ""},
		"route of another link":    {traffic{routes: []hostRoute{{Link: "eth2", To: netip.MustParsePrefix("0.0.0.0/0")}}}, "", ""},
		"address of another link":  {addressed("eth2"), "", ""},
		"master of another link":   {traffic{links: []hostLink{{Name: "eth2", Master: "br0"}}}, "", ""},
		"on another link":          {traffic{links: []hostLink{{Name: "eth2.5", Under: "eth2"}}}, "", ""},
		"its own parent":           {traffic{links: []hostLink{{Name: "eth1", Kind: "macvtap", Under: "eth0"}}}, "", ""},
		"ssh on another link":      {traffic{peer: netip.MustParseAddr("192.0.2.1"), peerLink: "eth2"}, "", ""},
		"address":                  {addressed("eth1"), "address 192.0.2.7/24", "ip address del 192.0.2.7/24 dev eth1"},
		"link-local address":       {traffic{addresses: []hostAddress{{"eth1", netip.MustParsePrefix("fe80::1/64")}}}, "", ""},
		"link-local address, IPv4": {traffic{addresses: []hostAddress{{"eth1", netip.MustParsePrefix("169.254.1.1/16")}}}, "", ""},
		"unique local address": {
			traffic{addresses: []hostAddress{{"eth1", netip.MustParsePrefix("fd00::1/64")}}},
			"address fd00::1/64", "ip address del fd00::1/64 dev eth1",
		},
		"bridge": {
			traffic{links: []hostLink{{Name: "eth1", Master: "br0"}, {Name: "br0", Kind: "bridge"}}},
			"a port of bridge br0", "ip link set eth1 nomaster",
		},
		"a master not told of": {traffic{links: []hostLink{{Name: "eth1", Master: "ovs"}}}, "a port of ovs", "ip link set eth1 nomaster"},
		"VLAN":                 {traffic{links: []hostLink{{Name: "eth1.5", Kind: "vlan", Under: "eth1"}}}, "vlan eth1.5 on it", "ip link del eth1.5"},
		"ssh": {
			traffic{peer: netip.MustParseAddr("198.51.100.7"), peerLink: "eth1"},
			"the way to 198.51.100.7, from where you are logged in by ssh", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.traffic.uses("eth1")
			if test.what == "" {
				if len(got) > 0 {
					t.Errorf("%v; want none", got)
				}
				return
			}
			if len(got) != 1 || got[0].what != test.what || got[0].end != test.end || got[0].address != (len(test.traffic.addresses) > 0) {
				t.Errorf("%+v; want %q, ended by %q", got, test.what, test.end)
			}
		})
	}
}

// network is a prefix as netlink has it, with the bits behind it.
func network(t *testing.T, text string) *net.IPNet {
	t.Helper()
	p := netip.MustParsePrefix(text)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func TestWays(t *testing.T) {
	names := map[int]string{2: "eth0", 3: "eth1"}
	for name, test := range map[string]struct {
		route netlink.Route
		want  []hostRoute
	}{
		"one": {
			netlink.Route{LinkIndex: 2, Dst: network(t, "10.0.0.0/8"), Gw: net.ParseIP("192.0.2.1"), Table: 254, Protocol: unix.RTPROT_STATIC},
			[]hostRoute{{Link: "eth0", To: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("192.0.2.1"), Table: 254}},
		},
		"the kernel's": {
			netlink.Route{LinkIndex: 2, Dst: network(t, "2001:db8::/64"), Table: 254, Protocol: unix.RTPROT_KERNEL},
			[]hostRoute{{Link: "eth0", To: netip.MustParsePrefix("2001:db8::/64"), Table: 254, Kernel: true}},
		},
		"by the other family": {
			netlink.Route{LinkIndex: 2, Dst: network(t, "0.0.0.0/0"), Via: &netlink.Via{Addr: net.ParseIP("fe80::1")}},
			[]hostRoute{{Link: "eth0", To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("fe80::1")}},
		},
		"several": {
			netlink.Route{Dst: network(t, "0.0.0.0/0"), MultiPath: []*netlink.NexthopInfo{
				{LinkIndex: 2, Gw: net.ParseIP("192.0.2.1")},
				{LinkIndex: 3},
			}},
			[]hostRoute{
				{Link: "eth0", To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")},
				{Link: "eth1", To: netip.MustParsePrefix("0.0.0.0/0")},
			},
		},
		"not one of IP": {netlink.Route{LinkIndex: 2}, nil},
	} {
		got := ways(test.route, names)
		if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestUnder(t *testing.T) {
	here, elsewhere := netlink.LinkAttrs{ParentIndex: 7, NetNsID: -1}, netlink.LinkAttrs{ParentIndex: 7, NetNsID: 3}
	for name, test := range map[string]struct {
		link netlink.Link
		want int
	}{
		"VLAN":               {&netlink.Vlan{LinkAttrs: here}, 7},
		"macvtap":            {&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: here}}, 7},
		"ipvlan":             {&netlink.IPVlan{LinkAttrs: here}, 7},
		"of an unknown kind": {&netlink.GenericLink{LinkAttrs: here, LinkType: "macsec"}, 7},
		"on one elsewhere":   {&netlink.Macvlan{LinkAttrs: elsewhere}, 0},
		"end of a pair":      {&netlink.Veth{LinkAttrs: here}, 0},
		"end of a netkit":    {&netlink.Netkit{LinkAttrs: here}, 0},
	} {
		if got := under(test.link); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestSSHPeer(t *testing.T) {
	const ssh = `SSH_CONNECTION=192.0.2.9 50000 192.0.2.1 22`
	for name, test := range map[string]struct {
		spec string
		want string // "" where nobody came by ssh
	}{
		"this process's": {`file proc/self/environ A=B\0` + ssh + `\0C=D`, "192.0.2.9"},
		"one above sudo": {
			`
			file proc/self/environ A=B\0SUDO_USER=u
			file proc/self/status Name: labctl\nPPid: 30\nTracerPid: 9
			file proc/30/status Name: sudo\nPPid: 20
			file proc/20/environ A=B\0` + ssh + `
			file proc/20/status Name: bash\nPPid: 1
			file proc/1/environ SSH_CONNECTION=198.51.100.1 1 2 3`,
			"192.0.2.9",
		},
		"a name that lies":    {`file proc/self/status Name: PPid: 30\nPPid: 1` + "\nfile proc/30/environ " + ssh, ""},
		"IPv6":                {"file proc/self/environ SSH_CONNECTION=fe80::9%eth0 1 fe80::1%eth0 22", "fe80::9%eth0"},
		"IPv4 in IPv6":        {"file proc/self/environ SSH_CONNECTION=::ffff:192.0.2.9 1 ::ffff:192.0.2.1 22", "192.0.2.9"},
		"nobody":              {`file proc/self/environ A=B` + "\n" + `file proc/self/status PPid: 1` + "\n" + `file proc/1/status PPid: 0`, ""},
		"another's variable":  {"file proc/self/environ OLD_" + ssh, ""},
		"what is no address":  {"file proc/self/environ SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535", ""},
		"no processes at all": {"", ""},
	} {
		if got := sys(t, test.spec).sshPeer(); got.IsValid() != (test.want != "") || got.IsValid() && got.String() != test.want {
			t.Errorf("%s: %s, want %q", name, got, test.want)
		}
	}
}

func TestLeadsToLinkLocal(t *testing.T) {
	got, err := leadsTo(netip.MustParseAddr("fe80::1%eth1"), nil)
	if got != "eth1" || err != nil {
		t.Errorf("%q, %v; want eth1", got, err)
	}
	if got, err := leadsTo(netip.Addr{}, nil); got != "" || err != nil {
		t.Errorf("where nobody came by ssh: %q, %v", got, err)
	}
}
