package domains

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
)

// Save writes the memory and the devices of the running machine to a file that only root
// reads, and ends its QEMU: its domain stays, off. Devices of the host are taken out of it
// before. Where it fails the machine runs on; where that is Held, it cannot be saved.
func (m Machine) Save(ctx context.Context, path string) error {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	if err := m.own(d); err != nil {
		return err
	}
	if err := m.takeOut(ctx, d); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = d.AbortJob() })
	defer stop()
	return d.SaveFlags(path, "", libvirt.DOMAIN_SAVE_PAUSED)
}

// Off ends the machine's QEMU at once, as a power cut does; its domain stays, and devices
// of the host are held for its next start.
func (m Machine) Off() error {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return host.Gone(err)
	}
	defer func() { _ = d.Free() }()
	if err := m.own(d); err != nil {
		return err
	}
	if err := host.Stopped(d.Destroy()); err != nil {
		return err
	}
	return m.hold()
}

// restore starts a domain from its saved memory, paused. What it is comes from there, but
// for its mark: how the NICs of the host were that it takes is as it was found now.
func (m Machine) restore(d *libvirt.Domain) error {
	saved, err := m.On.DomainSaveImageGetXMLDesc(m.Memory, libvirt.DOMAIN_SAVE_IMAGE_XML_SECURE)
	if err != nil {
		return fmt.Errorf("read %s: %w", m.Memory, err)
	}
	var was libvirtxml.Domain
	if err := was.Unmarshal(saved); err != nil {
		return fmt.Errorf("read %s: %w", m.Memory, err)
	}
	is, err := describe(d)
	if err != nil {
		return err
	}
	was.Metadata = is.Metadata
	text, err := was.Marshal()
	if err != nil {
		return err
	}
	if err := m.On.DomainRestoreFlags(m.Memory, text, libvirt.DOMAIN_SAVE_PAUSED); err != nil {
		return fmt.Errorf("restore %s: %w", m.Memory, err)
	}
	return nil
}
