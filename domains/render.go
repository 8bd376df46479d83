package domains

import (
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Boot is what a machine needs beside its node: where its files are and how it is run.
type Boot struct {
	Disk    string // the node's overlay, qcow2
	Seed    string // an ISO image for cloud-init; "" where it is not asked
	Kernel  string // "": the disk's own boot loader starts
	Initrd  string
	Cmdline string
	UEFI    host.Firmware // none: a BIOS
	NVRAM   string        // where the UEFI keeps its variables; made with the machine and gone with it
	Console string        // what the serial console prints is kept here
	Accel   string        // topology.AccelKVM or topology.AccelTCG
}

// How much of a TCG guest's translated code QEMU keeps: without a limit it grows
// to more than the guest's own memory.
const translationCacheMiB = 64

// propertyByProperty is what libvirt calls it that QEMU tells which of a processor's features it lacks. Where it does,
// libvirt asks for each of some 400 properties of the processor before a machine runs, and QEMU reads its monitor
// byte by byte: of 270 ms in which a machine starts that takes 190. Where it does not, libvirt asks once.
const propertyByProperty = "cpu-unavailable-features"

// agentChannel is the name under which QEMU's guest agent is found.
const agentChannel = "org.qemu.guest_agent.0"

// parts build a domain's description, one device or property each.
var parts = []func(topology.Node, Boot, *libvirtxml.Domain){
	identity, compute, boot, lifecycle, controllers, disk, seed, nics, agent, console, entropy,
}

// Render is the description of a node's machine, a pure function of its arguments.
func Render(n topology.Node, b Boot, tag host.Tag) (*libvirtxml.Domain, error) {
	mark, err := tag.XML()
	if err != nil {
		return nil, err
	}
	d := &libvirtxml.Domain{
		Metadata: &libvirtxml.DomainMetadata{XML: mark},
		Devices:  &libvirtxml.DomainDeviceList{},
	}
	for _, add := range parts {
		add(n, b, d)
	}
	return d, nil
}

func identity(n topology.Node, b Boot, d *libvirtxml.Domain) {
	d.Type = "qemu"
	if b.Accel == topology.AccelKVM {
		d.Type = "kvm"
	}
	d.Name, d.UUID = n.Object, n.UUID
	d.Description = "node " + n.Name + " of lab " + n.Lab
	d.GenID = &libvirtxml.DomainGenID{} // by which a guest learns that it goes on from a saved state: another each time
}

func compute(n topology.Node, b Boot, d *libvirtxml.Domain) {
	d.Memory = &libvirtxml.DomainMemory{Value: uint(n.MemoryMiB), Unit: "MiB"}
	d.VCPU = &libvirtxml.DomainVCPU{Value: uint(n.CPUs)}
	d.Features = &libvirtxml.DomainFeatureList{
		ACPI: &libvirtxml.DomainFeature{},
		APIC: &libvirtxml.DomainFeatureAPIC{},
	}
	if b.Accel == topology.AccelKVM {
		d.CPU = &libvirtxml.DomainCPU{Mode: "host-passthrough"}
		return
	}
	d.Features.TCG = &libvirtxml.DomainFeatureTCG{
		TBCache: &libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: translationCacheMiB},
	}
	d.QEMUCapabilities = &libvirtxml.DomainQEMUCapabilities{
		Del: []libvirtxml.DomainQEMUCapabilitiesEntry{{Name: propertyByProperty}},
	}
}

// boot is by a kernel beside the disk, or by what is on the disk.
func boot(_ topology.Node, b Boot, d *libvirtxml.Domain) {
	d.OS = &libvirtxml.DomainOS{
		Type:    &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "pc", Type: "hvm"},
		Kernel:  b.Kernel,
		Initrd:  b.Initrd,
		Cmdline: b.Cmdline,
	}
	if b.Kernel != "" {
		return
	}
	d.OS.BootDevices = []libvirtxml.DomainBootDevice{{Dev: "hd"}}
	if b.UEFI != (host.Firmware{}) {
		d.OS.Loader = &libvirtxml.DomainLoader{Path: b.UEFI.Code, Readonly: "yes", Type: "pflash"}
		d.OS.NVRam = &libvirtxml.DomainNVRam{NVRam: b.NVRAM, Template: b.UEFI.Variables}
	}
}

// A machine that panics is destroyed at once, so that whoever waits for it learns of it.
func lifecycle(_ topology.Node, _ Boot, d *libvirtxml.Domain) {
	d.Clock = &libvirtxml.DomainClock{Offset: "utc"}
	d.OnPoweroff, d.OnReboot, d.OnCrash = "destroy", "restart", "destroy"
	d.Devices.Panics = []libvirtxml.DomainPanic{{Model: "isa"}}
}

// What a lab's machine has no use for costs boot time: no USB, no balloon.
func controllers(_ topology.Node, _ Boot, d *libvirtxml.Domain) {
	d.Devices.Controllers = []libvirtxml.DomainController{{Type: "usb", Model: "none"}}
	d.Devices.MemBalloon = &libvirtxml.DomainMemBalloon{Model: "none"}
}

func disk(_ topology.Node, b Boot, d *libvirtxml.Domain) {
	d.Devices.Disks = []libvirtxml.DomainDisk{{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "qcow2", Discard: "unmap"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: b.Disk}},
		Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
	}}
}

// seed is a second disk, not a CD drive: every image that boots here has the driver.
func seed(_ topology.Node, b Boot, d *libvirtxml.Domain) {
	if b.Seed == "" {
		return
	}
	d.Devices.Disks = append(d.Devices.Disks, libvirtxml.DomainDisk{
		Device:   "disk",
		Driver:   &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Source:   &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: b.Seed}},
		Target:   &libvirtxml.DomainDiskTarget{Dev: "vdb", Bus: "virtio"},
		ReadOnly: &libvirtxml.DomainDiskReadOnly{},
	})
}

func nics(n topology.Node, _ Boot, d *libvirtxml.Domain) {
	for _, c := range n.NICs {
		switch c.Kind {
		case topology.KindFunction:
			d.Devices.Hostdevs = append(d.Devices.Hostdevs, function(c))
		case topology.KindVF:
			d.Devices.Interfaces = append(d.Devices.Interfaces, virtualFunction(c))
		default:
			d.Devices.Interfaces = append(d.Devices.Interfaces, nic(n, c))
		}
	}
}

// function is a whole PCI NIC of the host, with the MAC that it has. libvirt takes
// it from its driver and gives it back.
func function(c topology.NIC) libvirtxml.DomainHostdev {
	return libvirtxml.DomainHostdev{
		Managed: "yes",
		SubsysPCI: &libvirtxml.DomainHostdevSubsysPCI{
			Source: &libvirtxml.DomainHostdevSubsysPCISource{Address: pciAddress(c.Host.PCI)},
		},
		ROM: &libvirtxml.DomainROM{Bar: "off"}, // nothing boots from it
	}
}

// virtualFunction is one of a NIC's, to which libvirt gives its MAC and VLAN through
// the physical function: the guest cannot change them.
func virtualFunction(c topology.NIC) libvirtxml.DomainInterface {
	i := libvirtxml.DomainInterface{
		Managed: "yes",
		MAC:     &libvirtxml.DomainInterfaceMAC{Address: c.MAC.String()},
		Source: &libvirtxml.DomainInterfaceSource{Hostdev: &libvirtxml.DomainInterfaceSourceHostdev{
			PCI: &libvirtxml.DomainHostdevSubsysPCISource{Address: pciAddress(c.Host.PCI)},
		}},
		ROM: &libvirtxml.DomainROM{Bar: "off"},
	}
	if c.Host.VLAN != 0 {
		i.VLan = &libvirtxml.DomainInterfaceVLan{Tags: []libvirtxml.DomainInterfaceVLanTag{{ID: uint(c.Host.VLAN)}}}
	}
	return i
}

// pciAddress reads DOMAIN:BUS:SLOT.FUNCTION, all hexadecimal.
func pciAddress(text string) *libvirtxml.DomainAddressPCI {
	var domain, bus, slot, function uint
	_, _ = fmt.Sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &function) // topology has checked it
	return &libvirtxml.DomainAddressPCI{Domain: &domain, Bus: &bus, Slot: &slot, Function: &function}
}

// nic is one that QEMU makes.
func nic(n topology.Node, c topology.NIC) libvirtxml.DomainInterface {
	i := libvirtxml.DomainInterface{
		MAC:    &libvirtxml.DomainInterfaceMAC{Address: c.MAC.String()},
		Target: &libvirtxml.DomainInterfaceTarget{Dev: c.Link},
		Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
		MTU:    &libvirtxml.DomainInterfaceMTU{Size: uint(c.MTU)},
	}
	switch {
	case c.Mirror != "": // on no bridge: it would get flooded frames twice and leak its own
		i.Source = &libvirtxml.DomainInterfaceSource{Ethernet: &libvirtxml.DomainInterfaceSourceEthernet{}}
	case c.Kind == topology.KindMacvtap:
		i.Source = &libvirtxml.DomainInterfaceSource{Direct: &libvirtxml.DomainInterfaceSourceDirect{Dev: c.Host.Macvtap, Mode: "passthrough"}}
		i.MTU = nil // it is that of the NIC below
	default:
		i.Source = &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: c.Bridge}}
	}
	if c.OVS {
		i.VirtualPort = ovsPort(n, c)
	}
	if !c.Offloads {
		i.Driver = onTheWire()
	}
	return i
}

// ovsPort has libvirt make the tap a port of a bridge of Open vSwitch's.
func ovsPort(n topology.Node, c topology.NIC) *libvirtxml.DomainInterfaceVirtualPort {
	return &libvirtxml.DomainInterfaceVirtualPort{Params: &libvirtxml.DomainInterfaceVirtualPortParams{
		OpenVSwitch: &libvirtxml.DomainInterfaceVirtualPortParamsOpenVSwitch{InterfaceID: topology.UUID("port", n.Lab, n.Name, c.Network, c.Side)},
	}}
}

// onTheWire turns offloads off at both ends: frames are as they would be on a
// cable, none longer than the MTU and each with its checksum.
func onTheWire() *libvirtxml.DomainInterfaceDriver {
	return &libvirtxml.DomainInterfaceDriver{
		Host: &libvirtxml.DomainInterfaceDriverHost{
			CSum: "off", GSO: "off", TSO4: "off", TSO6: "off", ECN: "off", UFO: "off",
		},
		Guest: &libvirtxml.DomainInterfaceDriverGuest{
			CSum: "off", TSO4: "off", TSO6: "off", ECN: "off", UFO: "off",
		},
	}
}

// agent is the guest agent's channel, and that of the worker which waits in a node that is saved.
func agent(_ topology.Node, _ Boot, d *libvirtxml.Domain) {
	d.Devices.Channels = []libvirtxml.DomainChannel{{
		Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{}},
		Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: agentChannel}},
	}, {
		Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{}},
		Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: workerChannel}},
	}}
}

func console(_ topology.Node, b Boot, d *libvirtxml.Domain) {
	port := uint(0)
	d.Devices.Serials = []libvirtxml.DomainSerial{{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainSerialTarget{Port: &port},
		Log:    &libvirtxml.DomainChardevLog{File: b.Console, Append: "off"},
	}}
}

func entropy(_ topology.Node, _ Boot, d *libvirtxml.Domain) {
	d.Devices.RNGs = []libvirtxml.DomainRNG{{
		Model:   "virtio",
		Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
	}}
}
