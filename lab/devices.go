package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// devices finds the PCI devices that the lab's NICs are to be. One that is not
// there, or not free, is left out: Preflight says why.
func devices(h *host.Host, l topology.Lab, marks Marks) ([]topology.Device, error) {
	who, err := taken(h, l.Name, marks)
	if err != nil {
		return nil, err
	}
	var found []topology.Device
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if c.Kind != topology.KindFunction && c.Kind != topology.KindVF {
				continue
			}
			p, err := device(h, c.Host, who)
			if errors.As(err, new(host.Unfit)) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			who[p.Address] = "node " + n.Name // the next one gets another
			d := topology.Device{Node: n.Name, Network: c.Network, PF: c.Host.PF, Address: p.Address, VF: p.PF != ""}
			if !d.VF {
				d.MAC = p.MAC
			} else if d.Representor, err = h.Representor(p); err != nil {
				return nil, err
			}
			found = append(found, d)
		}
	}
	return found, nil
}

// device is the one that the file names, or a free virtual function.
func device(h *host.Host, wanted topology.HostDevice, who map[string]string) (host.PCI, error) {
	if wanted.PF != "" {
		return h.FreeVF(wanted.PF, who)
	}
	return h.PCI(wanted.PCI)
}

// taken is who has PCI devices and links of the host, by address and by name: other
// labs, also while their machines are off, and running machines of others.
func taken(h *host.Host, lab string, marks Marks) (map[string]string, error) {
	own := map[string]bool{}
	for _, d := range marks.Of(lab).Domains {
		own[d.Object] = true
	}
	who, err := h.Assigned(func(domain string) bool { return own[domain] })
	if err != nil {
		return nil, err
	}
	for _, t := range marks.Tags() {
		other, err := decideTag(t)
		if err != nil || other.Name == lab {
			continue // a lab that cannot be read does not hold this one up
		}
		for _, nic := range nicsOf(other) {
			who[nic] = "lab " + other.Name
		}
	}
	return who, nil
}

// nicsOf are the PCI devices and links of the host that a lab has for itself, its
// own bridges among them.
func nicsOf(l topology.Lab) []string {
	var all []string
	for _, n := range l.Networks {
		for _, s := range n.Segments {
			if !s.Existing {
				all = append(all, s.Bridge)
			}
			all = append(all, s.Ports...)
			if s.Uplink != "" {
				all = append(all, s.Uplink)
			}
		}
	}
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if c.Host.PCI != "" {
				all = append(all, c.Host.PCI)
			}
			if c.Host.Macvtap != "" {
				all = append(all, c.Host.Macvtap)
			}
		}
	}
	return all
}

// needsDevices adds the NICs of the host that a machine is to take. One that runs has its own.
func (b Build) needsDevices(n *host.Needs, m domains.Machine) error {
	running, err := m.Running()
	if err != nil || running {
		return err
	}
	of := "node " + m.Node.Name
	for _, c := range m.Node.NICs {
		switch c.Kind {
		case topology.KindFunction, topology.KindVF:
			d := host.Device{For: of, Address: c.Host.PCI, Take: c.Host.Take, MemoryMiB: m.Node.MemoryMiB, MAC: c.MAC}
			if d.Address == "" {
				d.PF = c.Host.PF
			}
			n.Devices = append(n.Devices, d)
		case topology.KindMacvtap:
			n.Links = append(n.Links, host.LinkUse{For: "macvtap of " + of, Link: c.Host.Macvtap, Take: c.Host.Take, Ask: true})
		}
	}
	return nil
}

// linksOf are the NICs of the host that a segment is to take; not one that it has already.
func linksOf(ctx context.Context, s networks.Segment) []host.LinkUse {
	var uses []host.LinkUse
	on := s.Network.Name + "/" + s.Segment.Side
	if up := s.Segment.Uplink; up != "" {
		if joined, err := s.HasUplink(ctx); err != nil || !joined {
			uses = append(uses, host.LinkUse{For: "uplink of " + on, Link: up})
		}
	}
	for _, port := range s.Segment.Ports {
		uses = append(uses, host.LinkUse{For: "mirror port of " + on, Link: port})
	}
	return uses
}

// chosenIn is what a mark holds of what was chosen and found for its lab.
func chosenIn(t host.Tag) topology.Chosen {
	c := topology.Chosen{Subnets: t.Subnets()}
	for _, f := range t.Devices {
		mac, _ := net.ParseMAC(f.MAC) // a virtual function has none of its own
		c.Devices = append(c.Devices, topology.Device{
			Node: f.Node, Network: f.Network, PF: f.PF, Address: f.Address, VF: f.VF, MAC: mac, Representor: f.Representor,
		})
	}
	return c
}

// foundAs are devices as a mark holds them.
func foundAs(devices []topology.Device) []host.Found {
	var all []host.Found
	for _, d := range devices {
		all = append(all, host.Found{
			Node: d.Node, Network: d.Network, PF: d.PF, Address: d.Address, VF: d.VF, MAC: d.MAC.String(), Representor: d.Representor,
		})
	}
	return all
}

// bridges are those of the host's own that the lab's nodes are plugged into.
func (b Build) bridges() []host.Bridge {
	var all []host.Bridge
	if b.On.Fake() {
		return nil // libvirt's test driver plugs into none
	}
	for _, n := range b.Lab.Networks {
		for _, s := range n.Segments {
			switch {
			case !s.Existing:
			case n.Sided():
				all = append(all, host.Bridge{For: "side " + s.Side + " of network " + n.Name, Name: s.Bridge, MTU: n.MTU, Measured: true})
			default:
				all = append(all, host.Bridge{For: "network " + n.Name, Name: s.Bridge, MTU: n.MTU, Subnet: s.Subnet})
			}
		}
	}
	return all
}

// ofOVS are the networks whose bridges are to be Open vSwitch's.
func (b Build) ofOVS() []string {
	var all []string
	if b.On.Fake() {
		return nil // libvirt's test driver makes none
	}
	for _, n := range b.Lab.Networks {
		if slices.ContainsFunc(n.Segments, func(s topology.Segment) bool { return s.OVS }) {
			all = append(all, "network "+n.Name)
		}
	}
	return all
}

// Disturbed is what the lab works with on bridges, and yet is worse for.
func (b Build) Disturbed() ([]string, error) {
	found, err := b.On.Disturbs(host.Needs{Bridges: b.bridges()})
	found = append(found, host.OVSDisturbs(host.Needs{OVS: b.ofOVS()})...)
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s: %s (%s)", f.What, f.Why, f.Fix))
	}
	return all, err
}
