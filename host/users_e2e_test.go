//go:build e2e

package host_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// What the host does with its links is told by a real kernel.
func TestLinksInUse(t *testing.T) {
	t.Setenv("SSH_CONNECTION", "198.51.100.7 50000 198.51.100.1 22") // the processes inside start with it
	hosttest.Private(t, func(t *testing.T) {
		for _, link := range []string{"addressed", "way", "routed", "port", "parent", "idle"} {
			up(t, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link}, PeerName: link + ".peer"})
		}
		address(t, "addressed", "192.0.2.7/24")
		address(t, "addressed", "2001:db8::7/64")
		address(t, "way", "198.51.100.1/24")
		done(t, netlink.RouteAdd(&netlink.Route{LinkIndex: index(t, "way"), Gw: net.IPv4(198, 51, 100, 2)}))
		done(t, netlink.RouteAdd(&netlink.Route{LinkIndex: index(t, "routed"), Dst: cidr(t, "2001:db8:7::/48"), Table: 77}))
		done(t, netlink.RouteAdd(&netlink.Route{Dst: cidr(t, "203.0.113.0/24"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: index(t, "way"), Gw: net.IPv4(198, 51, 100, 3)},
			{LinkIndex: index(t, "routed"), Gw: net.IPv4(198, 51, 100, 4), Flags: unix.RTNH_F_ONLINK},
		}}))
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
		up(t, bridge)
		port, err := netlink.LinkByName("port")
		done(t, err)
		done(t, netlink.LinkSetMaster(port, bridge))
		up(t, &netlink.Macvtap{Macvlan: netlink.Macvlan{
			LinkAttrs: netlink.LinkAttrs{Name: "tap", ParentIndex: index(t, "parent")}, Mode: netlink.MACVLAN_MODE_BRIDGE,
		}})

		for link, want := range map[string]string{
			"addressed": "in use by the host itself: address 192.0.2.7/24, address 2001:db8::7/64",
			"way": "in use by the host itself: the way to 198.51.100.7, from where you are logged in by ssh, default route via 198.51.100.2, " +
				"route to 203.0.113.0/24 via 198.51.100.3, address 198.51.100.1/24",
			"routed":    "in use by the host itself: route to 203.0.113.0/24 via 198.51.100.4, route to 2001:db8:7::/48 in table 77",
			"port":      "in use by the host itself: a port of bridge bridge",
			"parent":    "in use by the host itself: macvtap tap on it",
			"idle":      "", // for all its link-local address
			"idle.peer": "",
			"bridge":    "",
			"tap":       "",
			"lo":        "link lo is the host's loopback",
			"none":      "there is no link none on this host",
		} {
			t.Run(link, func(t *testing.T) { refuses(t, link, want) })
		}
	})
}

// refuses checks how the one reason ends why a link cannot be taken; "" where it can.
func refuses(t *testing.T, link, want string) {
	t.Helper()
	h, err := host.Connect("", host.DefaultDir)
	done(t, err)
	defer h.Close()
	err = host.Preflight(t.Context(), h, host.Needs{Links: []host.LinkUse{{For: "uplink of test/client", Link: link}}})
	var u host.Unfits
	if want == "" {
		done(t, err)
	} else if !errors.As(err, &u) || len(u) != 1 || !strings.HasSuffix(u[0].What, want) {
		t.Errorf("%v; want %q", err, want)
	}
}

func up(t *testing.T, l netlink.Link) {
	t.Helper()
	done(t, netlink.LinkAdd(l))
	made, err := netlink.LinkByName(l.Attrs().Name)
	done(t, err)
	done(t, netlink.LinkSetUp(made))
	if pair, ok := l.(*netlink.Veth); ok {
		peer, err := netlink.LinkByName(pair.PeerName)
		done(t, err)
		done(t, netlink.LinkSetUp(peer))
	}
}

func index(t *testing.T, link string) int {
	t.Helper()
	l, err := netlink.LinkByName(link)
	done(t, err)
	return l.Attrs().Index
}

func address(t *testing.T, link, text string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	done(t, err)
	a, err := netlink.ParseAddr(text)
	done(t, err)
	done(t, netlink.AddrAdd(l, a))
}

func cidr(t *testing.T, text string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(text)
	done(t, err)
	return n
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
