package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// HostEntry is one line of a hosts file.
type HostEntry struct {
	Address netip.Addr
	Names   []string
}

// Hosts is what a node of the lab resolves. A node's own name is loopback.
// Another node's plain name is its address on the first network with sides
// which both are on, so that measured traffic takes the network under test; or
// on one which the node reaches through the fewest nodes that forward; else on
// the first other network which both are on; else its first address.
// NAME.NETWORK is always the address on that network, on the node itself too;
// of a node on both sides it is the nearer one, and NAME.NETWORK.SIDE is either.
// Each name that has an IPv4 address has the IPv6 address of the same NIC too, if there is one.
func (l Lab) Hosts(of Node) []HostEntry {
	near := l.nearness(of)
	entries := []HostEntry{
		{netip.AddrFrom4([4]byte{127, 0, 0, 1}), []string{"localhost"}},
		{netip.AddrFrom4([4]byte{127, 0, 1, 1}), []string{of.Name}},
	}
	for _, n := range l.Nodes {
		var nics []NIC // that have an address, as they stand in the file
		for _, c := range n.NICs {
			if c.Address.IsValid() {
				nics = append(nics, c)
			}
		}
		nearest := slices.Clone(nics)
		slices.SortStableFunc(nearest, func(a, b NIC) int { return near.compare(a, b) })
		for _, c := range nics {
			on := slices.IndexFunc(nearest, func(o NIC) bool { return o.Network == c.Network })
			var names []string
			if nearest[on].Side == c.Side {
				names = append(names, n.Name+"."+c.Network)
			}
			if both := slices.ContainsFunc(nics, func(o NIC) bool { return o.Network == c.Network && o.Side != c.Side }); both {
				names = append(names, n.Name+"."+c.Network+"."+c.Side)
			}
			if n.Name != of.Name && c.MAC.String() == nearest[0].MAC.String() {
				names = append(names, n.Name)
			}
			for _, a := range c.Addresses() {
				entries = append(entries, HostEntry{a.Addr(), names})
			}
		}
	}
	return entries
}

// nearness orders NICs by how a node comes to them.
type nearness struct {
	hops    map[netip.Prefix]int // nodes that forward, to subnets of networks with sides
	on      map[string]bool      // the networks without sides that it is on
	network map[string]int       // their order in the file
}

func (l Lab) nearness(of Node) nearness {
	n := nearness{l.reaches(of), make(map[string]bool), make(map[string]int)}
	for _, c := range of.NICs {
		if c.Side == "" && c.Address.IsValid() {
			n.on[c.Network] = true
		}
	}
	for i, net := range l.Networks {
		n.network[net.Name] = i
	}
	return n
}

// compare puts NICs that are reached by networks with sides before those on a network
// that both nodes are on, and these before all others, which keep their order.
func (n nearness) compare(a, b NIC) int {
	kind := func(c NIC) (kind, hops int) {
		hops, measured := n.hops[c.Address.Masked()]
		switch {
		case c.Side != "" && measured:
			return 0, hops
		case n.on[c.Network]:
			return 1, 0
		default:
			return 2, 0
		}
	}
	ka, ha := kind(a)
	kb, hb := kind(b)
	if ka == 2 && kb == 2 {
		return 0
	}
	return cmp.Or(cmp.Compare(ka, kb), cmp.Compare(ha, hb), cmp.Compare(n.network[a.Network], n.network[b.Network]))
}
