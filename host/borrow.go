package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Borrowed is a NIC of the host as it was before a lab took it. It is kept in the
// mark of what takes it, written before anything is changed and never again while
// the host runs: whoever removes that object can give the NIC back.
type Borrowed struct {
	PCI       string            `xml:"pci,attr,omitempty"`      // the device's address, where a machine has it whole
	Boot      string            `xml:"boot,attr"`               // the host's boot id (RFC 9562): the next boot makes the NIC anew
	Driver    string            `xml:"driver,attr,omitempty"`   // of the device
	Override  string            `xml:"override,attr,omitempty"` // its driver_override
	Link      string            `xml:"link,attr,omitempty"`     // the link's name; "" where a device had none
	MAC       string            `xml:"mac,attr,omitempty"`      // of a link; a device comes with its own
	Up        bool              `xml:"up,attr"`
	MTU       int               `xml:"mtu,attr,omitempty"`
	Promisc   bool              `xml:"promisc,attr,omitempty"`
	Quiet     bool              `xml:"quiet,attr,omitempty"`      // IPv6 was off
	ARP       string            `xml:"arp-ignore,attr,omitempty"` // for which addresses the host did not answer there, as the kernel counts
	Addresses []BorrowedAddress `xml:"address"`
	Offloads  []string          `xml:"offload"` // ethtool's names of those that were on
}

// BorrowedAddress is an address of a borrowed NIC. Times are in seconds, 0 for ever.
type BorrowedAddress struct {
	Prefix    string `xml:"prefix,attr"` // "192.0.2.7/24"
	Peer      string `xml:"peer,attr,omitempty"`
	Broadcast string `xml:"broadcast,attr,omitempty"`
	Label     string `xml:"label,attr,omitempty"`
	Scope     int    `xml:"scope,attr,omitempty"`
	Flags     int    `xml:"flags,attr,omitempty"`
	Valid     int    `xml:"valid,attr,omitempty"`
	Preferred int    `xml:"preferred,attr,omitempty"`
}

// Recorded is what a mark holds of a NIC, by the device's address or the link's
// name, unless the host has booted since.
func (h *Host) Recorded(t Tag, nic string) (Borrowed, bool) {
	for _, b := range t.Borrowed {
		if (b.PCI == nic || b.PCI == "" && b.Link == nic) && h.Valid(b) {
			return b, true
		}
	}
	return Borrowed{}, false
}

// Borrow is what a mark holds of a NIC of the host, by the device's address or the
// link's name, or else how the NIC is now. It changes nothing.
func (h *Host) Borrow(t Tag, nic string) (Borrowed, error) {
	if b, ok := h.Recorded(t, nic); ok {
		return b, nil
	}
	id, err := h.bootID()
	if err != nil {
		return Borrowed{}, err
	}
	b := Borrowed{Boot: id}
	if !strings.Contains(nic, ":") {
		err := b.readLink(nic)
		return b, err
	}
	d, err := h.PCI(nic)
	if err != nil {
		return Borrowed{}, err
	}
	b.PCI, b.Driver, b.Override = nic, d.Driver, d.Override
	if len(d.Links) == 0 {
		return b, nil
	}
	err = b.readLink(d.Links[0])
	b.MAC = ""
	return b, err
}

// Valid says whether what was recorded still stands: no boot has made the NIC anew since.
func (h *Host) Valid(b Borrowed) bool {
	id, err := h.bootID()
	return err == nil && b.Boot == id
}

func (h *Host) bootID() (string, error) {
	id, err := os.ReadFile(h.path("proc/sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(id)), err
}

func (b *Borrowed) readLink(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	a := l.Attrs()
	b.Link, b.MTU, b.MAC = name, a.MTU, a.HardwareAddr.String()
	b.Up = a.RawFlags&unix.IFF_UP != 0
	b.Promisc = a.RawFlags&unix.IFF_PROMISC != 0
	if b.Quiet, err = IsQuiet(name); err != nil {
		return err
	}
	if b.Offloads, err = Offloads(name); err != nil {
		return err
	}
	b.ARP = readARP(name)
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, a := range addresses {
		if !madeByKernel(a) {
			b.Addresses = append(b.Addresses, recordAddress(a))
		}
	}
	return nil
}

// madeByKernel says whether an address comes and goes with IPv6 on the link: a
// link-local one, or one for privacy.
func madeByKernel(a netlink.Addr) bool {
	return a.IP.To4() == nil && (a.IP.IsLinkLocalUnicast() || a.Flags&unix.IFA_F_TEMPORARY != 0)
}

// given are the flags of an address that somebody gave it; the others are how the kernel fares with it.
const given = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

func recordAddress(a netlink.Addr) BorrowedAddress {
	r := BorrowedAddress{Prefix: a.IPNet.String(), Label: a.Label, Scope: a.Scope, Flags: a.Flags & given}
	if a.Peer != nil && a.Peer.String() != r.Prefix {
		r.Peer = a.Peer.String()
	}
	if a.Broadcast != nil {
		r.Broadcast = a.Broadcast.String()
	}
	const forever = 1<<32 - 1
	if a.ValidLft != forever && a.ValidLft > 0 {
		r.Valid, r.Preferred = a.ValidLft, a.PreferedLft
	}
	return r
}

func (r BorrowedAddress) address() (*netlink.Addr, error) {
	prefix, err := netlink.ParseIPNet(r.Prefix)
	if err != nil {
		return nil, err
	}
	a := &netlink.Addr{IPNet: prefix, Label: r.Label, Scope: r.Scope, Flags: r.Flags, Broadcast: net.ParseIP(r.Broadcast), ValidLft: r.Valid, PreferedLft: r.Preferred}
	if r.Peer != "" {
		if a.Peer, err = netlink.ParseIPNet(r.Peer); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// How long a device may take to be with its driver again, and its link to appear.
const returnTime = 30 * time.Second

// GiveBack makes a NIC what it was when it was recorded: its driver, its link's
// name, MTU, offloads, addresses, and whether it is up. One of an earlier boot
// is left alone, as is one which is gone, or is in another's bridge by now.
func (h *Host) GiveBack(ctx context.Context, b Borrowed) error {
	if !h.Valid(b) {
		return nil
	}
	l, err := h.findBorrowed(ctx, b)
	if err != nil || l == nil || l.Attrs().MasterIndex != 0 {
		return err
	}
	if err := b.restore(ctx, l); err != nil {
		return fmt.Errorf("give %s back: %w", b.Link, err)
	}
	return nil
}

// findBorrowed is the link that was borrowed, or that of the device that was, by
// now with its driver again; nil where there is none.
func (h *Host) findBorrowed(ctx context.Context, b Borrowed) (netlink.Link, error) {
	if b.PCI == "" {
		l, err := netlink.LinkByName(b.Link)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil, nil
		}
		return l, err
	}
	d, err := h.PCI(b.PCI)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // virtual functions can go
	}
	if err != nil {
		return nil, err
	}
	// libvirt has done it already, unless something was cut short
	if d.Driver != b.Driver || d.Override != b.Override {
		if err := h.rebind(d, b); err != nil {
			return nil, fmt.Errorf("give %s back to driver %s: %w", b.PCI, cmp.Or(b.Driver, "none"), err)
		}
	}
	if b.Link == "" {
		return nil, nil
	}
	return h.linkOf(ctx, b)
}

// linkOf waits until a device has its link again, whatever that is called.
func (h *Host) linkOf(ctx context.Context, b Borrowed) (netlink.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, returnTime)
	defer cancel()
	for {
		d, err := h.PCI(b.PCI)
		if err != nil {
			return nil, err
		}
		if len(d.Links) > 0 {
			l, err := netlink.LinkByName(d.Links[0])
			if !errors.As(err, new(netlink.LinkNotFoundError)) { // else udev has renamed it just now
				return l, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s had the link %s, and its driver %s makes none: look at dmesg", b.PCI, b.Link, cmp.Or(d.Driver, "none"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// rebind takes a device from vfio-pci and lets its former driver have it. One that
// another driver has is left to whoever gave it to that.
func (h *Host) rebind(d PCI, b Borrowed) error {
	if d.Driver != "" && d.Driver != "vfio-pci" {
		return nil
	}
	device := h.path(pciDevices, d.Address)
	if d.Driver != "" && d.Driver != b.Driver {
		if err := os.WriteFile(filepath.Join(device, "driver/unbind"), []byte(d.Address), 0); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(device, "driver_override"), []byte(b.Override+"\n"), 0); err != nil {
		return err
	}
	if b.Driver == "" {
		return nil
	}
	err := os.WriteFile(h.path("sys/bus/pci/drivers", b.Driver, "bind"), []byte(d.Address), 0)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return nil // it was quicker
	}
	return err
}

// Hold keeps a PCI device that no machine has from the host's drivers, for a machine that
// is to have it again: else it would be a link that the host may use. vfio-pci is left to
// libvirt, which then knows that it is to give the device back.
func (h *Host) Hold(address string) error {
	d, err := h.PCI(address)
	if err != nil || isVFIO(d.Driver) {
		return err
	}
	device := h.path(pciDevices, address)
	err = os.WriteFile(filepath.Join(device, "driver_override"), []byte("vfio-pci\n"), 0)
	if err == nil && d.Driver != "" {
		err = os.WriteFile(filepath.Join(device, "driver/unbind"), []byte(address), 0)
	}
	if err != nil {
		return fmt.Errorf("hold %s: %w", address, err)
	}
	return nil
}

// rename calls a link that is down as it was called. A link that another machine gives back
// just now may have that name for a moment, and be waiting for the name that this one has: so
// it has none of them meanwhile.
func rename(ctx context.Context, l netlink.Link, to string) error {
	ctx, cancel := context.WithTimeout(ctx, returnTime)
	defer cancel()
	is := l.Attrs().Name
	for {
		err := netlink.LinkSetName(l, to)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("name %s as it was: %w", is, err)
		}
		if aside := fmt.Sprintf("labctl.%d", l.Attrs().Index); is != aside {
			if err := netlink.LinkSetName(l, aside); err != nil {
				return fmt.Errorf("name %s aside: %w", is, err)
			}
			is = aside
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is called %s, and another link has its name now: rename that one (ip link set %s name NAME)", is, to)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// restore makes the link what it was. What is as it was is not touched.
func (b Borrowed) restore(ctx context.Context, l netlink.Link) error {
	a := l.Attrs()
	up := a.RawFlags&unix.IFF_UP != 0
	if up && !b.Up || a.Name != b.Link { // a link that is up takes no other name
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		up = false
	}
	if a.Name != b.Link {
		if err := rename(ctx, l, b.Link); err != nil {
			return err
		}
	}
	if b.MAC != "" && a.HardwareAddr.String() != b.MAC {
		mac, err := net.ParseMAC(b.MAC)
		if err == nil {
			err = netlink.LinkSetHardwareAddr(l, mac)
		}
		if err != nil {
			return fmt.Errorf("set MAC %s: %w", b.MAC, err)
		}
	}
	if a.MTU != b.MTU {
		if err := netlink.LinkSetMTU(l, b.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", b.MTU, err)
		}
	}
	if err := setPromisc(l, b.Promisc); err != nil {
		return err
	}
	if err := SetOffloads(b.Link, b.Offloads...); err != nil {
		return err
	}
	if quiet, err := IsQuiet(b.Link); err != nil {
		return err
	} else if quiet && !b.Quiet {
		if err := os.WriteFile(disableIPv6(b.Link), []byte("0"), 0); err != nil {
			return err
		}
	}
	if b.ARP != "" && readARP(b.Link) != b.ARP {
		if err := os.WriteFile(arpIgnore(b.Link), []byte(b.ARP), 0); err != nil {
			return err
		}
	}
	if b.Up && !up {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	for _, r := range b.Addresses { // last: a link that goes down loses those of IPv6
		a, err := r.address()
		if err == nil {
			err = netlink.AddrReplace(l, a)
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", r.Prefix, err)
		}
	}
	return nil
}
