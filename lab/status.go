package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// Status is what of a lab is on the host.
type Status struct {
	Name     string          `json:"name"`
	State    string          `json:"state"` // whole, partial or absent
	Nodes    []NodeStatus    `json:"nodes"`
	Networks []NetworkStatus `json:"networks"`
	Mirror   []MirrorStatus  `json:"mirror"`
	// Impairments are what each direction of the networks under test does to frames.
	Impairments []ImpairmentStatus `json:"impairments"`
	Resources   []ResourceState    `json:"resources"`
	Strays      []string           `json:"strays"` // what bears the lab's mark and no file speaks of
	Provenance  Provenance         `json:"provenance"`
	Authority   string             `json:"authority,omitempty"` // the certificate by which its nodes' https is trusted, a file
}

// NodeStatus is one machine.
type NodeStatus struct {
	Name        string      `json:"name"`
	Domain      string      `json:"domain"` // libvirt's name
	State       string      `json:"state"`  // absent, partial (not running) or present (running)
	Ready       bool        `json:"ready"`  // it runs with no failed unit, addresses and names as written
	Image       string      `json:"image"`
	Accelerator string      `json:"accelerator"` // kvm or tcg
	CPUs        int         `json:"cpus"`
	MemoryMiB   int         `json:"memoryMiB"`
	DiskBytes   int64       `json:"diskBytes"`
	NICs        []NICStatus `json:"nics"`
	Services    []string    `json:"services"`
	Publish     []string    `json:"publish"`
}

// NICStatus is one NIC of a node.
type NICStatus struct {
	Network   string `json:"network"`
	Side      string `json:"side,omitempty"`
	MAC       string `json:"mac"`
	Address   string `json:"address,omitempty"` // with its prefix length
	Address6  string `json:"address6,omitempty"`
	Link      string `json:"link"`             // the host's device; "" on a PCI device
	Mirror    string `json:"mirror,omitempty"` // the node whose NIC is copied into it
	Kind      string `json:"kind"`             // virtio, function (a whole PCI NIC), vf or macvtap
	Device    string `json:"device,omitempty"` // the PCI address, or the NIC under a macvtap
	Offloads  bool   `json:"offloads"`
	MTU       int    `json:"mtu"`
	HostState string `json:"hostState"` // absent, down, or up: the host's device; of a PCI device its driver
	// Traffic is what passed its link on the host; absent where there is none.
	Traffic *networks.Traffic `json:"traffic,omitempty"`
}

// NetworkStatus is one network.
type NetworkStatus struct {
	Name      string          `json:"name"`
	Subnet    string          `json:"subnet,omitempty"`  // where each side has its own it stands there
	Subnet6   string          `json:"subnet6,omitempty"` // the same of IPv6
	Gateway   string          `json:"gateway,omitempty"` // the host's address on it
	Gateway6  string          `json:"gateway6,omitempty"`
	Uplink    string          `json:"uplink,omitempty"`
	UnderTest string          `json:"underTest,omitempty"` // what joins its sides: wire, node or external
	Router    string          `json:"router,omitempty"`    // that node
	MTU       int             `json:"mtu"`
	Segments  []SegmentStatus `json:"segments"`
}

// SegmentStatus is one segment of a network.
type SegmentStatus struct {
	Side   string `json:"side,omitempty"`
	Subnet string `json:"subnet"`
	Object string `json:"object,omitempty"` // libvirt's name; "" on a bridge that is the host's own
	Bridge string `json:"bridge"`
	State  string `json:"state"`
	// Subnet6 is absent where the network has no IPv6.
	Subnet6 string `json:"subnet6,omitempty"`
}

// MirrorStatus is one mirror and what it has copied.
type MirrorStatus struct {
	From    string `json:"from"`
	Network string `json:"network"` // of the NIC of From's that is copied
	Side    string `json:"side"`
	To      string `json:"to"`
	At      string `json:"at"`    // the host's link where the copy is taken
	Point   string `json:"point"` // what that is: tap, ovs-port, macvtap, uplink, representor or port
	State   string `json:"state"`
	// Counters are of the mirror since it was made; absent where it is not there.
	Counters *networks.Counters `json:"counters,omitempty"`
}

// ResourceState is one resource and how much of it is there.
type ResourceState struct {
	Resource string `json:"resource"`
	State    string `json:"state"`
}

// Provenance is what measurements made in the lab stand on.
type Provenance struct {
	Labctl      string                 `json:"labctl"`
	Libvirt     string                 `json:"libvirt"`
	QEMU        string                 `json:"qemu"`
	HostKernel  string                 `json:"hostKernel"`
	Host        string                 `json:"host"`
	Accelerator string                 `json:"accelerator"`
	File        string                 `json:"file"` // where the lab's file came from
	Images      map[string]ImageStatus `json:"images"`
	Start       *Start                 `json:"start,omitempty"` // how its nodes came to run; absent where that is not known
}

// ImageStatus is a base image that nodes stand on.
type ImageStatus struct {
	Digest string `json:"digest"` // the recipe's, hexadecimal SHA-256
	Disk   string `json:"disk"`   // the disk's, hexadecimal SHA-256
	Kernel string `json:"kernel"` // the guest kernel's release
}

// How a lab as a whole is there.
const (
	Whole  = "whole"
	Part   = "partial"
	Nought = "absent"
)

// Look asks each of the lab's resources for its state, and each machine's agent
// whether it answers.
func (b Build) Look(ctx context.Context) (Status, error) {
	s := Status{Name: b.Lab.Name, State: Whole, Nodes: []NodeStatus{}, Networks: []NetworkStatus{}, Strays: []string{}, Authority: b.Authority()}
	states := map[string]string{}
	there := false
	var errs []error
	for _, stage := range b.Resources() {
		for _, r := range stage {
			state, err := r.State(ctx)
			if err != nil {
				errs = append(errs, fmt.Errorf("look at %s: %w", r, err))
			}
			states[r.String()] = state.String()
			s.Resources = append(s.Resources, ResourceState{r.String(), state.String()})
			if _, ok := r.(Impairment); ok {
				continue // a lab is as whole where they were changed
			}
			there = there || state != host.Absent
			if state != host.Present {
				s.State = Part
			}
		}
	}
	if !there {
		s.State = Nought
	}
	s.Networks = b.networkStatus(states)
	s.Nodes = b.nodeStatus(ctx, states)
	s.Mirror = b.mirrorStatus(states)
	s.Impairments = b.Impairments(ctx)
	strays, err := b.strays(ctx)
	s.Strays = append(s.Strays, strays...)
	errs = append(errs, err)
	s.Provenance, err = b.provenance()
	return s, errors.Join(append(errs, err)...)
}

// strays are what bears the lab's mark and is none of its resources.
func (b Build) strays(ctx context.Context) ([]string, error) {
	all, err := FindMarks(b.On)
	known := map[string]bool{}
	for _, stage := range b.Resources() {
		for _, r := range stage {
			known[r.String()] = true
		}
	}
	stages, serr := all.Of(b.Lab.Name).strays(ctx, b.Lab.Name, known)
	return names(stages), errors.Join(err, serr)
}

func (b Build) networkStatus(states map[string]string) []NetworkStatus {
	all := []NetworkStatus{}
	for _, n := range b.Lab.Networks {
		ns := NetworkStatus{Name: n.Name, Subnet: n.Segments[0].Subnet.String(), Uplink: n.Uplink, UnderTest: n.Under, Router: n.Router, MTU: n.MTU}
		if len(n.Subnets()) > 1 {
			ns.Subnet = ""
		}
		if n.Gateway.IsValid() {
			ns.Gateway = n.Gateway.String()
		}
		if n.Gateway6.IsValid() {
			ns.Gateway6 = n.Gateway6.String()
		}
		if six := n.Subnets6(); len(six) == 1 {
			ns.Subnet6 = six[0].String()
		}
		for _, s := range n.Segments {
			state := states[networks.Segment{On: b.On, Network: n, Segment: s, Tag: b.Tag}.String()]
			if s.Existing {
				state = bridgeState(s.Bridge)
			}
			ss := SegmentStatus{Side: s.Side, Subnet: s.Subnet.String(), Object: s.Object, Bridge: s.Bridge, State: state}
			if s.Subnet6.IsValid() {
				ss.Subnet6 = s.Subnet6.String()
			}
			ns.Segments = append(ns.Segments, ss)
		}
		all = append(all, ns)
	}
	return all
}

// bridgeState is whether a bridge that is the host's own is there.
func bridgeState(name string) string {
	if i, err := net.InterfaceByName(name); err != nil || i.Flags&net.FlagUp == 0 {
		return host.Absent.String()
	}
	return host.Present.String()
}

// How long a node may take to show that it is ready, which a hung one never does.
const readyNowTime = 10 * time.Second

// nodeStatus asks all the nodes' agents at once.
func (b Build) nodeStatus(ctx context.Context, states map[string]string) []NodeStatus {
	all := make([]NodeStatus, len(b.Lab.Nodes))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, m := range b.Machines() {
		n := m.Node
		all[i] = NodeStatus{
			Name: n.Name, Domain: n.Object, State: states[m.String()], Image: n.Image, Accelerator: b.Accel,
			CPUs: n.CPUs, MemoryMiB: n.MemoryMiB, DiskBytes: n.DiskBytes,
			NICs: []NICStatus{}, Services: append([]string{}, n.Services...), Publish: []string{},
		}
		if accel, there, err := m.Accel(); there && err == nil {
			all[i].Accelerator = accel
		}
		for _, c := range n.NICs {
			all[i].NICs = append(all[i].NICs, b.nicStatus(c))
		}
		for _, p := range n.Publish {
			all[i].Publish = append(all[i].Publish, p.String())
		}
		if all[i].State == host.Present.String() {
			group.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, readyNowTime)
				defer cancel()
				all[i].Ready = m.Now(ctx) == nil
				return nil
			})
		}
	}
	_ = group.Wait()
	return all
}

func (b Build) nicStatus(c topology.NIC) NICStatus {
	s := NICStatus{
		Network: c.Network, Side: c.Side, MAC: c.MAC.String(), Link: c.Link, Mirror: c.Mirror,
		Kind: c.Kind, Device: cmp.Or(c.Host.PCI, c.Host.Macvtap), Offloads: c.Offloads, MTU: c.MTU, HostState: "absent",
	}
	if c.Address.IsValid() {
		s.Address = c.Address.String()
	}
	if c.Address6.IsValid() {
		s.Address6 = c.Address6.String()
	}
	if c.Host.PCI != "" {
		if p, err := b.On.PCI(c.Host.PCI); err == nil {
			s.HostState = cmp.Or(p.Driver, "no driver")
		}
	} else if i, err := net.InterfaceByName(c.Link); err == nil {
		s.HostState = "down"
		if i.Flags&net.FlagUp != 0 {
			s.HostState = "up"
		}
		s.Traffic, _ = networks.TrafficOf(c) // it may be gone by now
	}
	return s
}

func (b Build) mirrorStatus(states map[string]string) []MirrorStatus {
	all := []MirrorStatus{}
	for _, n := range b.Lab.Nodes {
		to, ok := n.Capture()
		if !ok {
			continue
		}
		from, _ := b.Lab.Node(to.Mirror)
		copied, m := mirrored(from, to), b.mirrorInto(to)
		ms := MirrorStatus{
			From: from.Name, Network: copied.Network, Side: copied.Side, To: n.Name,
			At: to.Point.Link, Point: to.Point.Kind, State: states[m.String()],
		}
		if c, err := m.Counters(); err == nil && ms.State != host.Absent.String() {
			ms.Counters = &c
		}
		all = append(all, ms)
	}
	return all
}

func (b Build) provenance() (Provenance, error) {
	p := Provenance{Labctl: Version(), HostKernel: kernelRelease(), Accelerator: b.Accel, File: b.Tag.From, Images: map[string]ImageStatus{}, Start: b.Made.Start}
	p.Host, _ = os.Hostname()
	lib, lerr := b.On.GetLibVersion()
	qemu, qerr := b.On.GetVersion()
	p.Libvirt, p.QEMU = dotted(lib), dotted(qemu)
	for _, n := range b.Lab.Nodes {
		if _, ok := p.Images[n.Image]; ok {
			continue
		}
		base, err := images.BaseOf(b.diskPath(n))
		if err != nil {
			continue // no disk yet: nothing stands on it
		}
		p.Images[n.Image] = ImageStatus{base.Digest, base.Files["disk.qcow2"].SHA256, base.Kernel}
	}
	return p, errors.Join(lerr, qerr)
}

// dotted writes libvirt's version numbers, 1000000 × major + 1000 × minor + release.
func dotted(v uint32) string { return fmt.Sprintf("%d.%d.%d", v/1000000, v/1000%1000, v%1000) }

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// version is set by the build; without it the module's own is told.
var version string

// Version is labctl's own.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}
