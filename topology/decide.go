package topology

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Decide completes a file which Load has read: it applies the defaults, and
// chooses the subnets and addresses left open. inUse are prefixes which the
// host uses for other things; chosen is what was chosen and found when the lab
// was made. The same arguments give the same lab. The error is a Problems: no
// room for a subnet or an address, or no place where a mirror could take its copy.
func Decide(f File, inUse []netip.Prefix, chosen Chosen) (Lab, error) {
	d := newDraft(f)
	l := Lab{Name: f.Name, Accel: cmp.Or(f.Accel, AccelAuto)}
	if err := d.chooseSubnets(inUse, chosen.Subnets); err != nil {
		return Lab{}, err
	}
	d.find(chosen.Devices)
	if err := d.capturePoints(); err != nil {
		return Lab{}, err
	}
	for _, n := range d.networks {
		if err := n.chooseAddresses(); err != nil {
			return Lab{}, d.at(n.at, err)
		}
		l.Networks = append(l.Networks, d.decideNetwork(n))
	}
	d.givePorts(l.Networks)
	reach := d.reach()
	for _, n := range d.nodes {
		l.Nodes = append(l.Nodes, d.decideNode(n, reach))
	}
	l.Images = d.ownImages(l.Nodes)
	return l, nil
}

func (d *draft) at(p path, err error) error {
	return Problems{{d.source, d.lines.line(p), err.Error(), ""}}
}

// chooseSubnets gives each network that has none a subnet which overlaps no other.
func (d *draft) chooseSubnets(inUse []netip.Prefix, chosen map[string]netip.Prefix) error {
	taken := append([]netip.Prefix(nil), inUse...)
	for _, n := range d.networks {
		if !n.subnet.IsValid() {
			n.subnet = chosen[n.name].Masked()
		}
		if n.subnet.IsValid() {
			taken = append(taken, n.subnet)
		}
	}
	for _, n := range d.networks {
		if n.subnet.IsValid() {
			continue
		}
		p, err := choose(d.Name, n.name, n.needs(), taken)
		if err != nil {
			return d.at(n.at, fmt.Errorf("network %s needs %d addresses: %w", n.name, n.needs(), err))
		}
		n.subnet = p
		taken = append(taken, p)
	}
	return nil
}

// needs is the number of addresses that the network must have room for.
func (n *draftNetwork) needs() int {
	if n.sided() {
		return len(n.nics)
	}
	return len(n.nics) + 1 // the host's
}

// chooseAddresses gives each NIC that has none the next free address.
func (n *draftNetwork) chooseAddresses() error {
	if n.needs() > room(n.subnet.Bits()) {
		return fmt.Errorf("network %s needs %d addresses: its subnet %s has %d", n.name, n.needs(), n.subnet, room(n.subnet.Bits()))
	}
	taken := make(map[netip.Addr]bool, n.needs())
	if !n.sided() {
		taken[gateway(n.subnet)] = true
	}
	for _, c := range n.nics {
		if c.address.IsValid() {
			taken[c.address] = true
		}
	}
	next := gateway(n.subnet)
	for _, c := range n.nics {
		if c.address.IsValid() {
			continue
		}
		for taken[next] {
			next = next.Next()
		}
		c.address, next = next, next.Next()
	}
	return nil
}

// reach is, for each network that is mirrored, the nodes which have a NIC on it.
func (d *draft) reach() map[*draftNetwork][]string {
	reach := make(map[*draftNetwork][]string)
	for _, n := range d.nodes {
		if c := n.capture(); c != nil && reach[c.network] == nil {
			for _, on := range c.network.nics {
				reach[c.network] = append(reach[c.network], on.node.name)
			}
		}
	}
	return reach
}

func (d *draft) decideNetwork(n *draftNetwork) Network {
	lab := d.Name
	out := Network{
		Lab: lab, Name: n.name,
		Subnet: n.subnet,
		Chosen: n.Subnet == "",
		MTU:    n.mtu(),
	}
	if !n.sided() {
		out.Uplink = cmp.Or(n.Uplink, UplinkNAT)
		out.Gateway = gateway(n.subnet)
		out.Segments = []Segment{n.segment(lab, "")}
		return out
	}
	for _, side := range n.Sides {
		out.Segments = append(out.Segments, n.segment(lab, side))
	}
	out.Wire = WireOf(lab, n.name, [2]string(n.Sides))
	return out
}

// WireOf is the wire between the sides of a lab's network: its names decide it.
func WireOf(lab, network string, sides [2]string) *Wire {
	w := &Wire{Network: network}
	for i, side := range sides {
		w.Ends[i] = WireEnd{
			Side:   side,
			Link:   LinkName("wire", lab, network, side),
			MAC:    MAC("wire", lab, network, side),
			Bridge: LinkName("bridge", lab, network, side),
		}
	}
	return w
}

func (n *draftNetwork) mtu() int {
	if n.MTU != nil {
		return *n.MTU
	}
	return 1500
}

// names are those which the identity of one of the network's segments derives from.
func (n *draftNetwork) names(side string) []string {
	if side == "" {
		return []string{n.name}
	}
	return []string{n.name, side}
}

func (n *draftNetwork) segment(lab, side string) Segment {
	names := n.names(side)
	return Segment{
		Uplink:  n.Uplinks[side],
		Network: n.name, Side: side,
		Object: ObjectName(lab, names...),
		UUID:   UUID("network", lab, names...),
		Bridge: LinkName("bridge", lab, names...),
		MAC:    MAC("bridge", lab, names...),
		MTU:    n.mtu(),
	}
}

func (d *draft) decideNode(n *draftNode, reach map[*draftNetwork][]string) Node {
	out := Node{
		Lab: d.Name, Name: n.name,
		Object:    ObjectName(d.Name, n.name),
		UUID:      UUID("domain", d.Name, n.name),
		Image:     cmp.Or(n.Image, d.Image, "debian"),
		CPUs:      1,
		MemoryMiB: int(size(n.Memory, "512MiB") >> 20),
		DiskBytes: size(n.Disk, "5GiB"),
		Services:  n.Services,
	}
	if n.CPUs != nil {
		out.CPUs = *n.CPUs
	}
	for _, s := range n.Publish {
		if p, err := parsePublish(s); err == nil { // Load has reported the others
			out.Publish = append(out.Publish, p)
		}
	}
	routed := false
	for _, c := range n.nics {
		nic := d.decideNIC(c)
		if c.Mirror == nil && c.network.nat() && !routed {
			nic.Gateway, routed = gateway(c.network.subnet), true
		}
		out.NICs = append(out.NICs, nic)
	}
	if c := n.capture(); c != nil {
		for _, other := range reach[c.network] {
			if other != n.name {
				out.Reaches = append(out.Reaches, other)
			}
		}
	}
	return out
}

func (d *draft) decideNIC(c *draftNIC) NIC {
	lab, names := d.Name, c.names()
	out := NIC{
		Network: c.network.name, Side: c.Side,
		Kind: c.kind(),
		MAC:  MAC("nic", lab, names...),
		MTU:  c.network.mtu(),
		Link: LinkName("tap", lab, names...),
	}
	if c.Mirror != nil {
		out.Mirror, out.Point = c.from.name, c.point
		return out
	}
	out.Address = netip.PrefixFrom(c.address, c.network.subnet.Bits())
	out.Offloads = !c.network.sided()
	if p := c.Passthrough; p != nil {
		out.Host = HostDevice{PCI: cmp.Or(p.Device, c.device.Address), PF: p.PF, Macvtap: p.Macvtap, Take: p.Take}
		if p.VLAN != nil {
			out.Host.VLAN = *p.VLAN
		}
	}
	switch out.Kind {
	case KindVirtio:
		out.Bridge = LinkName("bridge", lab, c.network.names(c.Side)...)
	case KindFunction:
		out.Link, out.MAC = "", c.device.MAC
	case KindVF:
		out.Link = ""
	}
	return out
}

// size is that of a checked text, or of the default.
func size(text, otherwise string) int64 {
	n, err := parseSize(cmp.Or(text, otherwise))
	if err != nil {
		return 0 // Load has reported it
	}
	return n
}

// ownImages are the file's images that nodes stand on.
func (d *draft) ownImages(nodes []Node) []Image {
	var used []Image
	for _, name := range slices.Sorted(maps.Keys(d.Images)) {
		if slices.ContainsFunc(nodes, func(n Node) bool { return n.Image == name }) {
			i := d.Images[name]
			used = append(used, Image{name, i.Path, i.SHA256, i.Guest, i.Configure, i.Recipe})
		}
	}
	return used
}
