package topology

import (
	"cmp"
	"fmt"
	"maps"
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
	switch bridge := strings.HasPrefix(n.Uplink, UplinkBridge+":"); {
	case n.sided() && n.Uplink != "":
		c.problem(p, fmt.Sprintf("%s is %s, and the network has sides", p, show(n.Uplink)), "only a network without sides has an uplink: remove uplink: or sides:")
	case bridge:
		c.checkBridge(p, n.bridgeOf(""))
	default:
		c.oneOf(p, n.Uplink, UplinkNAT, UplinkNone)
	}
}

func (c *checker) checkBridge(p path, name string) {
	if !linkName.MatchString(name) {
		c.problem(p, fmt.Sprintf("%s names the bridge %s, which can be no link's name", p, show(name)), "expected a bridge of the host as ip -br link show type bridge lists them, such as bridge:br0")
	}
}

// ofTheSite: who else is on a bridge of the host is not known, so nothing is chosen there.
func ofTheSite(c *checker, n *draftNetwork) {
	bridged := !n.sided() && n.bridgeOf("") != ""
	gateway, err := netip.ParseAddr(n.Gateway)
	p := n.at.to("gateway")
	switch {
	case n.Gateway == "":
	case !bridged:
		c.problem(p, fmt.Sprintf("%s is %s, and %s is on no bridge of the host", p, show(n.Gateway), n.at), "only with uplink: bridge:NAME has a network a gateway of its own: remove gateway:")
	case err != nil || !gateway.Is4():
		c.problem(p, fmt.Sprintf("%s is %s", p, show(n.Gateway)), "expected an IPv4 address, such as 192.0.2.1")
	default:
		if s, ok := n.subnets[0].usable(); ok && !s.Contains(gateway) {
			c.problem(p, fmt.Sprintf("%s is %s, outside %s", p, gateway, s), "the gateway is on the network itself")
		}
	}
	if !bridged {
		return
	}
	if n.Subnet == "" {
		c.problem(n.at.to("uplink"), fmt.Sprintf("%s is a bridge of the host, and names no subnet", n.at), "add subnet: and the one that is used there; each NIC needs an address: too")
	}
	for _, nic := range n.nics {
		if nic.Address == "" {
			c.problem(nic.at, fmt.Sprintf("%s is on %s, a bridge of the host, and has no address", nic.node.at, n.at), "add address: and one that is free there: labctl cannot know which are")
		}
	}
}

func underTest(c *checker, n *draftNetwork) {
	p := n.at.to("under-test")
	switch under, router := n.under(); {
	case n.UnderTest != "" && !n.sided():
		c.problem(p, fmt.Sprintf("%s is %s, and the network has no sides", p, show(n.UnderTest)), "add the two sides which it joins, such as sides: [client, server]")
	case under == UnderExternal:
		for _, side := range n.Sides {
			if n.Uplinks[side] == "" {
				c.problem(p, fmt.Sprintf("%s is external, and side %s leads nowhere", p, side), fmt.Sprintf("name a NIC or a bridge of the host in uplinks: {%s: NIC or bridge:NAME}", side))
			}
		}
	case under == UnderNode:
		c.router(n, p, router)
	default:
		c.oneOf(p, n.UnderTest, UnderWire, UnderExternal, UnderNode+":NAME")
	}
}

// router: it is a node with one NIC on each side.
func (c *checker) router(n *draftNetwork, p path, name string) {
	node := c.node[name]
	if node == nil {
		c.problem(p, fmt.Sprintf("%s is unknown node %s", p, show(name)), meant(name, "nodes", c.File.nodes))
		return
	}
	for _, side := range n.Sides {
		on := 0
		for _, nic := range node.nics {
			if nic.network == n && nic.Mirror == nil && nic.Side == side {
				on++
			}
		}
		if on != 1 {
			c.problem(p, fmt.Sprintf("%s joins the sides of %s, and has %d NICs on side %s", node.at, n.at, on, show(side)),
				fmt.Sprintf("give it one NIC on each side, such as {network: %s, side: %s}", n.name, side))
		}
	}
}

// sideSubnets: a subnet a side is for networks whose sides a node joins.
func sideSubnets(c *checker, n *draftNetwork) {
	under, _ := n.under()
	p := n.at.to("subnets")
	switch {
	case under == UnderNode && n.Subnet != "":
		c.problem(n.at.to("subnet"), fmt.Sprintf("%s has one subnet, and a node joins its sides", n.at), fmt.Sprintf("give each side its own: subnets: {%s}, or leave it out to have both chosen", strings.Join(n.Sides, ": …, ")+": …"))
	case under != UnderNode && n.Subnets != nil:
		c.problem(p, fmt.Sprintf("%s has subnets by side, and no node joins sides of it", n.at), "write subnet: for all of it, or under-test: node:NAME")
	}
	for _, side := range slices.Sorted(maps.Keys(n.Subnets)) {
		if under == UnderNode && !slices.Contains(n.Sides, side) {
			c.problem(p.to(side), fmt.Sprintf("%s has a subnet for unknown side %s", n.at, show(side)), meant(side, "sides", n.Sides))
		}
	}
}

func mtu(c *checker, n *draftNetwork) {
	if n.MTU != nil && (*n.MTU < leastMTU || *n.MTU > mostMTU) {
		p := n.at.to("mtu")
		c.problem(p, fmt.Sprintf("%s is %d", p, *n.MTU), fmt.Sprintf("expected %d to %d bytes", leastMTU, mostMTU))
	}
}

func subnet(c *checker, n *draftSubnet) {
	if n.text == "" {
		return
	}
	p, s := n.at, n.prefix
	const example = "expected an IPv4 prefix, such as 10.7.1.0/24"
	is := fmt.Sprintf("%s is %s", p, show(n.text))
	switch {
	case !s.IsValid():
		c.problem(p, is, example)
	case !s.Addr().Is4():
		c.problem(p, is+", which is IPv6", fmt.Sprintf("%s; IPv6 is beside it, in %v6:", example, p[2]))
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

// usable is the subnet if addresses can be judged by it.
func (n *draftSubnet) usable() (netip.Prefix, bool) {
	s := n.prefix
	if n.six {
		return s, usable6(s)
	}
	return s, s.IsValid() && s.Addr().Is4() && s == s.Masked() && s.Bits() >= 8 && s.Bits() <= 30
}

func subnetSize(c *checker, n *draftSubnet) {
	if s, ok := n.usable(); ok && n.needs() > room(s.Bits()) {
		c.problem(n.at, fmt.Sprintf("%s is %s with %d addresses, and %d are needed", n.at, s, room(s.Bits()), n.needs()), "make it larger; a network without sides also needs one address for the host")
	}
}

// overlaps finds subnets inside each other, in order of their addresses.
func overlaps(c *checker) {
	var ns []*draftSubnet
	for _, n := range c.networks {
		for _, s := range n.allSubnets() {
			if _, ok := s.usable(); ok {
				ns = append(ns, s)
			}
		}
	}
	slices.SortStableFunc(ns, func(a, b *draftSubnet) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	var around *draftSubnet // the one that reaches furthest so far
	for _, n := range ns {
		if around == nil || !around.prefix.Overlaps(n.prefix) {
			around = n
			continue
		}
		c.problem(n.at, fmt.Sprintf("%s is %s, which overlaps %s of %s", n.at, n.prefix, around.prefix, around), n.leave("give each network a subnet of its own", "leave it out to have one chosen"))
	}
}

func addressTwice(c *checker, n *draftSubnet) {
	first := make(map[netip.Addr]*draftNIC, len(n.nics))
	for _, nic := range n.nics {
		address, key := nic.addressIn(n)
		if !address.IsValid() {
			continue
		}
		if other, twice := first[address]; twice {
			c.problem(nic.at.to(key), fmt.Sprintf("address %s of node %s is that of node %s too", address, show(nic.node.name), show(other.node.name)), "give each its own, or leave it out to have one chosen")
			continue
		}
		first[address] = nic
	}
}
