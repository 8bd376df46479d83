package lab

import (
	"net/netip"
	"slices"

	"github.com/mami-project/labctl/topology"
)

// flow is marked frames from one node to another.
type flow struct {
	from, to topology.Node
	network  topology.Network // where it begins
	src, dst netip.Addr
	sizes    []int   // IP packet lengths
	path     []place // NICs that each frame passes, in order
	impaired bool    // something on the path is, so that not all may arrive
}

// place is a NIC of a node.
type place struct {
	node string
	nic  int
}

// flowsOf pairs the nodes on either side of each network, both ways, so that every
// node has a part; and then those of different networks that are reached through
// nodes which forward. Where both have IPv6 they are paired by it too.
func flowsOf(l topology.Lab) []flow {
	var flows []flow
	pair := func(a, b []topology.Node, on, other topology.Network) {
		if len(a) == 0 || len(b) == 0 {
			return
		}
		for i := range max(len(a), len(b)) {
			x, y := a[i%len(a)], b[i%len(b)]
			for _, kind := range []func(topology.NIC) netip.Prefix{address4, address6} {
				there, back := newFlow(l, on, x, other, y, kind), newFlow(l, other, y, on, x, kind)
				if there.path != nil && back.path != nil {
					flows = append(flows, there, back)
				}
			}
		}
	}
	for _, n := range l.Networks {
		if n.Sided() {
			pair(nodesOn(l, n, n.Segments[0].Side), nodesOn(l, n, n.Segments[1].Side), n, n)
		}
	}
	for i, n := range l.Networks {
		for _, other := range l.Networks[i+1:] {
			pair(endsOf(l, n, other), endsOf(l, other, n), n, other)
		}
	}
	return flows
}

// nodesOn are the nodes on a side, but for the one that joins it to the other.
func nodesOn(l topology.Lab, n topology.Network, side string) []topology.Node {
	var on []topology.Node
	for _, node := range l.Nodes {
		if _, ok := node.NICOn(n.Name, side); ok && node.Name != n.Router {
			on = append(on, node)
		}
	}
	return on
}

// endsOf are the nodes on a network with sides that do not forward, and are not on the other one.
func endsOf(l topology.Lab, n, but topology.Network) []topology.Node {
	if !n.Sided() {
		return nil
	}
	var ends []topology.Node
	for _, node := range l.Nodes {
		_, on := node.NIC(n.Name)
		if _, both := node.NIC(but.Name); on && !both && !node.Forward {
			ends = append(ends, node)
		}
	}
	return ends
}

// The kinds of IP that a flow can take, by the address that a NIC has of it.
func address4(c topology.NIC) netip.Prefix { return c.Address }
func address6(c topology.NIC) netip.Prefix { return c.Address6 }

// newFlow is from a node on one network to a node on the same or another, by one kind
// of IP; without a path where none leads there, or none that begins on that network.
func newFlow(l topology.Lab, n topology.Network, from topology.Node, on topology.Network, to topology.Node, address func(topology.NIC) netip.Prefix) flow {
	src, _ := from.NIC(n.Name)
	dst, _ := to.NIC(on.Name)
	f := flow{from: from, to: to, network: n, src: address(src).Addr(), dst: address(dst).Addr()}
	if !f.src.IsValid() || !f.dst.IsValid() {
		return f
	}
	f.path = pathOf(l, from, f.dst)
	mtu := n.MTU
	for _, p := range f.path {
		node, _ := l.Node(p.node)
		mtu = min(mtu, node.NICs[p.nic].MTU)
	}
	f.sizes = sizesOf(f.src, mtu)
	return f
}

// sizesOf are the lengths of a flow's IP packets on a path that carries mtu.
func sizesOf(src netip.Addr, mtu int) []int {
	all, fence := packetSizes, fenceSize
	if src.Is6() {
		all, fence = packetSizes6, fenceSize6
	}
	var sizes []int
	for _, s := range all {
		if s < mtu {
			sizes = append(sizes, s)
		}
	}
	return append(sizes, mtu, fence)
}

// six says whether the flow's packets are IPv6.
func (f flow) six() bool { return f.src.Is6() }

// pathOf are the NICs that packets pass from a node to an address on a network with
// sides; nil where no route leads there.
func pathOf(l topology.Lab, from topology.Node, to netip.Addr) []place {
	var path []place
	for at := from; len(path) <= 2*len(l.Nodes); {
		out, via := stepTo(at, to)
		if out < 0 {
			return nil
		}
		path = append(path, place{at.Name, out})
		next, in := whoHas(l, via)
		if in < 0 {
			return nil
		}
		path = append(path, place{next.Name, in})
		if hasAddress(next, to) { // on whichever NIC it is
			return path
		}
		at = next
	}
	return nil
}

// stepTo is the NIC by which a node sends to an address, and whom it sends to; -1 where it cannot.
func stepTo(n topology.Node, to netip.Addr) (nic int, via netip.Addr) {
	for i, c := range n.NICs {
		on := func(a netip.Prefix) bool { return a.Masked().Contains(to) }
		if c.Side != "" && c.Mirror == "" && slices.ContainsFunc(c.Addresses(), on) {
			return i, to
		}
	}
	for i, c := range n.NICs {
		k := slices.IndexFunc(c.Routes, func(r topology.Route) bool { return r.To.Contains(to) })
		if k >= 0 {
			return i, c.Routes[k].Via
		}
	}
	return -1, netip.Addr{}
}

func hasAddress(n topology.Node, a netip.Addr) bool {
	return slices.ContainsFunc(n.NICs, func(c topology.NIC) bool { return bears(c, a) })
}

func bears(c topology.NIC, a netip.Addr) bool {
	return slices.ContainsFunc(c.Addresses(), func(has netip.Prefix) bool { return has.Addr() == a })
}

// whoHas is the node whose NIC has that address.
func whoHas(l topology.Lab, a netip.Addr) (n topology.Node, nic int) {
	for _, n := range l.Nodes {
		for i, c := range n.NICs {
			if bears(c, a) {
				return n, i
			}
		}
	}
	return topology.Node{}, -1
}

// watches is the NIC of another node whose frames a capture NIC is to see, or the NIC itself.
func watches(l topology.Lab, n topology.Node, nic int) place {
	c := n.NICs[nic]
	if c.Mirror == "" {
		return place{n.Name, nic}
	}
	from, _ := l.Node(c.Mirror)
	of := mirrored(from, c)
	return place{from.Name, slices.IndexFunc(from.NICs, func(m topology.NIC) bool { return m.Network == of.Network && m.Side == of.Side && m.Mirror == "" })}
}

// mirrored is the NIC of a node whose frames a capture NIC receives.
func mirrored(from topology.Node, capture topology.NIC) topology.NIC {
	if capture.Side == "" { // the only one on the network
		nic, _ := from.NIC(capture.Network)
		return nic
	}
	nic, _ := from.NICOn(capture.Network, capture.Side)
	return nic
}
