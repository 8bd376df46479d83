package topology

import (
	"net/netip"
)

// draft is a File with its texts parsed and its references followed: what the
// rules check, and Decide completes. What is left out, or cannot be read, is zero.
type draft struct {
	File
	networks []*draftNetwork // in the file's order
	nodes    []*draftNode
	network  map[string]*draftNetwork
	node     map[string]*draftNode
}

type draftNetwork struct {
	NetworkSpec
	name   string
	at     path
	subnet netip.Prefix
	nics   []*draftNIC // addressed ones on it
}

type draftNode struct {
	NodeSpec
	name string
	at   path
	nics []*draftNIC
}

type draftNIC struct {
	NICSpec
	node    *draftNode
	at      path
	network *draftNetwork // of the mirrored NIC on a capture NIC
	from    *draftNode    // the node whose NIC is mirrored
	address netip.Addr
	device  Device       // that it is, once it is found on the host
	point   CapturePoint // of a capture NIC
}

func (n *draftNetwork) sided() bool { return n.Sides != nil }

// nat says whether the network reaches what is outside the lab.
func (n *draftNetwork) nat() bool {
	return !n.sided() && (n.Uplink == "" || n.Uplink == UplinkNAT)
}

// measured are the node's NICs on networks with sides.
func (n *draftNode) measured() []*draftNIC {
	var found []*draftNIC
	for _, c := range n.nics {
		if c.Mirror == nil && c.network != nil && c.network.sided() {
			found = append(found, c)
		}
	}
	return found
}

func newDraft(f File) *draft {
	d := &draft{
		File:    f,
		network: make(map[string]*draftNetwork, len(f.networks)),
		node:    make(map[string]*draftNode, len(f.nodes)),
	}
	for _, name := range f.networks {
		n := &draftNetwork{NetworkSpec: f.Networks[name], name: name, at: path{"networks", name}}
		n.subnet, _ = netip.ParsePrefix(n.Subnet)
		d.networks = append(d.networks, n)
		d.network[name] = n
	}
	for _, name := range f.nodes {
		n := &draftNode{NodeSpec: f.Nodes[name], name: name, at: path{"nodes", name}}
		for i, s := range n.NICs {
			c := &draftNIC{NICSpec: s, node: n, at: n.at.to("nics", i)}
			c.address, _ = netip.ParseAddr(s.Address)
			if s.Mirror == nil {
				if c.network = d.network[s.Network]; c.network != nil {
					c.network.nics = append(c.network.nics, c)
				}
			}
			n.nics = append(n.nics, c)
		}
		d.nodes = append(d.nodes, n)
		d.node[name] = n
	}
	for _, n := range d.nodes {
		for _, c := range n.nics {
			if c.Mirror == nil {
				continue
			}
			if c.from = d.node[c.Mirror.From]; c.from != nil {
				if m := c.from.measured(); len(m) == 1 {
					c.network = m[0].network
				}
			}
		}
	}
	return d
}

// capture is the node's capture NIC; nil if it has none.
func (n *draftNode) capture() *draftNIC {
	for _, c := range n.nics {
		if c.Mirror != nil {
			return c
		}
	}
	return nil
}

// names are those which the NIC's identity derives from.
func (c *draftNIC) names() []string {
	if c.Mirror != nil {
		return []string{c.node.name, c.network.name, "mirror"}
	}
	return []string{c.node.name, c.network.name}
}
