package lab

import (
	"fmt"
	"strings"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// Unknown says that no lab of that name is on the host.
type Unknown struct {
	Lab    string
	Others []string
}

func (u Unknown) Error() string {
	if len(u.Others) == 0 {
		return fmt.Sprintf("lab %s is not on this host, nor is any other; labctl up brings one up", u.Lab)
	}
	return fmt.Sprintf("lab %s is not on this host; there are: %s", u.Lab, strings.Join(u.Others, ", "))
}

// Open returns the lab of that name as its mark on the host describes it.
func Open(h *host.Host, name string) (Build, error) {
	marks, err := FindMarks(h)
	if err != nil {
		return Build{}, err
	}
	own := marks.Of(name)
	tags := own.Tags()
	if len(tags) == 0 {
		return Build{}, Unknown{name, marks.Labs()}
	}
	l, err := decideTag(tags[0])
	if err != nil {
		return Build{}, err
	}
	b := Build{On: h.In(tags[0].Dir), Lab: l, Tag: tags[0], Made: own.made(h)}
	b.Accel, err = b.runningOn()
	return b, err
}

// runningOn is how the lab's machines are run, as the first of them that is there says.
func (b Build) runningOn() (string, error) {
	if b.On.Silent() != nil {
		return accelerator(b.On, b.Lab.Accel)
	}
	for _, m := range b.Machines() {
		accel, there, err := m.Accel()
		if there || err != nil {
			return accel, err
		}
	}
	return accelerator(b.On, b.Lab.Accel)
}

// disk is the overlay of a node.
func (b Build) disk(n topology.Node) images.Disk {
	d := images.Disk{
		Node:  n.Name,
		Path:  b.diskPath(n),
		Base:  b.Bases[n.Name],
		Bytes: n.DiskBytes,
		Files: b.files(n),
	}
	if b.State.Has(n.Name) {
		d.Kept = b.State.Disk(n.Name)
	}
	return d
}

func (b Build) diskPath(n topology.Node) string { return b.dir(n.Name + ".qcow2") }

// machine is the domain of a node.
func (b Build) machine(n topology.Node) domains.Machine {
	m := domains.Machine{
		On:       b.On,
		Node:     n,
		Guest:    b.guest(n),
		Boot:     b.boot(n),
		Tag:      b.Tag,
		Hosts:    func() string { return images.HostsFile(b.Lab, n) },
		Deliver:  b.deliver(n),
		Programs: b.programs(n),
		Trust:    b.trust(n),
	}
	if b.State.Has(n.Name) {
		m.Memory, m.Works = b.State.Memory(n.Name), b.State.HasWorker(n.Name)
	}
	return m
}

// boot is how the node's machine starts, as its base image says.
func (b Build) boot(n topology.Node) domains.Boot {
	base := b.Bases[n.Name]
	boot := domains.Boot{
		Disk:    b.diskPath(n),
		Console: b.dir(n.Name + ".console"),
		Accel:   b.Accel,
	}
	if b.seeded(n) {
		boot.Seed = b.seed(n).Path
	}
	switch base.Boot {
	case images.BootBIOS:
	case images.BootUEFI:
		boot.UEFI, _ = host.UEFI() // where there is none, Preflight has said so
		boot.NVRAM = b.dir(n.Name + ".nvram")
	default:
		boot.Kernel, boot.Initrd, boot.Cmdline = base.KernelPath(), base.InitrdPath(), base.CommandLine
		if b.Accel == topology.AccelTCG {
			boot.Cmdline += noTimerCheck
		}
	}
	return boot
}

// noTimerCheck keeps an emulated kernel from giving up: on a busy host its timer's ticks
// come too late for the check that it makes of it at its start. Source: Linux's
// Documentation/admin-guide/kernel-parameters.
const noTimerCheck = " no_timer_check"

// Machine is the machine of that node.
func (b Build) Machine(name string) (domains.Machine, error) {
	n, err := b.node(name)
	if err != nil {
		return domains.Machine{}, err
	}
	return b.machine(n), nil
}

func (b Build) node(name string) (topology.Node, error) {
	if n, ok := b.Lab.Node(name); ok {
		return n, nil
	}
	var names []string
	for _, n := range b.Lab.Nodes {
		names = append(names, n.Name)
	}
	return topology.Node{}, fmt.Errorf("lab %s has no node %q; it has %s", b.Lab.Name, name, strings.Join(names, ", "))
}

// Only is the name of the one lab on the host.
func Only(h *host.Host) (string, error) {
	marks, err := FindMarks(h)
	if err != nil {
		return "", err
	}
	switch labs := marks.Labs(); len(labs) {
	case 0:
		return "", None{}
	case 1:
		return labs[0], nil
	default:
		return "", Several{labs}
	}
}

// None says that there is no lab.
type None struct{}

func (None) Error() string { return "no lab is on this host; labctl up brings one up" }

// Several says that a lab must be named since there are more.
type Several struct{ Labs []string }

func (s Several) Error() string {
	return fmt.Sprintf("several labs are on this host (%s): say which with --lab NAME", strings.Join(s.Labs, ", "))
}
