package networks

import (
	"context"
	"errors"
	"fmt"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Segment is one layer-2 segment of a lab: a libvirt network and its bridge. One that
// is a bridge of the host's own is no Segment.
type Segment struct {
	On      *host.Host
	Network topology.Network
	Segment topology.Segment
	Tag     host.Tag
}

// String names it as users see it, "network/NETWORK[.SIDE]".
func (s Segment) String() string { return s.found().String() }

// State is Partial for a network which is defined and not running, whose bridge
// is gone or not as a side needs it, or whose NICs of the host are not in their
// place. A foreign network of that name counts as Absent.
func (s Segment) State(ctx context.Context) (host.State, error) {
	state, err := s.found().State(ctx)
	if err == nil && state == host.Absent {
		return s.orphaned(ctx)
	}
	if err != nil || state != host.Present {
		return state, err
	}
	bridged, err := s.bridged(ctx)
	if errors.Is(err, errForeign) {
		return host.Partial, nil // Create says whose it is
	}
	if err != nil || !bridged {
		return host.Partial, err
	}
	if !s.Network.Sided() {
		return host.Present, nil
	}
	if plain, err := s.isPlain(ctx); err != nil || !plain {
		return host.Partial, err
	}
	if joined, err := s.joined(ctx); err != nil || !joined {
		return host.Partial, err
	}
	return host.Present, nil
}

// Create defines and starts the network, anew where its bridge is gone, makes a
// side's bridge behave as a plain cable, and takes the NICs of the host that it is
// to have, which are recorded in its mark first. A foreign network or link of its
// name is an error and is left alone.
func (s Segment) Create(ctx context.Context) error {
	n, tag, err := lookup(s.On, s.Segment.Object)
	if err != nil {
		return err
	}
	if n != nil && tag.Lab != s.Tag.Lab {
		free(n)
		return fmt.Errorf("libvirt's network %s is %w: remove it or rename it", s.Segment.Object, errForeign)
	}
	if n != nil && !s.recorded(tag) {
		if err := s.takeOut(ctx); err != nil {
			free(n)
			return err
		}
		err := host.Stopped(n.Destroy()) // one that runs keeps the mark that it was started with
		free(n)
		if n = nil; err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	if n == nil {
		if n, err = s.define(tag); err != nil {
			return fmt.Errorf("define: %w", err)
		}
	}
	defer free(n)
	if err := s.start(ctx, n); err != nil {
		return err
	}
	if !s.Network.Sided() {
		return nil
	}
	if err := s.makePlain(ctx); err != nil {
		return err
	}
	return s.join(ctx)
}

// start starts the network unless it runs and has its bridge.
func (s Segment) start(ctx context.Context, n *libvirt.Network) error {
	active, err := n.IsActive()
	if err != nil {
		return err
	}
	if active {
		if bridged, err := s.bridged(ctx); bridged || err != nil {
			return err
		}
		// libvirt does not see that a bridge goes
		if err := host.Stopped(n.Destroy()); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	if !s.Segment.OVS { // one of these is kept: libvirt does not make it
		if err := s.removeOrphan(ctx); err != nil {
			return err
		}
	}
	if err := n.Create(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// bridged says whether the bridge is there; libvirt's test driver makes none.
func (s Segment) bridged(ctx context.Context) (bool, error) {
	if s.On.Fake() {
		return true, nil
	}
	if s.Segment.OVS {
		return s.ovs().bridged(ctx)
	}
	l, err := ownLink(s.Segment.Bridge, s.Segment.MAC)
	return l != nil, err
}

// Destroy stops and removes the network where it bears the lab's mark, gives the
// NICs that it had back to the host, and removes a bridge that libvirt has left.
func (s Segment) Destroy(ctx context.Context) error {
	if err := s.found().Destroy(ctx); err != nil {
		return err
	}
	return s.removeOrphan(ctx)
}

// orphaned is Partial where there is no network, and yet its bridge.
func (s Segment) orphaned(ctx context.Context) (host.State, error) {
	if s.On.Fake() {
		return host.Absent, nil
	}
	if s.Segment.OVS {
		if r, err := s.ovs().record(ctx); r != nil || err != nil && !errors.Is(err, errForeign) {
			return host.Partial, err
		}
	}
	l, err := ownLink(s.Segment.Bridge, s.Segment.MAC)
	switch {
	case l != nil:
		return host.Partial, nil
	case errors.Is(err, errForeign):
		return host.Absent, nil
	}
	return host.Absent, err
}

func (s Segment) removeOrphan(ctx context.Context) error {
	if s.Segment.OVS { // which may be off, and there is nothing to ask it for
		if state, err := s.orphaned(ctx); err != nil || state == host.Absent {
			return err
		}
	}
	return orphan{s.Segment.Bridge, s.Segment.MAC, s.Segment.OVS}.remove(ctx, s.On)
}

func (s Segment) ovs() ovsBridge { return ovsBridge{s.Segment.Bridge, s.Segment.MAC} }

// makePlain has a side's bridge be a plain cable. One of Open vSwitch's is made here.
func (s Segment) makePlain(ctx context.Context) error {
	if s.Segment.OVS {
		return s.ovs().create(ctx, s.Segment.Object, s.Segment.MTU)
	}
	return makePlain(s.Segment.Bridge)
}

func (s Segment) isPlain(ctx context.Context) (bool, error) {
	if s.Segment.OVS {
		return s.ovs().isPlain(ctx, s.Segment.MTU)
	}
	return isPlain(s.Segment.Bridge)
}

// takeOut takes the uplink out of a bridge of Open vSwitch's that came back with the host,
// so that it is recorded as it is on its own.
func (s Segment) takeOut(ctx context.Context) error {
	if !s.Segment.OVS || s.Segment.Uplink == "" {
		return nil
	}
	return host.OVSUnplug(ctx, s.Segment.Uplink)
}

func (s Segment) found() Found { return Found{On: s.On, Object: s.Segment.Object, Tag: s.Tag} }

// define writes the network, and into its mark how the NICs are that it takes. What
// its mark of before holds of them stays.
func (s Segment) define(before host.Tag) (*libvirt.Network, error) {
	tag := s.Tag
	for _, nic := range s.nics() {
		b, err := s.On.Borrow(before, nic)
		if err != nil {
			return nil, err
		}
		tag.Borrowed = append(tag.Borrowed, b)
	}
	x, err := Render(s.Network, s.Segment, tag)
	if err != nil {
		return nil, err
	}
	text, err := x.Marshal()
	if err != nil {
		return nil, err
	}
	return s.On.NetworkDefineXML(text)
}
