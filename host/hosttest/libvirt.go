package hosttest

import (
	"testing"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
)

// object is what libvirt's domains, networks, pools and volumes have in common.
type object interface {
	GetName() (string, error)
	Free() error
}

func lookDomains(t *testing.T, h *host.Host, found Inventory) {
	domains, err := h.ListAllDomains(0)
	each(t, domains, err, func(d *libvirt.Domain, name string) {
		state, _, err := d.GetState()
		must(t, err)
		auto, err := d.GetAutostart()
		must(t, err)
		text, err := d.GetXMLDesc(libvirt.DOMAIN_XML_SECURE)
		must(t, err)
		found.add("domain %s: state %d, autostart %v", name, state, auto)
		found.addText("domain "+name, text)
	})
}

func lookNetworks(t *testing.T, h *host.Host, found Inventory) {
	networks, err := h.ListAllNetworks(0)
	each(t, networks, err, func(n *libvirt.Network, name string) {
		active, err := n.IsActive()
		must(t, err)
		auto, err := n.GetAutostart()
		must(t, err)
		text, err := n.GetXMLDesc(0)
		must(t, err)
		found.add("network %s: active %v, autostart %v", name, active, auto)
		found.addText("network "+name, text)
	})
}

func lookPools(t *testing.T, h *host.Host, found Inventory) {
	pools, err := h.ListAllStoragePools(0)
	each(t, pools, err, func(p *libvirt.StoragePool, pool string) {
		active, err := p.IsActive()
		must(t, err)
		found.add("pool %s: active %v", pool, active)
		if !active {
			return
		}
		volumes, err := p.ListAllStorageVolumes(0)
		each(t, volumes, err, func(_ *libvirt.StorageVol, name string) { found.add("volume %s/%s", pool, name) })
	})
}

// each calls look for every object that a call of libvirt listed, and frees it.
func each[T any, P interface {
	*T
	object
}](t *testing.T, list []T, err error, look func(o P, name string)) {
	t.Helper()
	must(t, err)
	for i := range list {
		o := P(&list[i])
		name, err := o.GetName()
		must(t, err)
		look(o, name)
		must(t, o.Free())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
