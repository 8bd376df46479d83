package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// IPv6 stands beside IPv4 on the networks whose files name a subnet of it. Nothing of
// it is chosen but the NICs' addresses, and these only within that subnet.

// leastMTU6 is what every network with IPv6 carries (RFC 8200, section 5).
const leastMTU6 = 1280

// How large a subnet of IPv6 may be (bits of its prefix).
const (
	largest6  = 48
	smallest6 = 126
)

const example6 = "expected an IPv6 prefix, such as fd00:7:1::/64"

// special6 are prefixes (RFC 6890) which no network can have. That for documentation
// is like any other here.
var special6 = []netip.Prefix{
	netip.MustParsePrefix("::/8"),      // unspecified, loopback, IPv4 in IPv6 and its translations
	netip.MustParsePrefix("fe80::/10"), // link-local
	netip.MustParsePrefix("fec0::/10"), // site-local, no longer used (RFC 3879)
	netip.MustParsePrefix("ff00::/8"),  // multicast
}

// draftSubnets6 are the network's of IPv6, as far as the file names them.
func (n *draftNetwork) draftSubnets6() []*draftSubnet {
	var all []*draftSubnet
	add := func(side string, at path, text string) {
		if text != "" {
			s := newSubnet(n, side, at, text)
			s.six = true
			all = append(all, s)
		}
	}
	if under, _ := n.under(); under != UnderNode {
		add("", n.at.to("subnet6"), n.Subnet6)
		return all
	}
	for _, side := range n.Sides {
		add(side, n.at.to("subnets6", side), n.Subnets6[side])
	}
	return all
}

// allSubnets are the network's of both kinds of IP, those of IPv4 first.
func (n *draftNetwork) allSubnets() []*draftSubnet { return slices.Concat(n.subnets, n.subnets6) }

// addressIn is the NIC's address of the subnet's kind of IP, and its key in the file.
func (c *draftNIC) addressIn(s *draftSubnet) (netip.Addr, string) {
	if s.six {
		return c.address6, "address6"
	}
	return c.address, "address"
}

// leave is a way out that begins like this, and goes on so where something is chosen
// for what is left out: no subnet of IPv6 is.
func (s *draftSubnet) leave(first, otherwise string) string {
	if s.six {
		return first
	}
	return first + ", or " + otherwise
}

// gateway6 is the host's own address; the zero Addr where it has none there.
func (n *draftNetwork) gateway6() netip.Addr {
	if len(n.subnets6) == 0 || !n.subnets6[0].hosts() {
		return netip.Addr{}
	}
	return gateway(n.subnets6[0].prefix)
}

func usable6(s netip.Prefix) bool {
	return s.IsValid() && s.Addr().Is6() && s == s.Masked() && s.Bits() >= largest6 && s.Bits() <= smallest6 &&
		!slices.ContainsFunc(special6, s.Overlaps)
}

func subnet6(c *checker, n *draftSubnet) {
	p, s := n.at, n.prefix
	is := fmt.Sprintf("%s is %s", p, show(n.text))
	switch {
	case !s.IsValid():
		c.problem(p, is, example6)
	case !s.Addr().Is6():
		c.problem(p, is+", which is IPv4", example6+"; that of IPv4 stands in subnet:")
	case slices.ContainsFunc(special6, s.Overlaps):
		c.problem(p, is+", which has a meaning of its own on every machine", "expected a unique local prefix, such as fd00:7:1::/64")
	case s != s.Masked():
		c.problem(p, fmt.Sprintf("%s, an address inside a subnet", is), fmt.Sprintf("did you mean %s?", s.Masked()))
	case s.Bits() < largest6 || s.Bits() > smallest6:
		c.problem(p, is, fmt.Sprintf("expected /%d to /%d, such as fd00:7:1::/64", largest6, smallest6))
	case n.needs() > room6(s.Bits()):
		c.problem(p, fmt.Sprintf("%s is %s with %d addresses, and %d are needed", p, s, room6(s.Bits()), n.needs()), "make it larger; a network without sides also needs one address for the host")
	}
}

// room6 is the number of hosts in a subnet, as far as anybody counts: all but the
// address of its routers (RFC 4291, section 2.6.1).
func room6(bits int) int { return 1<<min(128-bits, 30) - 1 }

// sideSubnets6: IPv6 is on both sides that a node joins, or on neither.
func sideSubnets6(c *checker, n *draftNetwork) {
	under, _ := n.under()
	p := n.at.to("subnets6")
	if under != UnderNode {
		if n.Subnets6 != nil {
			c.problem(p, fmt.Sprintf("%s has IPv6 subnets by side, and no node joins sides of it", n.at), "write subnet6: for all of it, or under-test: node:NAME")
		}
		return
	}
	if n.Subnet6 != "" {
		c.problem(n.at.to("subnet6"), fmt.Sprintf("%s has one IPv6 subnet, and a node joins its sides", n.at), fmt.Sprintf("give each side its own: subnets6: {%s}", strings.Join(n.Sides, ": …, ")+": …"))
	}
	for _, side := range slices.Sorted(maps.Keys(n.Subnets6)) {
		if !slices.Contains(n.Sides, side) {
			c.problem(p.to(side), fmt.Sprintf("%s has an IPv6 subnet for unknown side %s", n.at, show(side)), meant(side, "sides", n.Sides))
		}
	}
	for _, side := range n.Sides {
		if n.Subnets6 != nil && n.Subnets6[side] == "" {
			c.problem(p, fmt.Sprintf("%s has IPv6 on one side only: %s has no subnet of it", n.at, side), "name one for each side, such as "+side+": fd00:7:2::/64; or for none")
		}
	}
}

func mtu6(c *checker, n *draftNetwork) {
	if len(n.subnets6) > 0 && n.MTU != nil && *n.MTU >= leastMTU && *n.MTU < leastMTU6 {
		p := n.at.to("mtu")
		c.problem(p, fmt.Sprintf("%s is %d, and the network has IPv6", p, *n.MTU), fmt.Sprintf("expected %d bytes or more (RFC 8200), or no %s:", leastMTU6, n.subnets6[0].at[2]))
	}
}

func nicAddress6(c *checker, n *draftNIC) {
	if n.network == nil || n.Mirror != nil {
		return
	}
	p := n.at.to("address6")
	if n.Address6 == "" {
		if n.subnet6 != nil && n.network.bridgeOf(n.Side) != "" && !n.network.sided() {
			c.problem(n.at, fmt.Sprintf("%s is on %s, a bridge of the host, and has no IPv6 address", n.node.at, n.network.at), "add address6: and one that is free there: labctl cannot know which are")
		}
		return
	}
	is := fmt.Sprintf("address6 %s of %s", show(n.Address6), n.node.at)
	leave := "choose another, or leave it out to have one chosen"
	switch {
	case !n.address6.IsValid():
		c.problem(p, is+" is not an address", "expected an IPv6 address without a prefix length, such as fd00:7:1::28")
	case !n.address6.Is6():
		c.problem(p, is+" is IPv4", "expected an IPv6 address, such as fd00:7:1::28; that of IPv4 stands in address:")
	case n.subnet6 == nil && len(n.network.subnets6) > 0: // of an unknown side
	case n.subnet6 == nil:
		c.problem(p, fmt.Sprintf("%s is given, and %s has no IPv6", is, n.network.at), "give the network the subnet which the address is in, such as subnet6: fd00:7:1::/64; or remove address6:")
	default:
		subnet, usable := n.subnet6.usable()
		switch {
		case !usable:
		case !subnet.Contains(n.address6):
			c.problem(p, fmt.Sprintf("%s is outside %s, the IPv6 subnet of %s", is, subnet, n.subnet6), leave)
		case n.address6 == subnet.Addr():
			c.problem(p, fmt.Sprintf("%s is that of the routers of %s", is, subnet), leave)
		case n.subnet6.hosts() && n.address6 == gateway(subnet):
			c.problem(p, fmt.Sprintf("%s is the host's own on %s", is, n.network.at), leave)
		}
	}
}

// publishUnreachable6: an IPv6 address of the host leads to nodes that have one too.
func publishUnreachable6(c *checker, n *draftNode) {
	if slices.ContainsFunc(n.nics, func(nic *draftNIC) bool {
		return nic.Mirror == nil && (nic.network == nil || nic.network.nat() && nic.subnet6 != nil)
	}) {
		return
	}
	for i, text := range n.Publish {
		if p, err := parsePublish(text); err == nil && p.HostAddress.Is6() {
			c.problem(n.at.to("publish", i), fmt.Sprintf("%s publishes %s, and is on no network with uplink: nat that has IPv6", n.at, show(text)), "give that network an IPv6 subnet, such as subnet6: fd00:7:1::/64, or publish on an IPv4 address")
		}
	}
}

// parseHost6 is an IPv6 address of the host that a port can be published on. The kernel
// has no way from ::1 to another machine, as it has from 127.0.0.1, and a link-local
// address is none without its link.
func parseHost6(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || !a.Is6() || a.Is4In6():
		return netip.Addr{}, fmt.Errorf("has the host address %s, which is not an IPv6 address", show(s))
	case a.IsUnspecified():
		return netip.Addr{}, errors.New("has the host address ::, which is every one: leave the address out")
	case a.IsLoopback():
		return netip.Addr{}, errors.New("has the host address ::1, from which nothing leads to another machine")
	case a.Zone() != "" || a.IsLinkLocalUnicast() || a.IsMulticast():
		return netip.Addr{}, fmt.Errorf("has the host address %s, by which the host is not reached from everywhere", show(s))
	}
	return a, nil
}

// chooseAddresses6 gives each NIC that has no IPv6 address one: that with the host
// number of its IPv4 address, or where that is taken the next free one.
func (s *draftSubnet) chooseAddresses6() error {
	if s.needs() > room6(s.prefix.Bits()) {
		return fmt.Errorf("network %s needs %d IPv6 addresses: its subnet %s has %d", s.key(), s.needs(), s.prefix, room6(s.prefix.Bits()))
	}
	taken := make(map[netip.Addr]bool, s.needs())
	if s.hosts() {
		taken[gateway(s.prefix)] = true
	}
	var open []*draftNIC
	for _, c := range s.nics {
		if c.address6.IsValid() {
			taken[c.address6] = true
		} else {
			open = append(open, c)
		}
	}
	open = slices.DeleteFunc(open, func(c *draftNIC) bool {
		like := plus(s.prefix.Addr(), number(c.address)-number(c.subnet.prefix.Addr()))
		if taken[like] || !s.prefix.Contains(like) {
			return false
		}
		c.address6, taken[like] = like, true
		return true
	})
	next := gateway(s.prefix)
	for _, c := range open {
		for taken[next] {
			next = next.Next()
		}
		c.address6, next = next, next.Next()
	}
	return nil
}

// plus is the address that many after one whose last 32 bits are free for it.
func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+n)
	return netip.AddrFrom16(b)
}
