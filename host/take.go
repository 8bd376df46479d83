package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Take makes a link of the host ready to carry a lab's frames as they are on the
// wire: up, quiet, with that MTU (bytes), without addresses and offloads; if
// promiscuous it takes frames that are not for its own address too.
func Take(link string, mtu int, promiscuous bool) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("link %s: %w", link, err)
	}
	if err := Quiet(link); err != nil {
		return err
	}
	if err := SetOffloads(link); err != nil {
		return err
	}
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link, err)
	}
	for _, a := range addresses { // the host would speak by them
		if err := netlink.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) { // gone with another
			return fmt.Errorf("take address %s from %s: %w", a.IPNet, link, err)
		}
	}
	if l.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU %d: %w", mtu, err)
		}
	}
	if promiscuous {
		if err := setPromisc(l, true); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

// Taken says whether a link is there, and as Take makes it.
func Taken(link string, mtu int, promiscuous bool) (bool, error) {
	l, err := netlink.LinkByName(link)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("link %s: %w", link, err)
	}
	a := l.Attrs()
	if a.RawFlags&unix.IFF_UP == 0 || a.MTU != mtu || promiscuous && a.RawFlags&unix.IFF_PROMISC == 0 {
		return false, nil
	}
	if quiet, err := IsQuiet(link); err != nil || !quiet {
		return false, err
	}
	if addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL); err != nil || len(addresses) > 0 {
		return false, err
	}
	on, err := Offloads(link)
	return len(on) == 0, err
}

func setPromisc(l netlink.Link, on bool) error {
	if on == (l.Attrs().RawFlags&unix.IFF_PROMISC != 0) {
		return nil
	}
	if on {
		return netlink.SetPromiscOn(l)
	}
	return netlink.SetPromiscOff(l)
}
