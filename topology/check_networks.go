package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bytes of an IP packet which a network may carry.
const (
	leastMTU = 576  // every IPv4 host takes that much
	mostMTU  = 9216 // jumbo frames, as most devices know them
)

func sides(c *checker, n *draftNetwork) {
	if !n.sided() {
		return
	}
	p := n.at.to("sides")
	if len(n.Sides) != 2 {
		c.problem(p, fmt.Sprintf("%s has sides, and they are %d", n.at, len(n.Sides)), "expected two, such as [client, server]; leave the key out for a plain network")
		return
	}
	for i, s := range n.Sides {
		switch {
		case !namePattern.MatchString(s):
			c.problem(p.to(i), fmt.Sprintf("side %s of %s has a name which is not allowed", show(s), n.at), nameHint)
		case slices.Contains(n.Sides[:i], s):
			c.problem(p.to(i), fmt.Sprintf("side %s of %s is given twice", s, n.at), "the two sides need different names")
		}
	}
}

func uplink(c *checker, n *draftNetwork) {
	p := n.at.to("uplink")
	switch {
	case n.sided() && n.Uplink != "":
		c.problem(p, fmt.Sprintf("%s is %s, and the network has sides", p, show(n.Uplink)), "only a network without sides has an uplink: remove uplink: or sides:")
	case !strings.HasPrefix(n.Uplink, "bridge:"):
		c.oneOf(p, n.Uplink, UplinkNAT, UplinkNone)
	}
}

func underTest(c *checker, n *draftNetwork) {
	p := n.at.to("under-test")
	switch {
	case n.UnderTest != "" && !n.sided():
		c.problem(p, fmt.Sprintf("%s is %s, and the network has no sides", p, show(n.UnderTest)), "add the two sides which it joins, such as sides: [client, server]")
	case n.UnderTest != "external" && !strings.HasPrefix(n.UnderTest, "node:"):
		c.oneOf(p, n.UnderTest, "wire")
	}
}

func mtu(c *checker, n *draftNetwork) {
	if n.MTU != nil && (*n.MTU < leastMTU || *n.MTU > mostMTU) {
		p := n.at.to("mtu")
		c.problem(p, fmt.Sprintf("%s is %d", p, *n.MTU), fmt.Sprintf("expected %d to %d bytes", leastMTU, mostMTU))
	}
}

func subnet(c *checker, n *draftNetwork) {
	if n.Subnet == "" {
		return
	}
	p, s := n.at.to("subnet"), n.subnet
	const example = "expected an IPv4 prefix, such as 10.7.1.0/24"
	is := fmt.Sprintf("%s is %s", p, show(n.Subnet))
	switch {
	case !s.IsValid():
		c.problem(p, is, example)
	case !s.Addr().Is4():
		c.later(p, "IPv6 ("+is+")", example)
	case s != s.Masked():
		c.problem(p, fmt.Sprintf("%s, an address inside a subnet", is), fmt.Sprintf("did you mean %s?", s.Masked()))
	case s.Bits() < 8:
		c.problem(p, is+", more than a lab may take", "expected /8 or longer, such as 10.7.1.0/24")
	case s.Bits() > 30:
		c.problem(p, is+", which has no room for two hosts", "expected /30 or shorter, such as 10.7.1.0/24")
	case slices.ContainsFunc(special, s.Overlaps):
		c.problem(p, is+", which has a meaning of its own on every machine", "expected a private prefix, such as 10.7.1.0/24")
	}
}

// special are prefixes (RFC 6890) which no network can have.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this network
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local
	netip.MustParsePrefix("224.0.0.0/4"),    // multicast
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved
}

// usable is the network's subnet if addresses can be judged by it.
func (n *draftNetwork) usable() (netip.Prefix, bool) {
	s := n.subnet
	return s, s.IsValid() && s.Addr().Is4() && s == s.Masked() && s.Bits() >= 8 && s.Bits() <= 30
}

func subnetSize(c *checker, n *draftNetwork) {
	if s, ok := n.usable(); ok && n.needs() > room(s.Bits()) {
		p := n.at.to("subnet")
		c.problem(p, fmt.Sprintf("%s is %s with %d addresses, and %d are needed", p, s, room(s.Bits()), n.needs()), "make it larger; a network without sides also needs one address for the host")
	}
}

// overlaps finds subnets inside each other, in order of their addresses.
func overlaps(c *checker) {
	var ns []*draftNetwork
	for _, n := range c.networks {
		if _, ok := n.usable(); ok {
			ns = append(ns, n)
		}
	}
	slices.SortStableFunc(ns, func(a, b *draftNetwork) int {
		return cmp.Or(a.subnet.Addr().Compare(b.subnet.Addr()), cmp.Compare(a.subnet.Bits(), b.subnet.Bits()))
	})
	var around *draftNetwork // the one that reaches furthest so far
	for _, n := range ns {
		if around == nil || !around.subnet.Overlaps(n.subnet) {
			around = n
			continue
		}
		p := n.at.to("subnet")
		c.problem(p, fmt.Sprintf("%s is %s, which overlaps %s of %s", p, n.subnet, around.subnet, around.at), "give each network a subnet of its own, or leave it out to have one chosen")
	}
}

func addressTwice(c *checker, n *draftNetwork) {
	first := make(map[netip.Addr]*draftNIC, len(n.nics))
	for _, nic := range n.nics {
		if !nic.address.IsValid() {
			continue
		}
		if other, twice := first[nic.address]; twice {
			c.problem(nic.at.to("address"), fmt.Sprintf("address %s of node %s is that of node %s too", nic.address, show(nic.node.name), show(other.node.name)), "give each its own, or leave it out to have one chosen")
			continue
		}
		first[nic.address] = nic
	}
}
