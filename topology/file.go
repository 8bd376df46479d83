// Package topology is a lab as data. It reads a lab file, checks it and decides
// whatever the file leaves open; it touches no machine.
//
//	Load    text → File, as written and checked; mistakes are Problems
//	Decide  File + prefixes in use → Lab, with nothing left open
package topology

// File is a lab as written: everything but the lab's name, its nodes and their
// NICs may be left out. Sizes, addresses and the like are the user's own text;
// Load has checked them.
type File struct {
	Name     string                 `yaml:"name" jsonschema:"required,title=lab name,description=Names of everything the lab makes on the host derive from it."`
	Image    string                 `yaml:"image" jsonschema:"title=image,description=The nodes' base image: a recipe or a name from images:.,default=debian"`
	Accel    string                 `yaml:"accel" jsonschema:"title=accelerator,description=auto: KVM where it can really run guests and TCG elsewhere; kvm: KVM or an error; tcg: QEMU's software emulation.,enum=auto,enum=kvm,enum=tcg,default=auto"`
	Images   map[string]ImageSpec   `yaml:"images" jsonschema:"title=images,description=Base images of one's own by name: ready ones and recipe files."`
	Networks map[string]NetworkSpec `yaml:"networks" jsonschema:"title=networks,description=IP networks by name."`
	Nodes    map[string]NodeSpec    `yaml:"nodes" jsonschema:"required,title=nodes,description=Machines by host name."`

	source          string   // where it came from
	text            string   // as read
	networks, nodes []string // their names in the file's order
	lines           *lines
}

// Source is where the file came from, and its text as read.
func (f File) Source() (name, text string) { return f.source, f.text }

// ImageSpec is a base image of one's own: a ready one, or a recipe's. Paths are
// relative to the lab file's folder.
type ImageSpec struct {
	Path      string `yaml:"path" jsonschema:"title=path,description=QCOW2 file of a ready image."`
	SHA256    string `yaml:"sha256" jsonschema:"title=digest,description=SHA-256 of that file in hex; it is checked.,pattern=^[0-9a-f]{64}$"`
	Guest     string `yaml:"guest" jsonschema:"title=guest,description=What its guest is: debian (systemd) and alpine (OpenRC) have their files written onto the disk; cloud-init gets them by a NoCloud seed.,enum=debian,enum=alpine,enum=cloud-init"`
	Configure string `yaml:"configure" jsonschema:"title=configure,description=agent: by the guest agent once it answers and not onto the disk.,enum=agent"`
	Recipe    string `yaml:"recipe" jsonschema:"title=recipe,description=Recipe file that the image is built from."`
}

// NetworkSpec is one IP network: a single segment, or two sides with the
// network under test between them.
type NetworkSpec struct {
	Subnet    string                `yaml:"subnet" jsonschema:"title=subnet,description=IPv4 prefix; chosen among those free on the host when left out.,example=10.7.1.0/24"`
	Subnet6   string                `yaml:"subnet6" jsonschema:"title=IPv6 subnet,description=IPv6 prefix beside the IPv4 one; without it the network has no IPv6.,example=fd00:7:1::/64"`
	Subnets   map[string]string     `yaml:"subnets" jsonschema:"title=subnets,description=IPv4 prefix by side where a node joins the sides; each is chosen among those free on the host when left out."`
	Subnets6  map[string]string     `yaml:"subnets6" jsonschema:"title=IPv6 subnets,description=IPv6 prefix by side where a node joins the sides; of both or of none."`
	Uplink    string                `yaml:"uplink" jsonschema:"title=uplink,description=How a network without sides reaches what is outside the lab: nat or none; or bridge:NAME: the network is that bridge of the host.,pattern=^(nat|none|bridge:.+)$,default=nat"`
	Gateway   string                `yaml:"gateway" jsonschema:"title=gateway,description=Default route of the nodes on a bridge of the host; none when left out.,format=ipv4"`
	Sides     []string              `yaml:"sides" jsonschema:"title=sides,description=The two segments which the network under test joins.,minItems=2,maxItems=2,uniqueItems=true"`
	Bridge    string                `yaml:"bridge" jsonschema:"title=bridges,description=Of which kind the bridges of the sides are: linux (the kernel's own) or ovs (Open vSwitch; the host must have it).,enum=linux,enum=ovs,default=linux"`
	UnderTest string                `yaml:"under-test" jsonschema:"title=network under test,description=What joins the two sides: wire (a cable) or node:NAME (a node that forwards between them) or external (whatever the two uplinks lead to).,pattern=^(wire|external|node:.+)$,default=wire"`
	MTU       *int                  `yaml:"mtu" jsonschema:"title=MTU,description=Bytes of the largest IP packet.,minimum=576,maximum=9216,default=1500"`
	Uplinks   map[string]string     `yaml:"uplinks" jsonschema:"title=uplinks,description=A NIC of the host by side: it joins that side's segment as the far end of a passthrough NIC's cable and is given back as it was; or bridge:NAME: the side is that bridge of the host."`
	Impair    map[string]Impairment `yaml:"impair" jsonschema:"title=impairments,description=What the network under test does to frames by direction: SIDE->SIDE."`
}

// Impairment is what one direction of the network under test does to its frames.
type Impairment struct {
	Profile      string `yaml:"profile" jsonschema:"title=profile,description=Values by name that those beside it change: labctl impair profiles lists them."`
	Rate         string `yaml:"rate" jsonschema:"title=rate,description=Bits a second of Ethernet frames.,pattern=^[0-9]+(\\.[0-9]+)?[kmg]?bit$,example=50mbit"`
	Delay        string `yaml:"delay" jsonschema:"title=delay,description=Time a frame is held.,pattern=^[0-9]+(\\.[0-9]+)?(us|ms|s)$,example=92ms"`
	Jitter       string `yaml:"jitter" jsonschema:"title=jitter,description=Spread of the delay; frames may overtake each other.,pattern=^[0-9]+(\\.[0-9]+)?(us|ms|s)$,example=2ms"`
	Distribution string `yaml:"distribution" jsonschema:"title=distribution,description=How the delay spreads.,enum=uniform,enum=normal,enum=pareto,enum=paretonormal,default=normal"`
	Loss         string `yaml:"loss" jsonschema:"title=loss,description=Share of frames lost.,pattern=^[0-9]+(\\.[0-9]+)?%$,example=0.025%"`
	Burst        string `yaml:"loss-burst" jsonschema:"title=bursts of loss,description=How many frames in a row are lost on average (Gilbert's model); each on its own when left out.,pattern=^[0-9]+(\\.[0-9]+)?$,example=5"`
	Duplicate    string `yaml:"duplicate" jsonschema:"title=duplication,description=Share of frames that come twice.,pattern=^[0-9]+(\\.[0-9]+)?%$"`
	Reorder      string `yaml:"reorder" jsonschema:"title=reordering,description=Share of frames that are not held for the delay and so overtake others.,pattern=^[0-9]+(\\.[0-9]+)?%$"`
	Corrupt      string `yaml:"corrupt" jsonschema:"title=corruption,description=Share of frames in which a bit is changed.,pattern=^[0-9]+(\\.[0-9]+)?%$"`
	Queue        string `yaml:"queue" jsonschema:"title=queue,description=Bytes that wait for the rate; rate times the delay of both directions when left out.,pattern=^[0-9]+(\\.[0-9]+)?[KM]iB$,example=256KiB"`
	AQM          string `yaml:"aqm" jsonschema:"title=queue management,description=How that queue is kept.,enum=fifo,enum=fq_codel,enum=pie,default=fifo"`
}

// NodeSpec is one machine.
type NodeSpec struct {
	Image    string    `yaml:"image" jsonschema:"title=image,description=This node's base image: a recipe or a name from images:; the lab's when left out."`
	CPUs     *int      `yaml:"cpus" jsonschema:"title=CPUs,description=Virtual CPUs.,minimum=1,maximum=128,default=1"`
	Memory   string    `yaml:"memory" jsonschema:"title=memory,description=With its unit: MiB or GiB or TiB.,pattern=^[0-9]+(MiB|GiB|TiB)$,default=512MiB"`
	Disk     string    `yaml:"disk" jsonschema:"title=disk,description=Size with its unit: MiB or GiB or TiB; the file system fills it.,pattern=^[0-9]+(MiB|GiB|TiB)$,default=5GiB"`
	NICs     []NICSpec `yaml:"nics" jsonschema:"required,title=network interfaces,description=In the order the guest finds them.,minItems=1"`
	Forward  bool      `yaml:"forward" jsonschema:"title=forward,description=It forwards packets between its networks with sides as the node of under-test: does.,default=false"`
	Services []string  `yaml:"services" jsonschema:"title=services,description=Started at boot beside those of every node.,uniqueItems=true,enum=influxdb"`
	Publish  []string  `yaml:"publish" jsonschema:"title=published ports,description=HOST:NODE or ADDRESS:HOST:NODE and /udp where it is not TCP: ports of the host which lead to ports of the node. An IPv6 address stands in brackets.,pattern=^(([0-9.]+|\\[[0-9a-fA-F:.]+\\]):)?[0-9]+:[0-9]+(/(tcp|udp))?$"`
}

// NICSpec is one network interface: on a network, or the receiver of a mirror.
type NICSpec struct {
	Network     string       `yaml:"network" jsonschema:"title=network,description=The network it is on."`
	Side        string       `yaml:"side" jsonschema:"title=side,description=The side it is on where the network has sides."`
	Address     string       `yaml:"address" jsonschema:"title=address,description=IPv4 address inside the network's subnet; chosen when left out.,format=ipv4"`
	Address6    string       `yaml:"address6" jsonschema:"title=IPv6 address,description=IPv6 address inside the network's IPv6 subnet; when left out it has the host number of the IPv4 address.,format=ipv6"`
	Passthrough *Passthrough `yaml:"passthrough" jsonschema:"title=passthrough,description=A NIC of the host which the node has for its own: its PCI address or a map. It is given back as it was."`
	Mirror      *MirrorSpec  `yaml:"mirror" jsonschema:"title=mirror,description=The node whose measurement NIC is copied into this one in both directions."`
}

// Passthrough is a NIC of the host handed to a node: a PCI address, or a map
// which names one of device, pf and macvtap.
type Passthrough struct {
	Device  string `yaml:"device,scalar" jsonschema:"title=device,description=PCI address of a NIC or of a virtual function.,pattern=^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\\.[0-7]$,example=0000:3b:00.0"`
	PF      string `yaml:"pf" jsonschema:"title=physical function,description=NIC of the host of which a free virtual function is taken."`
	VLAN    *int   `yaml:"vlan" jsonschema:"title=VLAN,description=VLAN that the virtual function is put into.,minimum=1,maximum=4094"`
	Macvtap string `yaml:"macvtap" jsonschema:"title=macvtap,description=NIC of the host that a macvtap in passthrough mode takes whole: where VFIO cannot be had."`
	Take    bool   `yaml:"take" jsonschema:"title=take,description=Take the NIC from the host also where the host has an address on it.,default=false"`
}

// MirrorSpec is what a capture NIC receives: a node's name, or a map.
type MirrorSpec struct {
	From    string `yaml:"from,scalar" jsonschema:"required,title=from,description=The node whose measurement NIC is copied."`
	Network string `yaml:"network" jsonschema:"title=network,description=The network of that NIC where the node has several with sides."`
	Side    string `yaml:"side" jsonschema:"title=side,description=The side of that NIC where the node is on both."`
	Port    string `yaml:"port" jsonschema:"title=port,description=NIC of the host into which a switch's mirror port or an optical tap feeds the copy. It is given back as it was."`
}
