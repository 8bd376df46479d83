package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// end is a node that flows run from or to, at its address on the network under test.
type end struct {
	node    topology.Node
	address netip.Addr
}

// ends are the nodes between which flows run, with a network under test between them:
// on its two sides, or beyond nodes that forward. Of the nodes not named, the first
// that can is taken, in the order of networks, sides and nodes; none that forwards.
func (b Build) ends(client, server string) (from, to end, err error) {
	for _, name := range []string{client, server} {
		if name == "" {
			continue
		}
		if _, err := b.node(name); err != nil {
			return end{}, end{}, err
		}
	}
	for _, c := range b.canEnd(client) {
		for _, s := range b.canEnd(server) {
			if from, to, ok := b.between(c, s); ok {
				return from, to, nil
			}
		}
	}
	return end{}, end{}, fmt.Errorf("lab %s has no network under test between %s: flows need a client and a server on different sides of one, or beyond nodes that forward; it has %s",
		b.Lab.Name, whichEnds(client, server), b.whoIsWhere())
}

// canEnd are the nodes that may be an end: the one of that name, or those on networks with sides.
func (b Build) canEnd(name string) []topology.Node {
	if n, ok := b.Lab.Node(name); ok {
		return []topology.Node{n}
	}
	var all []topology.Node
	for _, n := range b.Lab.Networks {
		for _, s := range n.Segments {
			for _, node := range b.Lab.Nodes {
				if _, on := node.NICOn(n.Name, s.Side); on && n.Sided() && !node.Forward {
					all = append(all, node)
				}
			}
		}
	}
	return all
}

// between is how flows get from one node to another by the fewest NICs; false where
// nothing under test is between them.
func (b Build) between(client, server topology.Node) (from, to end, found bool) {
	var shortest []place
	for _, n := range b.Lab.Networks {
		for _, s := range server.NICs {
			if s.Network != n.Name || s.Side == "" || s.Mirror != "" {
				continue
			}
			path := pathOf(b.Lab, client, s.Address.Addr())
			if len(path) == 0 || found && len(path) >= len(shortest) {
				continue
			}
			leaves, arrives := client.NICs[path[0].nic], server.NICs[path[len(path)-1].nic]
			if leaves.Network == arrives.Network && leaves.Side == arrives.Side {
				continue // one segment joins them
			}
			from, to, found = end{client, leaves.Address.Addr()}, end{server, s.Address.Addr()}, true
			shortest = path
		}
	}
	return from, to, found
}

// whichEnds are the nodes that were asked for.
func whichEnds(client, server string) string {
	switch {
	case client != "" && server != "":
		return client + " and " + server
	case client+server != "":
		return client + server + " and any other node"
	default:
		return "any two nodes"
	}
}

// whoIsWhere are the nodes on networks with sides.
func (b Build) whoIsWhere() string {
	var all []string
	for _, n := range b.Lab.Nodes {
		for _, c := range n.NICs {
			if c.Side != "" && c.Mirror == "" {
				all = append(all, fmt.Sprintf("%s on %s/%s", n.Name, c.Network, c.Side))
			}
		}
	}
	if all == nil {
		return "no node on a network with sides"
	}
	return strings.Join(all, ", ")
}
