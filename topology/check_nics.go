package topology

import (
	"fmt"
	"slices"
	"strings"
)

func noNICs(c *checker, n *draftNode) {
	if len(n.nics) == 0 {
		c.problem(n.at, fmt.Sprintf("%s has no NICs", n.at), "add one, such as nics: [{network: control}]")
	}
}

// nicKind: a NIC is on a network, or receives a mirror.
func nicKind(c *checker, n *draftNIC) {
	switch {
	case n.Mirror == nil && n.Network == "":
		c.problem(n.at, fmt.Sprintf("%s names neither a network nor a mirror", n.at), "expected {network: NAME}, or {mirror: NODE} to receive a copy of that node's frames")
	case n.Mirror == nil:
	case n.Network != "" || n.Side != "" || n.Address != "" || n.Address6 != "" || n.Passthrough != nil:
		c.problem(n.at, fmt.Sprintf("%s receives a mirror, and is given a network, side, address or device too", n.at), "a capture NIC is on no network: make two NICs of it")
	}
}

func nicNetwork(c *checker, n *draftNIC) {
	if n.Network == "" || n.network != nil || n.Mirror != nil {
		return
	}
	hint := meant(n.Network, "networks", c.File.networks)
	if len(c.networks) == 0 {
		hint = "networks are declared under networks:"
	}
	c.problem(n.at.to("network"), fmt.Sprintf("%s is on unknown network %s", n.node.at, show(n.Network)), hint)
}

func networkTwice(c *checker, n *draftNode) {
	for i, nic := range n.nics {
		if nic.network == nil || nic.Mirror != nil {
			continue
		}
		for _, other := range n.nics[:i] {
			if other.Mirror == nil && other.network == nic.network && (!nic.joins() || other.Side == nic.Side) {
				c.problem(nic.at, fmt.Sprintf("%s has two NICs on %s", n.at, nic.network.at), "two NICs of a node on one network are not yet supported: remove one, or add a network")
				break
			}
		}
	}
}

func nicSide(c *checker, n *draftNIC) {
	if n.network == nil || n.Mirror != nil {
		return
	}
	p := n.at.to("side")
	switch {
	case !n.network.sided() && n.Side != "":
		c.problem(p, fmt.Sprintf("%s is %s, and %s has no sides", p, show(n.Side), n.network.at), "remove side:, or give the network its two sides")
	case n.network.sided() && n.Side == "":
		c.problem(n.at, fmt.Sprintf("%s names no side of %s", n.at, n.network.at), "add side: and one of "+strings.Join(n.network.Sides, ", "))
	case n.Side != "" && !slices.Contains(n.network.Sides, n.Side):
		c.problem(p, fmt.Sprintf("%s is on unknown side %s of %s", n.node.at, show(n.Side), n.network.at), meant(n.Side, "sides", n.network.Sides))
	}
}

func nicAddress(c *checker, n *draftNIC) {
	if n.Address == "" || n.network == nil || n.Mirror != nil {
		return
	}
	if n.subnet == nil {
		return // of an unknown side
	}
	p := n.at.to("address")
	subnet, usable := n.subnet.usable()
	is := fmt.Sprintf("address %s of %s", show(n.Address), n.node.at)
	leave := "choose another, or leave it out to have one chosen"
	switch {
	case !n.address.IsValid():
		c.problem(p, is+" is not an address", "expected an IPv4 address without a prefix length, such as 10.7.1.40")
	case !n.address.Is4():
		c.problem(p, is+" is IPv6", "expected an IPv4 address, such as 10.7.1.40; that of IPv6 is beside it, in address6:")
	case n.subnet.text == "":
		c.problem(p, fmt.Sprintf("%s is given, and %s has no subnet", is, n.subnet), "give the network the subnet which the address is in, or leave both out")
	case !usable:
	case !subnet.Contains(n.address):
		c.problem(p, fmt.Sprintf("%s is outside %s, the subnet of %s", is, subnet, n.subnet), leave)
	case n.address == subnet.Addr():
		c.problem(p, fmt.Sprintf("%s is that of the subnet %s itself", is, subnet), leave)
	case n.address == broadcast(subnet):
		c.problem(p, fmt.Sprintf("%s is the broadcast address of %s", is, subnet), leave)
	case n.subnet.hosts() && n.address == gateway(subnet):
		c.problem(p, fmt.Sprintf("%s is the host's own on %s", is, n.network.at), leave)
	}
}

// mirror: what is copied must be just one NIC whose frames pass the host.
func mirror(c *checker, n *draftNIC) {
	if n.Mirror == nil {
		return
	}
	p := n.at.to("mirror")
	from := show(n.Mirror.From)
	const hint = "name a node with a NIC on a network with sides"
	switch {
	case n.Mirror.From == "":
		c.problem(p, fmt.Sprintf("%s names no node", p), hint)
	case n.from == nil:
		c.problem(p, fmt.Sprintf("%s mirrors unknown node %s", n.node.at, from), meant(n.Mirror.From, "nodes", c.File.nodes))
	case n.from == n.node:
		c.problem(p, fmt.Sprintf("%s mirrors itself", n.node.at), "a node captures its own NIC by itself; name another node")
	case len(n.from.measured()) == 0 && n.from.capture() != nil:
		c.problem(p, fmt.Sprintf("%s mirrors node %s, whose only measurement NIC is a mirror itself", n.node.at, from), fmt.Sprintf("mirror %s, where its frames come from", show(n.from.capture().Mirror.From)))
	case len(n.from.measured()) == 0:
		c.problem(p, fmt.Sprintf("%s mirrors node %s, which has no NIC on a network with sides", n.node.at, from), hint)
	case len(n.mirrored()) > 1:
		c.problem(p, fmt.Sprintf("%s mirrors node %s, which has %d NICs that it may mean", n.node.at, from, len(n.mirrored())), "say which: "+n.waysToSay())
	case len(n.mirrored()) == 0:
		c.problem(p, fmt.Sprintf("%s mirrors node %s, which has no such NIC", n.node.at, from), "expected "+n.waysToSay())
	}
}

// waysToSay are the mirrors of one NIC each that the node named allows.
func (c *draftNIC) waysToSay() string {
	var ways []string
	for _, m := range c.from.measured() {
		way := fmt.Sprintf("mirror: {from: %s, network: %s", c.from.name, m.Network)
		if m.joins() {
			way += ", side: " + m.Side
		}
		ways = append(ways, way+"}")
	}
	return strings.Join(ways, " or ")
}

func mirrorTwice(c *checker, n *draftNode) {
	first := n.capture()
	for _, nic := range n.nics {
		if nic.Mirror != nil && nic != first {
			c.problem(nic.at.to("mirror"), fmt.Sprintf("%s has two mirrors", n.at), "two mirrors into one node are not yet supported: give each a node of its own")
		}
	}
}
