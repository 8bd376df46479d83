package domains

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// macvtaps are the NICs that have one of the host's under a macvtap.
func (m Machine) macvtaps() []topology.NIC {
	var found []topology.NIC
	for _, c := range m.Node.NICs {
		if c.Kind == topology.KindMacvtap && !m.On.Fake() {
			found = append(found, c)
		}
	}
	return found
}

// borrow is how the NICs of the host are that the machine takes, as a mark of
// before holds it, or else as they are now.
func (m Machine) borrow(before host.Tag) ([]host.Borrowed, error) {
	var all []host.Borrowed
	for _, c := range m.Node.NICs {
		nic := c.Host.PCI
		if c.Kind == topology.KindMacvtap {
			nic = c.Host.Macvtap
		}
		if nic == "" || m.On.Fake() {
			continue
		}
		b, err := m.On.Borrow(before, nic)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// hasPassthrough says whether the node has a PCI device of the host.
func hasPassthrough(m Machine) bool {
	return slices.ContainsFunc(m.Node.NICs, func(c topology.NIC) bool { return c.Host.PCI != "" })
}

// hasCarrier waits until the node's passthrough NICs see the other end of their cable.
func hasCarrier(ctx context.Context, m Machine) error {
	for _, c := range m.Node.NICs {
		if c.Host.PCI == "" {
			continue // QEMU's own have one at once
		}
		links, err := m.agent().Links(ctx)
		if err != nil {
			return err
		}
		l, err := findLink(links, c)
		if err != nil {
			return err
		}
		err = until(ctx, func() (bool, error) {
			carrier, err := m.agent().ReadFile(ctx, "/sys/class/net/"+l.Name+"/carrier")
			return strings.TrimSpace(string(carrier)) == "1", err
		})
		if err != nil {
			return fmt.Errorf("%s (%s): %w", l.Name, c.Host, err)
		}
	}
	return nil
}
