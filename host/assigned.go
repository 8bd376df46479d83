package host

import (
	"errors"
	"fmt"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"
)

// Assigned are the PCI devices that running domains have, by address, with
// "domain NAME". The domains for which but is true are left out. A silent libvirt tells of none.
func (h *Host) Assigned(but func(domain string) bool) (map[string]string, error) {
	if h.silent != nil {
		return map[string]string{}, nil
	}
	domains, err := h.ListAllDomains(libvirt.CONNECT_LIST_DOMAINS_ACTIVE)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	all := map[string]string{}
	var errs []error
	for i := range domains {
		name, addresses, err := assigned(&domains[i])
		for _, a := range addresses {
			if !but(name) {
				all[a] = "domain " + name
			}
		}
		errs = append(errs, Gone(err)) // ended meanwhile
		_ = domains[i].Free()
	}
	return all, errors.Join(errs...)
}

// assigned are a domain's name and the addresses of the host's PCI devices that it has.
func assigned(d *libvirt.Domain) (name string, addresses []string, err error) {
	if name, err = d.GetName(); err != nil {
		return "", nil, err
	}
	text, err := d.GetXMLDesc(0)
	if err != nil {
		return name, nil, err
	}
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return name, nil, fmt.Errorf("domain %s: %w", name, err)
	}
	return name, pciSources(x), nil
}

// pciSources are the host's PCI devices in a domain's description: handed over as
// such, or as its network interfaces.
func pciSources(x libvirtxml.Domain) []string {
	if x.Devices == nil {
		return nil
	}
	var sources []*libvirtxml.DomainHostdevSubsysPCISource
	for _, d := range x.Devices.Hostdevs {
		if d.SubsysPCI != nil {
			sources = append(sources, d.SubsysPCI.Source)
		}
	}
	for _, d := range x.Devices.Interfaces {
		if d.Source != nil && d.Source.Hostdev != nil {
			sources = append(sources, d.Source.Hostdev.PCI)
		}
	}
	var addresses []string
	for _, s := range sources {
		if s == nil {
			continue
		}
		if a := PCIAddress(s.Address); a != "" {
			addresses = append(addresses, a)
		}
	}
	return addresses
}

// PCIAddress is an address of libvirt's as the kernel writes it; "" where it is none.
func PCIAddress(a *libvirtxml.DomainAddressPCI) string {
	if a == nil || a.Bus == nil || a.Slot == nil || a.Function == nil {
		return ""
	}
	domain := uint(0)
	if a.Domain != nil {
		domain = *a.Domain
	}
	return fmt.Sprintf("%04x:%02x:%02x.%x", domain, *a.Bus, *a.Slot, *a.Function)
}
