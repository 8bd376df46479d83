package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// traffic is what the host itself does with its links, as the kernel tells it.
type traffic struct {
	links     []hostLink
	addresses []hostAddress
	routes    []hostRoute
	peer      netip.Addr // who started this process over ssh; the zero Addr where nobody has
	peerLink  string     // the link that leads there
}

type hostLink struct {
	Name, Kind string
	Master     string // the bridge, bond and the like that it is a port of; "" where it is none
	Under      string // the link that it is a VLAN, macvtap and the like of; "" where it is none
}

type hostAddress struct {
	Link   string
	Prefix netip.Prefix
}

// hostRoute is a route, or one of its ways where it has several.
type hostRoute struct {
	Link   string
	To     netip.Prefix
	Via    netip.Addr // the zero Addr where there is no gateway
	Table  int
	Kernel bool // the kernel's own, for an address
}

// use is one thing that the host does with a link.
type use struct {
	what    string // "address 192.0.2.1/24"
	end     string // the command that ends it
	address bool   // an address, of which a lab may be told to take it
}

// uses are what the host itself does with a link. What every link has, as
// link-local addresses, is none.
func (t traffic) uses(link string) []use {
	var all []use
	if t.peerLink == link {
		all = append(all, use{what: fmt.Sprintf("the way to %s, from where you are logged in by ssh", t.peer)})
	}
	for _, r := range t.routes {
		if r.Link == link && r.matters() {
			all = append(all, r.use())
		}
	}
	for _, l := range t.links {
		if l.Name == link && l.Master != "" {
			all = append(all, use{what: "a port of " + t.named(l.Master), end: "ip link set " + link + " nomaster"})
		}
		if l.Under == link {
			all = append(all, use{what: t.named(l.Name) + " on it", end: "ip link del " + l.Name})
		}
	}
	for _, a := range t.addresses {
		if addr := a.Prefix.Addr(); a.Link == link && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() {
			all = append(all, use{"address " + a.Prefix.String(), fmt.Sprintf("ip address del %s dev %s", a.Prefix, link), true})
		}
	}
	return all
}

// user says what the host uses a PCI device for; "" where for nothing.
func (t traffic) user(p PCI) string {
	for _, link := range p.Links {
		if uses := t.uses(link); len(uses) > 0 {
			return "the host: " + uses[0].what
		}
	}
	return ""
}

// named is a link with its kind, "bridge br0".
func (t traffic) named(link string) string {
	for _, l := range t.links {
		if l.Name == link && l.Kind != "" {
			return l.Kind + " " + link
		}
	}
	return link
}

// matters says whether a route is more than a link comes with. One with a gateway
// always is: a cloud's metadata are reached by a link-local address.
func (r hostRoute) matters() bool {
	to := r.To.Addr()
	return r.Via.IsValid() || !r.Kernel && !to.IsLinkLocalUnicast() && !to.IsMulticast()
}

func (r hostRoute) use() use {
	what, end, to := "route to "+r.To.String(), "ip route del ", r.To.String()
	if r.To.Bits() == 0 {
		what, to = "default route", "default"
	}
	if r.To.Addr().Is6() {
		end = "ip -6 route del "
	}
	end += to
	if r.Via.IsValid() {
		what += " via " + r.Via.String()
		end += gateway(r)
	}
	end += " dev " + r.Link
	if r.Table != unix.RT_TABLE_MAIN {
		what += fmt.Sprintf(" in table %d", r.Table)
		end += fmt.Sprintf(" table %d", r.Table)
	}
	return use{what: what, end: end}
}

// gateway is how ip writes a route's gateway, which may be of the other family.
func gateway(r hostRoute) string {
	if r.Via.Is6() && r.To.Addr().Is4() {
		return " via inet6 " + r.Via.String()
	}
	return " via " + r.Via.String()
}

// traffic asks the kernel. A tree of sysfs beside the kernel's has no traffic.
func (h *Host) traffic() (traffic, error) {
	if h.Root != "" {
		return traffic{}, nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return traffic{}, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var t traffic
	for _, l := range links {
		t.links = append(t.links, hostLink{l.Attrs().Name, l.Type(), names[l.Attrs().MasterIndex], names[under(l)]})
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return traffic{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		t.addresses = append(t.addresses, hostAddress{names[a.LinkIndex], prefixOf(a.IPNet)})
	}
	// Every table: a VPN's routes often stand in one of its own.
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return traffic{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		t.routes = append(t.routes, ways(r, names)...)
	}
	t.peer = h.sshPeer()
	t.peerLink, err = leadsTo(t.peer, names)
	return t, err
}

// under is the index of the link that a link stands on; 0 where it stands on none
// of this network namespace. The other end of a pair is none.
func under(l netlink.Link) int {
	if l.Type() == "veth" || l.Type() == "netkit" || l.Attrs().NetNsID >= 0 {
		return 0
	}
	return l.Attrs().ParentIndex
}

// ways are the ways of a route, one a gateway; none where it is not one of IP.
func ways(r netlink.Route, names map[int]string) []hostRoute {
	if r.Dst == nil {
		return nil
	}
	way := hostRoute{To: prefixOf(r.Dst), Table: r.Table, Kernel: r.Protocol == unix.RTPROT_KERNEL}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	}
	var all []hostRoute
	for _, hop := range hops {
		way.Link, way.Via = names[hop.LinkIndex], addrOf(hop.Gw)
		if via, ok := hop.Via.(*netlink.Via); ok && via != nil { // of the other family
			way.Via = addrOf(via.Addr)
		}
		all = append(all, way)
	}
	return all
}

// leadsTo is the link that leads to an address; "" where none does.
func leadsTo(peer netip.Addr, names map[int]string) (string, error) {
	if !peer.IsValid() || peer.Zone() != "" {
		return peer.Zone(), nil
	}
	routes, err := netlink.RouteGet(peer.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the route to %s: %w", peer, err)
	}
	if len(routes) == 0 {
		return "", nil
	}
	return names[routes[0].LinkIndex], nil
}

// prefixOf keeps the bits of the address behind the prefix.
func prefixOf(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), bits)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// sshPeer is from where this process was started over ssh; the zero Addr where it
// was not. sudo drops what sshd says, so the processes above are asked as well.
func (h *Host) sshPeer() netip.Addr {
	for pid := "self"; pid != "" && pid != "0"; pid = h.status(pid, "PPid:") {
		for _, variable := range strings.Split(h.told("proc", pid, "environ"), "\x00") {
			connection, ok := strings.CutPrefix(variable, "SSH_CONNECTION=")
			if !ok {
				continue
			}
			client, _, _ := strings.Cut(connection, " ")
			if peer, err := netip.ParseAddr(client); err == nil {
				return peer.Unmap()
			}
		}
	}
	return netip.Addr{}
}

// status is what a process's status says behind key; "" where it is not told.
func (h *Host) status(pid, key string) string {
	for line := range strings.Lines(h.told("proc", pid, "status")) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
