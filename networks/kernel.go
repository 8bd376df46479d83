package networks

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks/shape"
	"github.com/mami-project/labctl/topology"
)

// probe is something of the kernel's that labs need.
type probe struct {
	name, module string
	why          string
	try          func(*probed) error
	optional     bool
}

// probed is what the probes before have made.
type probed struct {
	lab  topology.Lab
	ends [2]netlink.Link // of a cable
}

var probes = []probe{
	{"bridge", "bridge", "each segment of a lab is one", tryBridge, false},
	{"veth", "veth", "it is the wire between the two sides of a network", tryVeth, false},
	{"tun", "tun", "each NIC of a machine is a tap of it", tryTap, false},
	{"macvtap", "macvtap", "the file asks for one", tryMacvtap, false},
	{"clsact", "sch_ingress", whyMirror, tryClsact, false},
	{"u32", "cls_u32 or cls_matchall", whyMirror, tryFilter, false},
	{"mirred", "act_mirred", whyMirror, tryMirror, false},
	{"nft", "nf_tables, nft_chain_nat, nft_ct, nft_masq, nft_fib_ipv4 and, for IPv6, nft_fib_ipv6", "a lab's firewall and its published ports are a table of it, and one more where it has IPv6", tryTable, false},
	{"netem", shape.Module("netem"), whyShape, tryShape("netem"), false},
	{"tbf", shape.Module("tbf"), whyShape, tryShape("tbf"), false},
	{"fq_codel", shape.Module("fq_codel"), whyShape, tryShape("fq_codel"), false},
	{"pie", shape.Module("pie"), whyShape, tryShape("pie"), false},
	{"netem", shape.Module("netem"), "impairments (impair:) with a delay or loss need it, where a wire is under test", tryNetem, true},
}

const (
	whyMirror = "the mirror needs it: a filter at both hooks of a link copies every frame"
	whyShape  = "the file has an impairment (impair:) that takes it"
)

// Kernel does what a lab does with the kernel's networking, with the same calls,
// in a network namespace that vanishes with the thread it is made on. A module that
// the kernel can load it loads for the probe, as it would for a lab: nothing else stays.
func Kernel(l topology.Lab) host.Check {
	c, err := probeAside(l, probes)
	if err != nil {
		return host.Unseen(c.Name, err)
	}
	return c
}

// Lacks is what the kernel does not have of what the lab's impairments take on this host, tried as Kernel does.
func Lacks(l topology.Lab) (host.Unfits, error) {
	shapes := slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return p.name != "veth" && p.why != whyShape })
	c, err := probeAside(l, shapes)
	if err != nil {
		return nil, err
	}
	var lacks host.Unfits
	for _, f := range c.Findings {
		lacks = append(lacks, f.Unfit)
	}
	return lacks, nil
}

func probeAside(l topology.Lab, probes []probe) (host.Check, error) {
	c := host.Check{Name: "kernel"}
	done := make(chan error)
	go func() { done <- aside(func() error { return probeAll(&c, l, probes) }) }()
	err := <-done
	return c, err
}

// aside runs do in a network namespace of its own, on a thread that ends with the goroutine.
func aside(do func() error) error {
	runtime.LockOSThread() // and never unlocked: the runtime ends the thread
	if unix.Gettid() == os.Getpid() {
		// But not the first one, by whose namespace /proc/net goes.
		defer runtime.UnlockOSThread()
		done := make(chan error)
		go func() { done <- aside(do) }()
		return <-done
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return do()
}

func probeAll(c *host.Check, l topology.Lab, probes []probe) error {
	has := []string{kernelRelease()}
	made := probed{lab: l}
	for _, p := range probes {
		err := p.try(&made)
		if err == nil {
			has = append(has, p.name)
			continue
		}
		if errors.Is(err, errUnasked) {
			continue
		}
		what := fmt.Sprintf("the kernel gives no %s: %v", p.name, err)
		fix := "modprobe " + p.module + "; where it has none of that name, boot a kernel that does (Debian: linux-image-amd64; Fedora: dnf install kernel-modules-extra)"
		if p.optional {
			c.Warn(what, p.why, fix)
		} else {
			c.Fault(what, p.why, fix)
		}
	}
	c.Found = strings.Join(has, ", ")
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // it cannot fail
	return unix.ByteSliceToString(u.Release[:])
}

var (
	errUnasked = errors.New("the lab does not need it")
	errNoVeth  = errors.New("it cannot be tried without veth")
)

func tryBridge(*probed) error {
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}})
}

func tryVeth(p *probed) error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "a"})
	veth.PeerName = "b"
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	for i, name := range []string{"a", "b"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		p.ends[i] = l
	}
	return nil
}

func tryTap(*probed) error {
	return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap"}, Mode: netlink.TUNTAP_MODE_TAP})
}

func tryMacvtap(p *probed) error {
	for _, n := range p.lab.Nodes {
		for _, c := range n.NICs {
			if c.Kind != topology.KindMacvtap {
				continue
			}
			if p.ends[1] == nil {
				return errNoVeth
			}
			return netlink.LinkAdd(&netlink.Macvtap{Macvlan: netlink.Macvlan{
				LinkAttrs: netlink.LinkAttrs{Name: "macvtap", ParentIndex: p.ends[1].Attrs().Index}, Mode: netlink.MACVLAN_MODE_PASSTHRU,
			}})
		}
	}
	return errUnasked
}

func tryClsact(p *probed) error {
	if p.ends[0] == nil {
		return errNoVeth
	}
	return netlink.QdiscAdd(clsact(p.ends[0]))
}

// tryFilter adds a filter that does nothing, of the kinds that copyAll tries.
func tryFilter(p *probed) error {
	if p.ends[0] == nil {
		return errNoVeth
	}
	return addFilter(p.ends[0], egress, nil)
}

func tryMirror(p *probed) error {
	if p.ends[0] == nil {
		return errNoVeth
	}
	return copyAll(p.ends[0], ingress, p.ends[1])
}

func tryTable(p *probed) error {
	tables, err := Publish{Lab: p.lab}.tables()
	if err != nil {
		return err
	}
	return writeTables(topology.TableName(p.lab.Name), tables)
}

// tryShape tries a kind of queueing discipline where the file asks for it.
func tryShape(kind string) func(*probed) error {
	return func(p *probed) error {
		if !takes(p.lab, kind) {
			return errUnasked
		}
		return tryQdisc(p, kind)
	}
}

// tryNetem tries netem where the file does not ask for it: it is what many kernels lack.
func tryNetem(p *probed) error {
	if takes(p.lab, "netem") {
		return errUnasked
	}
	return tryQdisc(p, "netem")
}

// takes says whether a wire of the lab takes a kind of queueing discipline of the host.
func takes(l topology.Lab, kind string) bool {
	for _, n := range l.Networks {
		if n.Under != topology.UnderWire {
			continue
		}
		for _, d := range n.Directions() {
			if slices.Contains(shape.Needs(d.Impair), kind) {
				return true
			}
		}
	}
	return false
}

func tryQdisc(p *probed, kind string) error {
	if p.ends[1] == nil {
		return errNoVeth
	}
	return shape.Try(p.ends[1], kind)
}
