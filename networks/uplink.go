package networks

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host"
)

// A segment may have NICs of the host: an uplink, which joins its bridge, and
// mirror ports, which are fed a copy of its frames from outside and join nothing.

// nics are the NICs of the host that the segment has.
func (s Segment) nics() []string {
	if s.Segment.Uplink == "" {
		return s.Segment.Ports
	}
	return append([]string{s.Segment.Uplink}, s.Segment.Ports...)
}

// recorded says whether a mark holds how each of them was before it was taken.
func (s Segment) recorded(tag host.Tag) bool {
	for _, nic := range s.nics() {
		if _, ok := s.On.Recorded(tag, nic); !ok {
			return false
		}
	}
	return true
}

// join takes the NICs, and plugs the uplink into the bridge.
func (s Segment) join(ctx context.Context) error {
	for _, port := range s.Segment.Ports {
		if err := host.Take(port, s.Segment.MTU, true); err != nil {
			return fmt.Errorf("mirror port %s: %w", port, err)
		}
	}
	if s.Segment.Uplink == "" {
		return nil
	}
	if err := host.Take(s.Segment.Uplink, s.Segment.MTU, false); err != nil {
		return fmt.Errorf("uplink %s: %w", s.Segment.Uplink, err)
	}
	if err := plug(ctx, s.Segment.Uplink, s.Segment.Bridge, s.Segment.OVS); err != nil {
		return fmt.Errorf("uplink %s: %w", s.Segment.Uplink, err)
	}
	return nil
}

// joined says whether the NICs are as join makes them.
func (s Segment) joined(ctx context.Context) (bool, error) {
	for _, port := range s.Segment.Ports {
		if taken, err := host.Taken(port, s.Segment.MTU, true); err != nil || !taken {
			return false, err
		}
	}
	if s.Segment.Uplink == "" {
		return true, nil
	}
	if taken, err := host.Taken(s.Segment.Uplink, s.Segment.MTU, false); err != nil || !taken {
		return false, err
	}
	return s.HasUplink(ctx)
}

// HasUplink says whether the uplink is in the bridge.
func (s Segment) HasUplink(ctx context.Context) (bool, error) {
	return plugged(ctx, s.Segment.Uplink, s.Segment.Bridge, s.Segment.OVS)
}

// plug puts a link of the host into a bridge, which must be there.
func plug(ctx context.Context, name, bridge string, ovs bool) error {
	if ovs {
		return host.OVSPlug(ctx, name, bridge)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	b, err := link(bridge)
	if err != nil {
		return err
	}
	if b == nil {
		return fmt.Errorf("no bridge %s", bridge)
	}
	if err := netlink.LinkSetMaster(l, b); err != nil {
		return fmt.Errorf("plug into %s: %w", bridge, err)
	}
	return nil
}

// plugged says whether a link of the host is in a bridge.
func plugged(ctx context.Context, name, bridge string, ovs bool) (bool, error) {
	if ovs {
		return host.OVSPlugged(ctx, name, bridge)
	}
	l, err := link(name)
	if err != nil || l == nil {
		return false, err
	}
	b, err := link(bridge)
	return b != nil && l.Attrs().MasterIndex == b.Attrs().Index, err
}

// giveBack gives the NICs in a mark back to the host, without the mirror's filters.
func giveBack(ctx context.Context, h *host.Host, tag host.Tag) error {
	for _, b := range tag.Borrowed {
		if !h.Valid(b) {
			continue
		}
		l, err := link(b.Link)
		if err != nil {
			return err
		}
		if l != nil {
			if err := clearFilters(l); err != nil {
				return fmt.Errorf("link %s: %w", b.Link, err)
			}
		}
		if err := h.GiveBack(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
