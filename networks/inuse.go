package networks

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
)

// InUse lists the prefixes in use on the host, sorted: addresses and routes of
// its links, subnets of libvirt's networks whether they run or not, and the
// subnets chosen for other labs. What is the lab's own is left out.
func InUse(h *host.Host, lab string) ([]netip.Prefix, error) {
	var used []netip.Prefix
	own := map[string]bool{} // the lab's bridges
	err := each(h, func(x libvirtxml.Network) error {
		tag, marked, err := mark(x)
		if err == nil && marked && tag.Lab == lab {
			if x.Bridge != nil {
				own[x.Bridge.Name] = true
			}
			return nil
		}
		for _, c := range tag.Chosen {
			used = append(used, c.Subnet)
		}
		for _, ip := range x.IPs {
			if p, ok := subnet(ip); ok {
				used = append(used, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	onLinks, err := linkPrefixes(own)
	if err != nil {
		return nil, err
	}
	used = slices.DeleteFunc(append(used, onLinks...), everywhere)
	slices.SortFunc(used, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(used), nil
}

// linkPrefixes are the prefixes of addresses and routes of every link but those named.
func linkPrefixes(but map[string]bool) ([]netip.Prefix, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	skip := map[int]bool{}
	for _, l := range links {
		skip[l.Attrs().Index] = but[l.Attrs().Name]
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	// Every table: a VPN's routes often stand in one of its own.
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var used []netip.Prefix
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok && !skip[a.LinkIndex] {
			used = append(used, p)
		}
	}
	for _, r := range routes {
		if p, ok := prefix(r.Dst); ok && !skip[r.LinkIndex] {
			used = append(used, p)
		}
	}
	return used, nil
}

// everywhere says whether a prefix tells nothing about what is in use: a default
// route, also in the two halves that VPNs write, link-local or multicast.
func everywhere(p netip.Prefix) bool {
	return p.Bits() <= 1 || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast()
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits).Masked(), ok
}

// subnet is the prefix of a libvirt network's address, which may be written
// with a netmask, a prefix length, or neither.
func subnet(ip libvirtxml.NetworkIP) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(ip.Address)
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := int(ip.Prefix)
	if mask := net.ParseIP(ip.Netmask).To4(); mask != nil {
		bits, _ = net.IPMask(mask).Size()
	}
	if bits == 0 { // as libvirt reads it: 64, or the address's old class
		bits = 64
		if addr.Is4() {
			bits, _ = net.IP(addr.AsSlice()).DefaultMask().Size()
		}
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}
