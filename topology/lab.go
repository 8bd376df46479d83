package topology

import (
	"net"
	"net/netip"
	"slices"
)

// Lab is a lab as decided: every name, address and size is settled, so nothing
// downstream asks "and if it is empty?".
type Lab struct {
	Name     string
	Accel    string    // AccelAuto, AccelKVM or AccelTCG
	Networks []Network // in the file's order
	Nodes    []Node    // in the file's order
	Images   []Image   // of the file's own that nodes stand on, by name
}

// How machines are run.
const (
	AccelAuto = "auto" // KVM where it can really run guests, else TCG
	AccelKVM  = "kvm"  // KVM or an error
	AccelTCG  = "tcg"  // QEMU's software emulation
)

// How a network without sides reaches what is outside the lab.
const (
	UplinkNAT    = "nat"    // routed by the host, behind the host's addresses
	UplinkNone   = "none"   // the host and the lab's nodes only
	UplinkBridge = "bridge" // it is a bridge of the host, with whoever else is on that
)

// What joins the two sides of a network.
const (
	UnderWire     = "wire"     // a veth pair between their bridges
	UnderNode     = "node"     // a node that forwards between them
	UnderExternal = "external" // nothing of labctl's: their uplinks lead to it
)

// ServiceInfluxDB is InfluxDB 1.x, serving http on port 8086.
const ServiceInfluxDB = "influxdb"

// Of which kind the bridges of sides are.
const (
	BridgeLinux = "linux" // the kernel's own
	BridgeOVS   = "ovs"   // Open vSwitch's
)

// Network is one IP network of a lab: a single segment, or two sides with the
// network under test between them.
type Network struct {
	Lab, Name string
	Gateway   netip.Addr        // the host's own address; the zero Addr with sides and on a bridge of the host
	Gateway6  netip.Addr        // the host's own IPv6 address; the zero Addr also where the network has no IPv6
	Out       netip.Addr        // the nodes' default route on a bridge of the host; the zero Addr where they have none, and elsewhere
	Uplink    string            // UplinkNAT, UplinkNone or UplinkBridge; "" on a network with sides
	Under     string            // UnderWire, UnderNode or UnderExternal; "" without sides
	MTU       int               // bytes of an IP packet
	Segments  []Segment         // one, or one a side
	Wire      *Wire             // UnderWire: what joins the sides
	Router    string            // UnderNode: the node between them
	Impair    map[string]Impair // by direction, "SIDE->SIDE"; those without are as they are
}

// Sided says whether the network has sides with the network under test between them.
func (n Network) Sided() bool { return n.Under != "" }

// Subnets are the network's of IPv4: one, or one a side where a node joins these.
func (n Network) Subnets() []netip.Prefix {
	return n.subnets(func(s Segment) netip.Prefix { return s.Subnet })
}

// Subnets6 are those of IPv6; none where the network has no IPv6.
func (n Network) Subnets6() []netip.Prefix {
	return n.subnets(func(s Segment) netip.Prefix { return s.Subnet6 })
}

func (n Network) subnets(of func(Segment) netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range n.Segments {
		if p := of(s); p.IsValid() && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// Segment returns that of a side; "" is the one of a network without sides.
func (n Network) Segment(side string) (Segment, bool) {
	for _, s := range n.Segments {
		if s.Side == side {
			return s, true
		}
	}
	return Segment{}, false
}

// Direction is one way through the network under test.
type Direction struct {
	From, To string // sides
	Impair   Impair // the zero Impair where frames pass as they are
}

// String is the direction as a file names it, "client->server".
func (d Direction) String() string { return d.From + "->" + d.To }

// Directions are the ways through the network under test that labctl can impair;
// none on a network without sides, or where what is under test is none of the lab's.
func (n Network) Directions() []Direction {
	if n.Under != UnderWire && n.Under != UnderNode {
		return nil
	}
	a, b := n.Segments[0].Side, n.Segments[1].Side
	ds := []Direction{{From: a, To: b}, {From: b, To: a}}
	for i := range ds {
		ds[i].Impair = n.Impair[ds[i].String()]
	}
	return ds
}

// Segment is one layer-2 segment: a bridge of the host, kept by libvirt or the host's own.
type Segment struct {
	Network, Side string // Side is "" on a network without sides
	Subnet        netip.Prefix
	Subnet6       netip.Prefix // the zero Prefix where the network has no IPv6
	Chosen        bool         // the file left Subnet open
	Bridge        string       // the host's link
	Existing      bool         // the bridge is the host's own: labctl neither makes nor changes it, and what follows is not set
	OVS           bool         // the bridge is Open vSwitch's
	Object        string       // libvirt's name of it
	UUID          string
	MAC           net.HardwareAddr
	MTU           int
	Uplink        string   // the host's NIC that joins it; "" where none does
	Ports         []string // the host's NICs that are fed a copy of what passes it
}

// Wire is the cable between the two sides of a network: a veth pair, one end in
// each side's bridge.
type Wire struct {
	Network string
	Ends    [2]WireEnd // in the order of the network's sides
}

// WireEnd is one end of a wire.
type WireEnd struct {
	Side   string
	Link   string // the host's link
	MAC    net.HardwareAddr
	Bridge string // the bridge it is plugged into
	OVS    bool   // that bridge is Open vSwitch's
}

// Node is one machine.
type Node struct {
	Lab, Name string
	Object    string // libvirt's name of the domain
	UUID      string
	Image     string // a recipe's name, or that of one of the lab's Images
	CPUs      int
	MemoryMiB int
	DiskBytes int64
	NICs      []NIC
	Forward   bool      // between its NICs on networks with sides
	Services  []string  // units started at boot beside those of every node
	Publish   []Publish // ports reachable from outside the lab
	Reaches   []string  // nodes it logs into by ssh without a prompt
}

// Image is a base image that the file brings: a ready one or a recipe of its own.
type Image struct {
	Name      string
	Path      string // of the ready image, as the file has it; "" with a Recipe
	SHA256    string // hexadecimal; "": not checked
	Guest     string // GuestDebian, GuestAlpine or GuestCloudInit; "" with a Recipe
	Configure string // ConfigureAgent; "": as suits the guest
	Recipe    string // the recipe file, as the file has it; "" with a Path
}

// What the guest of a ready image is.
const (
	GuestDebian    = "debian"     // systemd
	GuestAlpine    = "alpine"     // OpenRC
	GuestCloudInit = "cloud-init" // whatever cloud-init configures
)

// ConfigureAgent has a node's files written by its guest agent.
const ConfigureAgent = "agent"

// NIC is one network interface of a node.
type NIC struct {
	Network, Side string // Network is that of the mirrored NIC on a capture NIC, and Side where the mirrored node is on both
	Kind          string // KindVirtio, KindFunction, KindVF or KindMacvtap
	MAC           net.HardwareAddr
	Address       netip.Prefix // the zero Prefix on a capture NIC
	Address6      netip.Prefix // the zero Prefix also where the network has no IPv6
	Gateway       netip.Addr   // default route; the zero Addr where there is none
	Gateway6      netip.Addr   // that of IPv6
	Routes        []Route      // through the lab's nodes that forward
	MTU           int
	Link          string       // the host's end of it (a tap or a macvtap); "" on a PCI device
	Bridge        string       // the bridge Link is plugged into; "" where it is in none
	OVS           bool         // that bridge is Open vSwitch's
	Host          HostDevice   // what of the host it is; the zero HostDevice on a virtio NIC
	Mirror        string       // the node whose NIC on Network is copied into this one; "" elsewhere
	Point         CapturePoint // where the copy is taken; the zero CapturePoint elsewhere
	Offloads      bool         // false on measurement and capture NICs: frames as on the wire
}

// Addresses are the NIC's: of IPv4, then of IPv6 where it has one; none on a capture NIC.
func (c NIC) Addresses() []netip.Prefix {
	var all []netip.Prefix
	for _, a := range []netip.Prefix{c.Address, c.Address6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// Route is how a node reaches a subnet that it has no NIC on.
type Route struct {
	To  netip.Prefix
	Via netip.Addr // of a node that forwards, on the subnet of the NIC
}

// What a NIC is to its node.
const (
	KindVirtio   = "virtio"   // made by QEMU, with a tap
	KindFunction = "function" // a whole PCI NIC of the host
	KindVF       = "vf"       // an SR-IOV virtual function of one
	KindMacvtap  = "macvtap"  // made by QEMU, with a macvtap that has a NIC of the host for itself
)

// HostDevice is what of the host a NIC is.
type HostDevice struct {
	PCI     string // the device's address; "" on a macvtap, and on a virtual function not found yet
	PF      string // the link of whose virtual functions it is any; "" where the file names the device
	VLAN    int    // that the virtual function is in; 0: none
	Macvtap string // the link that the macvtap has for itself; "" elsewhere
	Take    bool   // also where the host has an address on it
}

// CapturePoint is where a mirror takes its copy.
type CapturePoint struct {
	Kind string // PointTap, PointOVS, PointMacvtap, PointUplink, PointRepresentor or PointPort
	Link string // the host's link
}

// Where the frames of a NIC can be copied on the host.
const (
	PointTap         = "tap"         // the host's end of a virtio NIC
	PointOVS         = "ovs-port"    // that, as a port of an Open vSwitch bridge
	PointMacvtap     = "macvtap"     // the host's end of a NIC on a macvtap
	PointUplink      = "uplink"      // the NIC of the host at the far end of a passthrough NIC's cable
	PointRepresentor = "representor" // what stands for a virtual function where its NIC's switch is in switchdev mode
	PointPort        = "port"        // a NIC of the host that a switch or a tap feeds the copy into, both directions
)

// Chosen is what was chosen and found on the host when the lab was made: it stays for its life.
type Chosen struct {
	Subnets map[string]netip.Prefix // by network, or by NETWORK/SIDE where each side has its own
	Devices []Device
}

// Device is a PCI device of the host that a NIC is.
type Device struct {
	Node, Network string
	PF            string // the link of whose virtual functions it was chosen; "" where the file names it
	Address       string // "0000:3b:00.0"
	VF            bool
	MAC           net.HardwareAddr // its own; nil on a virtual function, which is given one
	Representor   string           // the host's link that stands for a virtual function; "" where none does
}

// Publish is a port of the host that leads to a port of a node.
type Publish struct {
	HostAddress netip.Addr // the zero Addr: every address of the host
	HostPort    uint16
	Port        uint16 // the node's
	Protocol    string // "tcp" or "udp"
}

// Meets says whether both want the same port of the same address.
func (p Publish) Meets(o Publish) bool {
	return p.HostPort == o.HostPort && p.Protocol == o.Protocol &&
		(p.HostAddress == o.HostAddress || !p.HostAddress.IsValid() || !o.HostAddress.IsValid())
}

// Network returns the network of that name.
func (l Lab) Network(name string) (Network, bool) {
	for _, n := range l.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// OwnImage returns the image of that name which the file brings.
func (l Lab) OwnImage(name string) (Image, bool) {
	for _, i := range l.Images {
		if i.Name == name {
			return i, true
		}
	}
	return Image{}, false
}

// Node returns the node of that name.
func (l Lab) Node(name string) (Node, bool) {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// NIC returns the node's addressed NIC on a network, the first where it is on both sides.
func (n Node) NIC(network string) (NIC, bool) {
	for _, c := range n.NICs {
		if c.Network == network && c.Mirror == "" {
			return c, true
		}
	}
	return NIC{}, false
}

// NICOn returns the node's addressed NIC on a side of a network.
func (n Node) NICOn(network, side string) (NIC, bool) {
	for _, c := range n.NICs {
		if c.Network == network && c.Side == side && c.Mirror == "" {
			return c, true
		}
	}
	return NIC{}, false
}

// ControlAddress is where the host reaches the node: its first address on a
// network without sides.
func (n Node) ControlAddress() (netip.Addr, bool) {
	for _, c := range n.NICs {
		if c.Side == "" && c.Mirror == "" {
			return c.Address.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// HasIPv6 says whether the node has an IPv6 address on any network.
func (n Node) HasIPv6() bool {
	return slices.ContainsFunc(n.NICs, func(c NIC) bool { return c.Address6.IsValid() })
}

// Capture returns the node's capture NIC, which receives a copy of another NIC's frames.
func (n Node) Capture() (NIC, bool) {
	for _, c := range n.NICs {
		if c.Mirror != "" {
			return c, true
		}
	}
	return NIC{}, false
}
