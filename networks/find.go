package networks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Found is a network on the host which bears a lab's mark. It can be removed
// without the lab's file.
type Found struct {
	On     *host.Host
	Object string // libvirt's name of it
	Tag    host.Tag
}

// Find lists the networks of every lab, by name. Marks that cannot be read are an
// error beside the networks that were found.
func Find(h *host.Host) ([]Found, error) {
	var found []Found
	err := each(h, func(x libvirtxml.Network) error {
		tag, marked, err := mark(x)
		if err != nil {
			return host.Unreadable{Kind: "network", Object: x.Name, Err: err}
		}
		if marked {
			found = append(found, Found{On: h, Object: x.Name, Tag: tag})
		}
		return nil
	})
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.Object, b.Object) })
	return found, err
}

// String names it as users see it, "network/NETWORK[.SIDE]".
func (f Found) String() string {
	return "network/" + strings.TrimPrefix(f.Object, topology.ObjectName(f.Tag.Lab, ""))
}

// State is Partial for a network which is defined and not running.
func (f Found) State(context.Context) (host.State, error) {
	n, tag, err := lookup(f.On, f.Object)
	defer free(n)
	if err != nil || n == nil || tag.Lab != f.Tag.Lab {
		return host.Absent, err
	}
	active, err := n.IsActive()
	if err != nil || !active {
		return host.Partial, err
	}
	return host.Present, nil
}

// Destroy stops and removes the network where it still bears the lab's mark. The
// NICs of the host that it had are given back while its mark is there to tell how.
func (f Found) Destroy(ctx context.Context) error {
	n, tag, err := lookup(f.On, f.Object)
	defer free(n)
	if err != nil || n == nil || tag.Lab != f.Tag.Lab {
		return err
	}
	if err := host.Stopped(n.Destroy()); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := f.removeOrphan(ctx, n); err != nil { // which may have the NICs in it
		return err
	}
	if err := giveBack(ctx, f.On, tag); err != nil {
		return err
	}
	if err := host.Gone(n.Undefine()); err != nil {
		return fmt.Errorf("undefine: %w", err)
	}
	return nil
}

// removeOrphan removes the bridge of the network, which no longer runs.
func (f Found) removeOrphan(ctx context.Context, n *libvirt.Network) error {
	x, err := describe(n)
	if err != nil || x.Bridge == nil {
		return host.Gone(err)
	}
	if p := x.VirtualPort; p != nil && p.Params != nil && p.Params.OpenVSwitch != nil {
		b := ovsOf(f.Tag.Lab, f.Object, x.Bridge.Name)
		return orphan{b.name, b.mac, true}.remove(ctx, f.On)
	}
	if x.MAC == nil {
		return nil
	}
	mac, err := net.ParseMAC(x.MAC.Address)
	if err != nil {
		return err
	}
	return orphan{x.Bridge.Name, mac, false}.remove(ctx, f.On)
}

// lookup is the network of that name and its mark; nil where there is none. The
// zero Tag means that it bears no mark.
func lookup(h *host.Host, object string) (*libvirt.Network, host.Tag, error) {
	n, err := h.LookupNetworkByName(object)
	if err != nil {
		return nil, host.Tag{}, host.Gone(err)
	}
	x, err := describe(n)
	if err != nil {
		free(n)
		return nil, host.Tag{}, host.Gone(err)
	}
	tag, _, err := mark(x)
	if err != nil {
		free(n)
		return nil, host.Tag{}, err
	}
	return n, tag, nil
}

// each calls do with the description of every network of the host, past errors,
// and joins them. A network that vanishes meanwhile is passed over, and where
// libvirt is silent there are none that anybody could tell of.
func each(h *host.Host, do func(libvirtxml.Network) error) error {
	if h.Silent() != nil {
		return nil
	}
	all, err := h.ListAllNetworks(0)
	if err != nil {
		return err
	}
	var errs []error
	for i := range all {
		x, err := describe(&all[i])
		if err == nil {
			err = do(x)
		}
		errs = append(errs, host.Gone(err))
		free(&all[i])
	}
	return errors.Join(errs...)
}

func describe(n *libvirt.Network) (libvirtxml.Network, error) {
	var x libvirtxml.Network
	text, err := n.GetXMLDesc(0)
	if err != nil {
		return x, err
	}
	return x, x.Unmarshal(text)
}

func mark(x libvirtxml.Network) (host.Tag, bool, error) {
	if x.Metadata == nil {
		return host.Tag{}, false, nil
	}
	return host.ReadTag(x.Metadata.XML)
}

func free(n *libvirt.Network) {
	if n != nil {
		_ = n.Free()
	}
}
