package topology

import (
	"net/netip"
	"slices"
)

// Packets cross the lab by its networks with sides, from subnet to subnet through the
// nodes that forward; never by a network without sides, which is not under test.

// route gives each NIC the subnets that are reached by it: each by the fewest nodes
// that forward, and of these by those that stand first in the file.
func (l *Lab) route() {
	measured := l.measured()
	for i := range l.Nodes {
		first := l.firstHops(l.Nodes[i])
		for _, to := range measured {
			hop, ok := first[to]
			if !ok {
				continue
			}
			nic := &l.Nodes[i].NICs[hop.nic]
			nic.Routes = append(nic.Routes, Route{to, hop.via})
		}
	}
}

// measured are the subnets of the networks with sides, each once.
func (l Lab) measured() []netip.Prefix {
	var all []netip.Prefix
	for _, n := range l.Networks {
		if n.Sided() {
			all = append(all, slices.Concat(n.Subnets(), n.Subnets6())...)
		}
	}
	return all
}

// hop is the first step of a way.
type hop struct {
	nic  int        // of the node that takes it
	via  netip.Addr // of the node that forwards
	hops int        // nodes that forward, on the whole way
}

// firstHops are how a node begins its way to each subnet that it has no NIC on.
func (l Lab) firstHops(from Node) map[netip.Prefix]hop {
	at := make(map[netip.Prefix]hop) // the subnets reached; those with a NIC by no hop
	var next []netip.Prefix
	for i, c := range from.NICs {
		for _, to := range subnetsOf(c) {
			at[to] = hop{nic: i}
			next = append(next, to)
		}
	}
	for ; len(next) > 0; next = next[1:] {
		here := next[0]
		for _, r := range l.Nodes {
			if !r.Forward || r.Name == from.Name {
				continue
			}
			enters, ok := addressIn(r, here)
			if !ok {
				continue
			}
			for _, to := range forwardsTo(r, here) {
				if _, known := at[to]; known {
					continue
				}
				step := at[here]
				step.hops++
				if step.hops == 1 {
					step.via = enters
				}
				at[to] = step
				next = append(next, to)
			}
		}
	}
	for to, step := range at {
		if step.hops == 0 {
			delete(at, to)
		}
	}
	return at
}

// subnetsOf are the measured subnets that a NIC is in, one of each kind of IP that
// it has; none for any other NIC.
func subnetsOf(c NIC) []netip.Prefix {
	if c.Side == "" || c.Mirror != "" {
		return nil
	}
	all := c.Addresses()
	for i := range all {
		all[i] = all[i].Masked()
	}
	return all
}

// forwardsTo are the measured subnets that a node forwards to from another, which are
// of the same kind of IP.
func forwardsTo(n Node, from netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, c := range n.NICs {
		for _, to := range subnetsOf(c) {
			if to.Addr().Is4() == from.Addr().Is4() {
				all = append(all, to)
			}
		}
	}
	return all
}

// addressIn is the address that a node has in a measured subnet.
func addressIn(n Node, subnet netip.Prefix) (netip.Addr, bool) {
	for _, c := range n.NICs {
		if c.Side == "" || c.Mirror != "" {
			continue
		}
		for _, a := range c.Addresses() {
			if a.Masked() == subnet {
				return a.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// reaches is how many nodes forward what a node sends to a subnet of a network with
// sides, by subnet; 0 where it has a NIC there.
func (l Lab) reaches(from Node) map[netip.Prefix]int {
	hops := make(map[netip.Prefix]int)
	for to, step := range l.firstHops(from) {
		hops[to] = step.hops
	}
	for _, c := range from.NICs {
		for _, in := range subnetsOf(c) {
			hops[in] = 0
		}
	}
	return hops
}

// letIn has each node that captures log into those whose frames it may see: the nodes
// which the mirrored one reaches by networks with sides.
func (l *Lab) letIn() {
	for i := range l.Nodes {
		c, ok := l.Nodes[i].Capture()
		if !ok {
			continue
		}
		from, ok := l.Node(c.Mirror)
		if !ok {
			continue
		}
		reached := l.reaches(from)
		for _, n := range l.Nodes {
			if n.Name != l.Nodes[i].Name && isIn(n, reached) {
				l.Nodes[i].Reaches = append(l.Nodes[i].Reaches, n.Name)
			}
		}
	}
}

func isIn(n Node, subnets map[netip.Prefix]int) bool {
	for _, c := range n.NICs {
		for _, in := range subnetsOf(c) {
			if _, there := subnets[in]; there {
				return true
			}
		}
	}
	return false
}
