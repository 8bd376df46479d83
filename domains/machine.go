// Package domains is the machines of a lab: their descriptions, their life on
// libvirt, the guest agent inside them, and when they are ready.
package domains

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Machine is a node's domain, running.
type Machine struct {
	On       *host.Host
	Node     topology.Node
	Boot     Boot
	Memory   string // a file that Save wrote, from which it goes on when it is started; "": it boots
	Works    bool   // a worker waits in it since then
	Tag      host.Tag
	Guest    string                         // what its base says that it is: "alpine" has OpenRC, all others systemd
	Hosts    func() string                  // the text of its hosts file; not a string, since a large lab's hold many
	Deliver  func() (Delivery, error)       // what the agent brings into it; nil where its files reach it otherwise
	Programs []string                       // that its image must have; none where the recipe saw to it
	Trust    func() (*x509.CertPool, error) // the authorities by which its https is trusted; nil where it serves none
}

func (m Machine) String() string { return "machine/" + m.Node.Name }

// State is Present where the domain runs with each NIC in its place, Partial
// where it is defined only, paused, unplugged from a bridge, without a device of the
// host that was taken out of it, or its macvtap's NIC is not as it is to be.
func (m Machine) State(ctx context.Context) (host.State, error) {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return host.Absent, host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	if err := m.own(d); err != nil {
		return host.Absent, err
	}
	s, _, err := d.GetState()
	if err != nil {
		return host.Absent, host.Gone(err)
	}
	if s != libvirt.DOMAIN_RUNNING || len(m.unplugged(ctx)) > 0 {
		return host.Partial, nil
	}
	if out, err := m.lacking(d); err != nil || len(out) > 0 {
		return host.Partial, host.Gone(err)
	}
	for _, c := range m.macvtaps() {
		if taken, err := host.Taken(c.Host.Macvtap, c.MTU, false); err != nil || !taken {
			return host.Partial, err
		}
	}
	return host.Present, nil
}

// Running says whether the machine runs, or is paused, as far as libvirt tells.
func (m Machine) Running() (bool, error) {
	if m.On.Silent() != nil {
		return false, nil
	}
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return false, host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	up, err := d.IsActive()
	return up, host.Gone(err)
}

// Create defines the domain, with how the NICs of the host are that it takes,
// starts it and plugs its NICs in.
func (m Machine) Create(ctx context.Context) error {
	d, err := m.define()
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	for _, c := range m.macvtaps() {
		if err := host.Take(c.Host.Macvtap, c.MTU, false); err != nil {
			return err
		}
	}
	s, _, err := d.GetState()
	if err != nil {
		return err
	}
	if s != libvirt.DOMAIN_RUNNING && s != libvirt.DOMAIN_PAUSED {
		if err := m.start(d); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if err := m.putIn(d); err != nil {
		return err
	}
	if err := m.plug(ctx); err != nil {
		return err
	}
	if s, _, err = d.GetState(); err != nil {
		return err
	}
	if s == libvirt.DOMAIN_PAUSED {
		if err := d.Resume(); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
	}
	return nil
}

// start leaves the machine paused until its taps are quiet: the host must not speak on them.
func (m Machine) start(d *libvirt.Domain) error {
	if m.Memory != "" {
		return m.restore(d)
	}
	if m.On.Fake() {
		return d.Create() // it has no taps, and starts nothing paused
	}
	return d.CreateWithFlags(libvirt.DOMAIN_START_PAUSED)
}

// define returns the node's domain, made if it is not there. A running one is
// left as it is: what its file says now and said then is compared before. How the
// NICs of the host are that it takes goes into its mark, unless it stands there.
func (m Machine) define() (*libvirt.Domain, error) {
	var before host.Tag
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err == nil {
		if err := m.own(d); err != nil {
			_ = d.Free()
			return nil, err
		}
		if before, _, err = tagOf(d); err != nil {
			_ = d.Free()
			return nil, err
		}
		if up, err := d.IsActive(); err == nil && up {
			return d, nil
		}
		_ = d.Free()
	} else if !host.Missing(err) {
		return nil, err
	}
	tag := m.Tag
	if tag.Borrowed, err = m.borrow(before); err != nil {
		return nil, err
	}
	description, err := Render(m.Node, m.Boot, tag)
	if err != nil {
		return nil, err
	}
	text, err := description.Marshal()
	if err != nil {
		return nil, err
	}
	d, err = m.On.DomainDefineXML(text)
	if err != nil {
		return nil, fmt.Errorf("define: %w", err)
	}
	return d, nil
}

// own refuses a domain of this name that does not bear this lab's mark.
func (m Machine) own(d *libvirt.Domain) error {
	tag, marked, err := tagOf(d)
	if err != nil {
		return err
	}
	if !marked || tag.Lab != m.Node.Lab {
		return fmt.Errorf("domain %s is there and does not bear the mark of lab %s: it is left alone; rename or remove it (virsh undefine %s)",
			m.Node.Object, m.Node.Lab, m.Node.Object)
	}
	return nil
}

// plug quiets each tap and puts it on its bridge, where libvirt has not or where
// a bridge came back without its ports.
func (m Machine) plug(ctx context.Context) error {
	if m.On.Fake() {
		return nil
	}
	for _, c := range m.Node.NICs {
		if c.Link == "" {
			continue
		}
		if err := host.Quiet(c.Link); err != nil {
			return err
		}
		if !c.OVS {
			continue
		}
		if err := host.Deafen(c.Link); err != nil {
			return err
		}
	}
	for _, c := range m.unplugged(ctx) {
		if c.OVS {
			if err := host.OVSPlug(ctx, c.Link, c.Bridge); err != nil {
				return err
			}
			continue
		}
		bridge, err := netlink.LinkByName(c.Bridge)
		if err != nil {
			return fmt.Errorf("bridge %s: %w", c.Bridge, err)
		}
		tap, err := netlink.LinkByName(c.Link)
		if err != nil {
			return fmt.Errorf("tap %s: %w", c.Link, err)
		}
		if err := netlink.LinkSetMaster(tap, bridge); err != nil {
			return fmt.Errorf("plug %s into %s: %w", c.Link, c.Bridge, err)
		}
	}
	return nil
}

// unplugged are the NICs whose tap is not on the bridge where it belongs.
func (m Machine) unplugged(ctx context.Context) []topology.NIC {
	if m.On.Fake() {
		return nil
	}
	var loose []topology.NIC
	for _, c := range m.Node.NICs {
		if c.Bridge == "" {
			continue
		}
		if c.OVS {
			if in, err := host.OVSPlugged(ctx, c.Link, c.Bridge); err == nil && in {
				continue
			}
			loose = append(loose, c)
			continue
		}
		tap, err := netlink.LinkByName(c.Link)
		if err == nil {
			bridge, berr := netlink.LinkByName(c.Bridge)
			if berr == nil && tap.Attrs().MasterIndex == bridge.Attrs().Index {
				continue
			}
		}
		loose = append(loose, c)
	}
	return loose
}

// Destroy ends the machine, gives the NICs that it had back to the host, and
// removes its domain and its logs.
func (m Machine) Destroy(ctx context.Context) error {
	return remove(ctx, m.On, m.Node.Object, m.Node.Lab)
}

// remove ends and undefines a domain that bears the lab's mark. What it had of the
// host and the logs go before the domain: cut short between the two, it is there to
// be found and removed again.
func remove(ctx context.Context, h *host.Host, object, lab string) error {
	d, err := h.LookupDomainByName(object)
	if err != nil {
		return host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	tag, marked, err := tagOf(d)
	if err != nil {
		return host.Gone(err)
	}
	if !marked || tag.Lab != lab {
		return nil // not ours
	}
	if err := host.Stopped(d.Destroy()); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	for _, b := range tag.Borrowed {
		if err := h.GiveBack(ctx, b); err != nil {
			return err
		}
	}
	if !h.Fake() { // it leaves none, and those of a real domain of that name are not its own
		if err := errors.Join(removeLogs(object), removeFolders(h, object)); err != nil {
			return err
		}
	}
	flags := libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
	if !h.Fake() {
		flags |= libvirt.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.DOMAIN_UNDEFINE_NVRAM
	}
	if err := host.Gone(d.UndefineFlags(flags)); err != nil {
		return fmt.Errorf("undefine: %w", err)
	}
	return nil
}
