package topology

import "net/netip"

// HostEntry is one line of a hosts file.
type HostEntry struct {
	Address netip.Addr
	Names   []string
}

// Hosts is what a node of the lab resolves. A node's own name is loopback.
// Another node's plain name is its address on the first network with sides
// which both are on, so that measured traffic takes the network under test;
// else on the first other network which both are on; else its first address.
// NAME.NETWORK is always the address on that network, on the node itself too.
func (l Lab) Hosts(of Node) []HostEntry {
	rank := l.ranks(of)
	entries := []HostEntry{
		{netip.AddrFrom4([4]byte{127, 0, 0, 1}), []string{"localhost"}},
		{netip.AddrFrom4([4]byte{127, 0, 1, 1}), []string{of.Name}},
	}
	for _, n := range l.Nodes {
		plain := -1 // the NIC which the plain name means
		for i, c := range n.NICs {
			if n.Name == of.Name || !c.Address.IsValid() {
				continue
			}
			if plain < 0 || rank[c.Network] < rank[n.NICs[plain].Network] {
				plain = i
			}
		}
		for i, c := range n.NICs {
			if !c.Address.IsValid() {
				continue
			}
			e := HostEntry{c.Address.Addr(), []string{n.Name + "." + c.Network}}
			if i == plain {
				e.Names = append(e.Names, n.Name)
			}
			entries = append(entries, e)
		}
	}
	return entries
}

// ranks order the networks by which a node resolves others: those it is on with
// sides, then those it is on without; both are below zero.
func (l Lab) ranks(of Node) map[string]int {
	on := make(map[string]bool, len(of.NICs))
	for _, c := range of.NICs {
		on[c.Network] = on[c.Network] || c.Address.IsValid()
	}
	rank := make(map[string]int, len(of.NICs))
	for i, n := range l.Networks {
		switch {
		case !on[n.Name]:
		case n.Sided():
			rank[n.Name] = i - 2*len(l.Networks)
		default:
			rank[n.Name] = i - len(l.Networks)
		}
	}
	return rank
}
