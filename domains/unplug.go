package domains

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
)

// What is in a PCI device of the host cannot be saved: a machine is saved without its
// devices, which its guest lets go of before, and finds again once it goes on.

// letGo is how long a guest may take to let go of a device.
const letGo = 30 * time.Second

// Held says that a guest has not let go of devices of the host, so that its machine is not saved.
type Held struct{ Devices []string }

func (h Held) Error() string {
	return fmt.Sprintf("its guest has not let go of %s in %v", strings.Join(h.Devices, ", "), letGo)
}

// assigned are the PCI devices of the host in a domain's description, by the host's addresses.
func assigned(x libvirtxml.Domain) map[string]libvirtxml.Document {
	all := map[string]libvirtxml.Document{}
	if x.Devices == nil {
		return all
	}
	for i := range x.Devices.Hostdevs {
		if d := &x.Devices.Hostdevs[i]; d.SubsysPCI != nil && d.SubsysPCI.Source != nil {
			all[host.PCIAddress(d.SubsysPCI.Source.Address)] = d
		}
	}
	for i := range x.Devices.Interfaces {
		if d := &x.Devices.Interfaces[i]; d.Source != nil && d.Source.Hostdev != nil && d.Source.Hostdev.PCI != nil {
			all[host.PCIAddress(d.Source.Hostdev.PCI.Address)] = d
		}
	}
	return all
}

// lacking are the devices that the running machine is to have by its definition, and has not.
func (m Machine) lacking(d *libvirt.Domain) (map[string]libvirtxml.Document, error) {
	if !hasPassthrough(m) {
		return nil, nil
	}
	text, err := d.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE)
	if err != nil {
		return nil, err
	}
	var is, defined libvirtxml.Domain
	if err := defined.Unmarshal(text); err != nil {
		return nil, err
	}
	if is, err = describe(d); err != nil {
		return nil, err
	}
	all, has := assigned(defined), assigned(is)
	maps.DeleteFunc(all, func(address string, _ libvirtxml.Document) bool { return has[address] != nil })
	return all, nil
}

// putIn gives the running machine the devices that it lacks, in the slots that they have in
// its definition: its guest then gives their links the names that they had.
func (m Machine) putIn(d *libvirt.Domain) error {
	all, err := m.lacking(d)
	if err != nil {
		return err
	}
	for _, address := range slices.Sorted(maps.Keys(all)) {
		text, err := all[address].Marshal()
		if err == nil {
			err = d.AttachDeviceFlags(text, libvirt.DOMAIN_DEVICE_MODIFY_LIVE)
		}
		if err != nil {
			return fmt.Errorf("plug %s in: %w", address, err)
		}
	}
	return nil
}

// takeOut takes the devices of the host from the running machine, and keeps them from the
// host's drivers. Where it fails, Create puts in again what is out.
func (m Machine) takeOut(ctx context.Context, d *libvirt.Domain) error {
	if !hasPassthrough(m) {
		return nil
	}
	is, err := describe(d)
	if err != nil {
		return err
	}
	for address, device := range assigned(is) {
		text, err := device.Marshal()
		if err == nil {
			err = d.DetachDeviceFlags(text, libvirt.DOMAIN_DEVICE_MODIFY_LIVE)
		}
		if err != nil {
			return fmt.Errorf("unplug %s: %w", address, err)
		}
	}
	err = areGone(ctx, letGo, func() ([]string, error) {
		is, err := describe(d)
		return slices.Sorted(maps.Keys(assigned(is))), err
	})
	if err != nil {
		return err
	}
	return m.hold()
}

// areGone waits until no device is left, for so long.
func areGone(ctx context.Context, most time.Duration, left func() ([]string, error)) error {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var devices []string
	err := until(waiting, func() (_ bool, err error) {
		devices, err = left()
		return len(devices) == 0, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return Held{devices}
	}
	return err
}

// hold keeps the devices of a machine that is without them from the host's drivers.
func (m Machine) hold() error {
	var errs []error
	for _, c := range m.Node.NICs {
		if c.Host.PCI != "" && !m.On.Fake() {
			errs = append(errs, m.On.Hold(c.Host.PCI))
		}
	}
	return errors.Join(errs...)
}

// areSetUp has the guest set up devices of the host that it has found again: addresses,
// MTU and all else that its network script knows.
func areSetUp(ctx context.Context, m Machine) error {
	if links, err := m.agent().Links(ctx); err != nil || m.arePassed(links) {
		return err
	}
	_, err := m.agent().sh(ctx, nil, "exec /usr/lib/labctl/network")
	return err
}

// arePassed says whether links are as written that are devices of the host.
func (m Machine) arePassed(links []Link) bool {
	for _, c := range m.Node.NICs {
		if c.Host.PCI == "" {
			continue
		}
		if l, err := findLink(links, c); err != nil || compareAddress(l, c) != nil {
			return false
		}
	}
	return true
}
