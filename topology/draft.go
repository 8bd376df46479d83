package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
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
	name     string
	at       path
	subnets  []*draftSubnet // one, or one a side where a node joins these
	subnets6 []*draftSubnet // of IPv6, as the file names them
	nics     []*draftNIC    // addressed ones on it
}

// draftSubnet is the subnet of a network, or of one of its sides.
type draftSubnet struct {
	network *draftNetwork
	side    string // "" where it is the whole network's
	six     bool   // of IPv6
	at      path   // where it stands in the file
	text    string // as it stands there
	prefix  netip.Prefix
	nics    []*draftNIC
}

type draftNode struct {
	NodeSpec
	name string
	at   path
	nics []*draftNIC
}

type draftNIC struct {
	NICSpec
	node     *draftNode
	at       path
	network  *draftNetwork // of the mirrored NIC on a capture NIC
	subnet   *draftSubnet  // nil on a capture NIC
	subnet6  *draftSubnet  // nil where the network has no IPv6
	from     *draftNode    // the node whose NIC is mirrored
	copied   *draftNIC     // that NIC; nil where it cannot be told which
	address  netip.Addr
	address6 netip.Addr
	device   Device       // that it is, once it is found on the host
	point    CapturePoint // of a capture NIC
}

func (n *draftNetwork) sided() bool { return n.Sides != nil }

// under is what joins the network's sides; "" where it has none. router is the node's
// name where one does.
func (n *draftNetwork) under() (what, router string) {
	if !n.sided() {
		return "", ""
	}
	if name, ok := strings.CutPrefix(n.UnderTest, UnderNode+":"); ok {
		return UnderNode, name
	}
	return cmp.Or(n.UnderTest, UnderWire), ""
}

// bridgeOf is the bridge of the host that a side is, or a network without sides; "" where labctl makes one.
func (n *draftNetwork) bridgeOf(side string) string {
	uplink := n.Uplink
	if n.sided() {
		uplink = n.Uplinks[side]
	}
	name, _ := strings.CutPrefix(uplink, UplinkBridge+":")
	if name == uplink {
		return ""
	}
	return name
}

// ovs says whether a side's bridge is to be one of Open vSwitch's.
func (n *draftNetwork) ovs(side string) bool { return n.Bridge == BridgeOVS && n.bridgeOf(side) == "" }

// subnetOf is the subnet that a side's NICs are in; nil where the side is not known.
func (n *draftNetwork) subnetOf(side string) *draftSubnet { return ofSide(n.subnets, side) }

func ofSide(subnets []*draftSubnet, side string) *draftSubnet {
	for _, s := range subnets {
		if s.side == "" || s.side == side {
			return s
		}
	}
	return nil
}

// draftSubnets are the network's.
func (n *draftNetwork) draftSubnets() []*draftSubnet {
	if under, _ := n.under(); under != UnderNode {
		return []*draftSubnet{newSubnet(n, "", n.at.to("subnet"), n.Subnet)}
	}
	var all []*draftSubnet
	for _, side := range n.Sides {
		all = append(all, newSubnet(n, side, n.at.to("subnets", side), n.Subnets[side]))
	}
	return all
}

func newSubnet(n *draftNetwork, side string, at path, text string) *draftSubnet {
	s := &draftSubnet{network: n, side: side, at: at, text: text}
	s.prefix, _ = netip.ParsePrefix(text)
	return s
}

// key is what the subnet is called where it was chosen: NETWORK, or NETWORK/SIDE.
func (s *draftSubnet) key() string {
	if s.side == "" {
		return s.network.name
	}
	return s.network.name + "/" + s.side
}

// String names it in messages.
func (s *draftSubnet) String() string {
	if s.side == "" {
		return s.network.at.String()
	}
	return fmt.Sprintf("side %s of %s", s.side, s.network.at)
}

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
		n.subnets, n.subnets6 = n.draftSubnets(), n.draftSubnets6()
		d.networks = append(d.networks, n)
		d.network[name] = n
	}
	for _, name := range f.nodes {
		n := &draftNode{NodeSpec: f.Nodes[name], name: name, at: path{"nodes", name}}
		for i, s := range n.NICs {
			c := &draftNIC{NICSpec: s, node: n, at: n.at.to("nics", i)}
			c.address, _ = netip.ParseAddr(s.Address)
			c.address6, _ = netip.ParseAddr(s.Address6)
			if s.Mirror == nil {
				c.join(d.network[s.Network])
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
			if c.from = d.node[c.Mirror.From]; c.from == nil {
				continue
			}
			if m := c.mirrored(); len(m) == 1 {
				c.copied, c.network = m[0], m[0].network
			}
		}
	}
	return d
}

// join puts the NIC on a network, and in the subnet of its side.
func (c *draftNIC) join(n *draftNetwork) {
	if n == nil {
		return
	}
	c.network = n
	n.nics = append(n.nics, c)
	if c.subnet = n.subnetOf(c.Side); c.subnet != nil {
		c.subnet.nics = append(c.subnet.nics, c)
	}
	if c.subnet6 = ofSide(n.subnets6, c.Side); c.subnet6 != nil {
		c.subnet6.nics = append(c.subnet6.nics, c)
	}
}

// mirrored are the NICs that a capture NIC's mirror may mean.
func (c *draftNIC) mirrored() []*draftNIC {
	var found []*draftNIC
	for _, m := range c.from.measured() {
		if (c.Mirror.Network == "" || c.Mirror.Network == m.Network) && (c.Mirror.Side == "" || c.Mirror.Side == m.Side) {
			found = append(found, m)
		}
	}
	return found
}

// joins says whether the NIC is one of the node's that is between the network's sides.
func (c *draftNIC) joins() bool {
	if c.network == nil {
		return false
	}
	_, router := c.network.under()
	return router == c.node.name
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
	if c.joins() {
		return []string{c.node.name, c.network.name, c.Side}
	}
	return []string{c.node.name, c.network.name}
}
