package domains

import (
	"context"
	"errors"
	"sort"
	"strings"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Found is a domain on the host that bears a lab's mark.
type Found struct {
	On     *host.Host
	Object string // libvirt's name
	Tag    host.Tag
}

// String names it as users see it, "machine/NODE".
func (f Found) String() string {
	return "machine/" + strings.TrimPrefix(f.Object, topology.ObjectName(f.Tag.Lab))
}

// State is Present while the domain is there with its mark, running or not.
func (f Found) State(context.Context) (host.State, error) {
	d, err := f.On.LookupDomainByName(f.Object)
	if err != nil {
		return host.Absent, host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	tag, marked, err := tagOf(d)
	if err != nil || !marked || tag.Lab != f.Tag.Lab {
		return host.Absent, host.Gone(err)
	}
	return host.Present, nil
}

// Destroy ends the machine, gives the NICs that it had back to the host, and
// removes its domain and its logs.
func (f Found) Destroy(ctx context.Context) error { return remove(ctx, f.On, f.Object, f.Tag.Lab) }

// Find lists the marked domains of the host, of every lab, by name: none where libvirt is silent.
func Find(h *host.Host) ([]Found, error) {
	if h.Silent() != nil {
		return nil, nil
	}
	all, err := h.ListAllDomains(0)
	if err != nil {
		return nil, err
	}
	var found []Found
	var errs []error
	for i := range all {
		d := &all[i]
		name, err := d.GetName()
		if err == nil {
			tag, marked, terr := tagOf(d)
			if marked && terr == nil {
				found = append(found, Found{h, name, tag})
			}
			err = terr
		}
		if host.Gone(err) != nil {
			errs = append(errs, host.Unreadable{Kind: "domain", Object: name, Err: err})
		}
		_ = d.Free()
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Object < found[j].Object })
	return found, errors.Join(errs...)
}

// tagOf reads a domain's mark; false means that it bears none.
func tagOf(d *libvirt.Domain) (host.Tag, bool, error) {
	x, err := describe(d)
	if err != nil || x.Metadata == nil {
		return host.Tag{}, false, err
	}
	return host.ReadTag(x.Metadata.XML)
}

func describe(d *libvirt.Domain) (libvirtxml.Domain, error) {
	var x libvirtxml.Domain
	text, err := d.GetXMLDesc(0)
	if err != nil {
		return x, err
	}
	return x, x.Unmarshal(text)
}

// Accel is how the machine is run (topology.AccelKVM or AccelTCG), as libvirt
// knows it; false where it is not there.
func (m Machine) Accel() (string, bool, error) {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return "", false, host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	x, err := describe(d)
	if err != nil {
		return "", false, host.Gone(err)
	}
	if x.Type == "kvm" {
		return topology.AccelKVM, true, nil
	}
	return topology.AccelTCG, true, nil
}
