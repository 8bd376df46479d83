package networks

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Segment is one layer-2 segment of a lab: a libvirt network and its bridge.
type Segment struct {
	On      *host.Host
	Network topology.Network
	Segment topology.Segment
	Tag     host.Tag
}

// String names it as users see it, "network/NETWORK[.SIDE]".
func (s Segment) String() string { return s.found().String() }

// State is Partial for a network which is defined and not running, or whose
// bridge is not as a side needs it. A foreign network of that name counts as Absent.
func (s Segment) State(ctx context.Context) (host.State, error) {
	state, err := s.found().State(ctx)
	if err != nil || state != host.Present || !s.Network.Sided() {
		return state, err
	}
	if plain, err := isPlain(s.Segment.Bridge); err != nil || !plain {
		return host.Partial, err
	}
	return host.Present, nil
}

// Create defines and starts the network, and makes a side's bridge behave as a
// plain cable. A foreign network of that name is an error and is left alone.
func (s Segment) Create(context.Context) error {
	n, tag, err := lookup(s.On, s.Segment.Object)
	if err != nil {
		return err
	}
	if n != nil && tag.Lab != s.Tag.Lab {
		free(n)
		return fmt.Errorf("libvirt's network %s is %w: remove it or rename it", s.Segment.Object, errForeign)
	}
	if n == nil {
		if n, err = s.define(); err != nil {
			return fmt.Errorf("define: %w", err)
		}
	}
	defer free(n)
	active, err := n.IsActive()
	if err != nil {
		return err
	}
	if !active {
		if err := n.Create(); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if s.Network.Sided() {
		return makePlain(s.Segment.Bridge)
	}
	return nil
}

// Destroy stops and removes the network where it bears the lab's mark.
func (s Segment) Destroy(ctx context.Context) error { return s.found().Destroy(ctx) }

func (s Segment) found() Found { return Found{On: s.On, Object: s.Segment.Object, Tag: s.Tag} }

func (s Segment) define() (*libvirt.Network, error) {
	x, err := Render(s.Network, s.Segment, s.Tag)
	if err != nil {
		return nil, err
	}
	text, err := x.Marshal()
	if err != nil {
		return nil, err
	}
	return s.On.NetworkDefineXML(text)
}
