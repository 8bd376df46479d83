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
	for _, s := range d.subnets() {
		choose := s.chooseAddresses
		if s.six {
			choose = s.chooseAddresses6 // after those of IPv4
		}
		if err := choose(); err != nil {
			return Lab{}, d.at(s.network.at, err)
		}
	}
	for _, n := range d.networks {
		l.Networks = append(l.Networks, d.decideNetwork(n))
	}
	d.givePorts(l.Networks)
	for _, n := range d.nodes {
		l.Nodes = append(l.Nodes, d.decideNode(n))
	}
	l.route()
	l.letIn()
	l.Images = d.ownImages(l.Nodes)
	return l, nil
}

func (d *draft) at(p path, err error) error {
	return Problems{{d.source, d.lines.line(p), err.Error(), ""}}
}

// subnets are those of all networks.
func (d *draft) subnets() []*draftSubnet {
	var all []*draftSubnet
	for _, n := range d.networks {
		all = append(all, n.allSubnets()...)
	}
	return all
}

// chooseSubnets gives each network that has none a subnet which overlaps no other.
func (d *draft) chooseSubnets(inUse []netip.Prefix, chosen map[string]netip.Prefix) error {
	taken := append([]netip.Prefix(nil), inUse...)
	for _, s := range d.subnets() {
		if !s.prefix.IsValid() {
			s.prefix = chosen[s.key()].Masked()
		}
		if s.prefix.IsValid() {
			taken = append(taken, s.prefix)
		}
	}
	for _, s := range d.subnets() {
		if s.prefix.IsValid() {
			continue
		}
		p, err := choose(d.Name, s.key(), s.needs(), taken)
		if err != nil {
			return d.at(s.network.at, fmt.Errorf("network %s needs %d addresses: %w", s.key(), s.needs(), err))
		}
		s.prefix = p
		taken = append(taken, p)
	}
	return nil
}

// hosts says whether the host has an address of its own there, the first.
func (s *draftSubnet) hosts() bool { return !s.network.sided() && s.network.bridgeOf("") == "" }

// needs is the number of addresses that the subnet must have room for.
func (s *draftSubnet) needs() int {
	if s.hosts() {
		return len(s.nics) + 1
	}
	return len(s.nics)
}

// chooseAddresses gives each NIC that has none the next free address.
func (s *draftSubnet) chooseAddresses() error {
	if s.needs() > room(s.prefix.Bits()) {
		return fmt.Errorf("network %s needs %d addresses: its subnet %s has %d", s.key(), s.needs(), s.prefix, room(s.prefix.Bits()))
	}
	taken := make(map[netip.Addr]bool, s.needs())
	if s.hosts() {
		taken[gateway(s.prefix)] = true
	}
	for _, c := range s.nics {
		if c.address.IsValid() {
			taken[c.address] = true
		}
	}
	next := gateway(s.prefix)
	for _, c := range s.nics {
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

func (d *draft) decideNetwork(n *draftNetwork) Network {
	lab := d.Name
	out := Network{Lab: lab, Name: n.name, MTU: n.mtu()}
	if !n.sided() {
		out.Uplink = cmp.Or(n.Uplink, UplinkNAT)
		if n.bridgeOf("") != "" {
			out.Uplink, out.Out = UplinkBridge, n.wayOut()
		} else {
			out.Gateway = gateway(n.subnets[0].prefix)
			out.Gateway6 = n.gateway6()
		}
		out.Segments = []Segment{n.segment(lab, "")}
		return out
	}
	for _, side := range n.Sides {
		out.Segments = append(out.Segments, n.segment(lab, side))
	}
	out.Under, out.Router = n.under()
	if out.Under == UnderWire {
		out.Wire = WireOf(lab, n.name, [2]string(n.Sides))
		for i := range out.Wire.Ends {
			out.Wire.Ends[i].Bridge, out.Wire.Ends[i].OVS = out.Segments[i].Bridge, out.Segments[i].OVS
		}
	}
	out.Impair = n.impairments()
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
	s := Segment{Network: n.name, Side: side, MTU: n.mtu()}
	subnet := n.subnetOf(side)
	s.Subnet, s.Chosen = subnet.prefix, subnet.text == ""
	if six := ofSide(n.subnets6, side); six != nil {
		s.Subnet6 = six.prefix
	}
	if bridge := n.bridgeOf(side); bridge != "" {
		s.Bridge, s.Existing = bridge, true
		return s
	}
	names := n.names(side)
	s.Uplink = n.Uplinks[side]
	s.Object = ObjectName(lab, names...)
	s.UUID = UUID("network", lab, names...)
	s.Bridge = LinkName("bridge", lab, names...)
	s.MAC = MAC("bridge", lab, names...)
	s.OVS = n.ovs(side)
	return s
}

func (d *draft) decideNode(n *draftNode) Node {
	out := Node{
		Lab: d.Name, Name: n.name,
		Object:    ObjectName(d.Name, n.name),
		UUID:      UUID("domain", d.Name, n.name),
		Image:     cmp.Or(n.Image, d.Image, "debian"),
		CPUs:      1,
		MemoryMiB: int(size(n.Memory, "512MiB") >> 20),
		DiskBytes: size(n.Disk, "5GiB"),
		Forward:   n.Forward,
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
	routed, routed6 := false, false
	for _, c := range n.nics {
		nic := d.decideNIC(c)
		if c.Mirror == nil && !routed {
			nic.Gateway = c.network.wayOut()
			routed = nic.Gateway.IsValid()
		}
		if c.Mirror == nil && !routed6 && c.network.nat() {
			nic.Gateway6 = c.network.gateway6()
			routed6 = nic.Gateway6.IsValid()
		}
		out.Forward = out.Forward || c.Mirror == nil && c.joins()
		out.NICs = append(out.NICs, nic)
	}
	return out
}

// wayOut is where the network's nodes reach what is outside the lab; the zero Addr where they do not.
func (n *draftNetwork) wayOut() netip.Addr {
	if n.nat() {
		return gateway(n.subnets[0].prefix)
	}
	outside, _ := netip.ParseAddr(n.Gateway)
	return outside
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
		if c.copied.joins() {
			out.Side = c.copied.Side
		}
		return out
	}
	out.Address = netip.PrefixFrom(c.address, c.subnet.prefix.Bits())
	if c.subnet6 != nil {
		out.Address6 = netip.PrefixFrom(c.address6, c.subnet6.prefix.Bits())
	}
	out.Offloads = !c.network.sided()
	if p := c.Passthrough; p != nil {
		out.Host = HostDevice{PCI: cmp.Or(p.Device, c.device.Address), PF: p.PF, Macvtap: p.Macvtap, Take: p.Take}
		if p.VLAN != nil {
			out.Host.VLAN = *p.VLAN
		}
	}
	switch out.Kind {
	case KindVirtio:
		out.Bridge = cmp.Or(c.network.bridgeOf(c.Side), LinkName("bridge", lab, c.network.names(c.Side)...))
		out.OVS = c.network.ovs(c.Side)
	case KindFunction:
		out.Link, out.MAC = "", c.device.MAC
	case KindVF:
		out.Link = ""
	}
	return out
}

// size is that of a checked text, or of the default.
func size(text, otherwise string) int64 {
	n, err := ParseSize(cmp.Or(text, otherwise))
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
