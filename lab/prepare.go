package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// Changed says that a lab is there, made from a file that said otherwise.
type Changed struct {
	Lab         string
	Differences []string
}

func (c Changed) Error() string {
	return fmt.Sprintf("lab %s is there already, and the file says otherwise now:\n  %s\n"+
		"  labctl up --replace takes the lab down and brings it up as the file says; labctl down %s removes it",
		c.Lab, strings.Join(c.Differences, "\n  "), c.Lab)
}

// Prepare decides the lab that the file asks for, against what is on the host:
// what was chosen and found for it before stays, and what is free is chosen. It
// changes nothing. A lab made from a file that said otherwise is a Changed.
func Prepare(h *host.Host, f topology.File, from string) (Build, error) {
	marks, err := FindMarks(h)
	if err != nil {
		return Build{}, err
	}
	used, err := inUse(h, f.Name, marks)
	if err != nil {
		return Build{}, err
	}
	before := marks.Of(f.Name).Tags()
	var chosen topology.Chosen
	if len(before) > 0 {
		chosen = chosenIn(before[0])
	}
	l, err := topology.Decide(f, used, chosen)
	if err == nil && len(before) == 0 {
		if chosen.Devices, err = devices(h, l, marks); err == nil && len(chosen.Devices) > 0 {
			l, err = topology.Decide(f, used, chosen)
		}
	}
	if err != nil {
		return Build{}, err
	}
	if err := sameAs(before, l); err != nil {
		return Build{}, err
	}
	_, text := f.Source()
	tag := host.Tag{Lab: l.Name, Format: host.Format, From: from, Dir: h.Dir, File: text}
	if len(before) > 0 { // the first mark stays: a comment changed in the file changes nothing
		tag = before[0]
	} else {
		for _, n := range l.Networks {
			tag.Chosen = append(tag.Chosen, chosenFor(n)...)
		}
		tag.Devices = foundAs(chosen.Devices)
	}
	b := Build{On: h.In(tag.Dir), Lab: l, From: from, Tag: tag, Made: madeNow()}
	if len(before) > 0 {
		b.Made = marks.Of(f.Name).made(h)
		b.Accel, err = b.runningOn()
	} else {
		b.Accel, err = accelerator(h, l.Accel)
	}
	return b, err
}

// chosenFor are the subnets of a network that its file left open.
func chosenFor(n topology.Network) []host.Chosen {
	var all []host.Chosen
	for _, s := range n.Segments {
		name := n.Name
		if n.Under == topology.UnderNode {
			name += "/" + s.Side
		}
		if c := (host.Chosen{Network: name, Subnet: s.Subnet}); s.Chosen && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// sameAs compares the lab as decided with what the marks on the host say.
func sameAs(marks []host.Tag, l topology.Lab) error {
	for _, t := range marks {
		old, err := decideTag(t)
		if err != nil {
			return Changed{l.Name, []string{err.Error()}}
		}
		if d := topology.Differences(old, l); len(d) > 0 {
			return Changed{l.Name, d}
		}
	}
	return nil
}

// Newer says that a lab was made by a labctl that knows more kinds of things.
type Newer struct {
	Lab    string
	Format int
}

func (n Newer) Error() string {
	return fmt.Sprintf("lab %s was made by a newer labctl (format %d, this one knows %d): use that one", n.Lab, n.Format, host.Format)
}

// decideTag decides the lab that a mark was made for.
func decideTag(t host.Tag) (topology.Lab, error) {
	if t.Format > host.Format {
		return topology.Lab{}, Newer{t.Lab, t.Format}
	}
	f, err := topology.Load("the file in lab "+t.Lab+"'s mark", []byte(t.File), topology.Known{}) // its recipe may be gone since
	if err != nil {
		return topology.Lab{}, err
	}
	return topology.Decide(f, nil, chosenIn(t))
}

// accelerator decides how machines are run: what the file asks for, or KVM where
// it can really run guests.
func accelerator(h *host.Host, asked string) (string, error) {
	if asked != topology.AccelAuto {
		return asked, nil
	}
	ok, _, err := h.KVM()
	if err != nil {
		return "", err
	}
	if ok {
		return topology.AccelKVM, nil
	}
	return topology.AccelTCG, nil
}

// inUse are the prefixes that the lab cannot have: those of the host, and those
// that other labs have claimed.
func inUse(h *host.Host, lab string, marks Marks) ([]netip.Prefix, error) {
	var used []netip.Prefix
	if !h.Fake() {
		var err error
		if used, err = networks.InUse(h, lab); err != nil {
			return nil, err
		}
	}
	for _, t := range marks.Tags() {
		if t.Lab == lab {
			continue
		}
		for _, c := range t.Chosen {
			used = append(used, c.Subnet)
		}
		if other, err := decideTag(t); err == nil { // its networks may not be there yet
			for _, n := range other.Networks {
				if n.Gateway.IsValid() {
					used = append(used, n.Subnets()...)
					used = append(used, n.Subnets6()...)
				}
			}
		}
	}
	return used, nil
}

// Preflight looks whether the host can give what the plan's steps want.
func (b Build) Preflight(ctx context.Context, p Plan) error {
	marks, err := FindMarks(b.On)
	if err != nil {
		return err
	}
	needs, err := b.needs(ctx, p, marks)
	if err != nil {
		return err
	}
	var unfits host.Unfits
	if err := host.Preflight(ctx, b.On, needs); err != nil && !errors.As(err, &unfits) {
		return err
	}
	lacks, err := b.lacks(p)
	if err != nil {
		return err
	}
	if unfits = slices.Concat(b.publishedElsewhere(marks), unfits, lacks); len(unfits) > 0 {
		return unfits
	}
	return nil
}

// lacks is what the kernel does not have of what the plan's impairments take. It is tried, which takes root.
func (b Build) lacks(p Plan) (host.Unfits, error) {
	if b.On.Fake() || os.Geteuid() != 0 || !slices.ContainsFunc(p.Steps(), func(s Step) bool {
		_, impairs := s.Resource.(Impairment)
		return impairs
	}) {
		return nil, nil
	}
	return networks.Lacks(b.Lab)
}

// needs are what is wanted of the host for the plan's steps.
func (b Build) needs(ctx context.Context, p Plan, marks Marks) (host.Needs, error) {
	n := host.Needs{KVM: b.Lab.Accel == topology.AccelKVM, Auto: b.Lab.Accel == topology.AccelAuto, Tools: tools}
	used, err := inUse(b.On, b.Lab.Name, marks)
	if err != nil {
		return host.Needs{}, err
	}
	n.InUse = used
	if n.Taken, err = taken(b.On, b.Lab.Name, marks); err != nil {
		return host.Needs{}, err
	}
	n.Bridges, n.OVS = b.bridges(), b.ofOVS()
	for _, s := range p.Steps() {
		switch r := s.Resource.(type) {
		case networks.Segment:
			if r.Network.Gateway.IsValid() {
				n.Subnets = append(n.Subnets, r.Segment.Subnet)
				if r.Segment.Subnet6.IsValid() {
					n.Subnets = append(n.Subnets, r.Segment.Subnet6)
				}
			}
			n.Links = append(n.Links, linksOf(ctx, r)...)
		case domains.Machine:
			n.MemoryMiB += r.Node.MemoryMiB
			n.UEFI = n.UEFI || b.Bases[r.Node.Name].Boot == images.BootUEFI
			if err := b.needsDevices(&n, r); err != nil {
				return host.Needs{}, err
			}
		case images.Disk:
			n.DiskBytes += overlayAtLeast
		case networks.Publish:
			for _, node := range b.Lab.Nodes {
				n.Ports = append(n.Ports, portsOf(node)...)
			}
		}
	}
	return n, nil
}

// What an overlay takes at the least before its machine has written anything (bytes).
const overlayAtLeast = 32 << 20

// tools are the programs that building a lab runs.
var tools = []string{"qemu-img", "qemu-storage-daemon", "debugfs", "e2fsck", "resize2fs"}

// publishedElsewhere refuses a port of the host that another lab publishes: its
// rules would win or lose unseen.
func (b Build) publishedElsewhere(marks Marks) host.Unfits {
	var u host.Unfits
	for _, t := range marks.Tags() {
		other, err := decideTag(t)
		if err != nil || other.Name == b.Lab.Name {
			continue // a lab that cannot be read does not hold this one up
		}
		for _, theirs := range publishes(other) {
			for _, ours := range publishes(b.Lab) {
				if ours.Meets(theirs) {
					u = append(u, host.Unfit{
						What: fmt.Sprintf("port %d/%s of the host is published by lab %s already", ours.HostPort, ours.Protocol, other.Name),
						Fix:  "publish another port, or take that lab down (labctl down " + other.Name + ")",
					})
				}
			}
		}
	}
	return u
}

// portsOf are the ports of the host that a node's published ports take.
func portsOf(n topology.Node) []host.Port {
	var all []host.Port
	for _, p := range n.Publish {
		port := host.Port{Address: p.HostAddress, Number: p.HostPort, Protocol: p.Protocol}
		all = append(all, port)
		if !port.Address.IsValid() && n.HasIPv6() {
			port.Address = netip.IPv6Unspecified()
			all = append(all, port)
		}
	}
	return all
}

func publishes(l topology.Lab) []topology.Publish {
	var all []topology.Publish
	for _, n := range l.Nodes {
		all = append(all, n.Publish...)
	}
	return all
}
