package networks

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Wire is the cable between the two sides of a network: a veth pair with one
// end in each side's bridge.
type Wire struct {
	Network topology.Network // with sides
}

// String names it as users see it, "wire/NETWORK".
func (w Wire) String() string { return "wire/" + w.Network.Name }

// State is Partial for a pair that is not plugged in, not up, or not as plain
// as a cable. A foreign link of an end's name counts as Absent.
func (w Wire) State(ctx context.Context) (host.State, error) {
	links, err := w.links()
	if errors.Is(err, errForeign) {
		return host.Absent, nil
	}
	if err != nil || (links[0] == nil && links[1] == nil) {
		return host.Absent, err
	}
	if !paired(links) {
		return host.Partial, nil
	}
	for i, end := range w.Network.Wire.Ends {
		if ok, err := w.connected(ctx, end, links[i]); err != nil || !ok {
			return host.Partial, err
		}
	}
	return host.Present, nil
}

// Create makes the pair and plugs it in. A foreign link of an end's name is an
// error and is left alone.
func (w Wire) Create(ctx context.Context) error {
	links, err := w.links()
	if err != nil {
		return err
	}
	if !paired(links) {
		if err := unplug(links); err != nil {
			return err
		}
		if err := w.add(); err != nil {
			return fmt.Errorf("add link: %w", err)
		}
		if links, err = w.links(); err != nil {
			return err
		}
	}
	for i, end := range w.Network.Wire.Ends {
		if err := w.connect(ctx, end, links[i]); err != nil {
			return fmt.Errorf("link %s: %w", end.Link, err)
		}
	}
	return nil
}

// Destroy removes the pair where its ends bear the lab's names and MACs.
func (w Wire) Destroy(ctx context.Context) error {
	links, err := w.links()
	if err != nil && !errors.Is(err, errForeign) {
		return err
	}
	for i, end := range w.Network.Wire.Ends {
		if links[i] == nil || !end.OVS {
			continue
		}
		if err := host.OVSUnplug(ctx, end.Link); err != nil && !errors.Is(err, host.NoOVS) {
			return err
		}
	}
	return unplug(links)
}

// links are the ends that are there. Beside a foreign link of an end's name it
// returns the other end where that is the lab's.
func (w Wire) links() (links [2]netlink.Link, err error) {
	var errs [2]error
	for i, end := range w.Network.Wire.Ends {
		links[i], errs[i] = ownLink(end.Link, end.MAC)
	}
	return links, errors.Join(errs[:]...)
}

// paired says whether both links are there, each the other's peer.
func paired(links [2]netlink.Link) bool {
	a, b := links[0], links[1]
	return a != nil && b != nil &&
		a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index
}

// add makes the pair; both names and MACs are given in the one call, so that it
// can be told to be the lab's from the moment it exists.
func (w Wire) add() error {
	a, b := w.Network.Wire.Ends[0], w.Network.Wire.Ends[1]
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: a.Link, HardwareAddr: a.MAC, MTU: w.Network.MTU, TxQLen: -1}) // the kernel's, which a queueing discipline would set
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = b.Link, b.MAC, uint32(w.Network.MTU)
	return netlink.LinkAdd(veth)
}

// connect plugs an end in and brings it up, quiet from the start.
func (w Wire) connect(ctx context.Context, end topology.WireEnd, l netlink.Link) error {
	if err := host.Quiet(end.Link); err != nil {
		return err
	}
	if err := host.SetOffloads(end.Link); err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(l, w.Network.MTU); err != nil {
		return fmt.Errorf("set MTU: %w", err)
	}
	if err := plug(ctx, end.Link, end.Bridge, end.OVS); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	// For people only: the wire is whole without it.
	_ = netlink.LinkAddAltName(l, topology.ObjectName(w.Network.Lab, "wire", w.Network.Name, end.Side))
	return nil
}

func (w Wire) connected(ctx context.Context, end topology.WireEnd, l netlink.Link) (bool, error) {
	if in, err := plugged(ctx, end.Link, end.Bridge, end.OVS); err != nil || !in {
		return false, err
	}
	a := l.Attrs()
	if a.MTU != w.Network.MTU || a.RawFlags&unix.IFF_UP == 0 {
		return false, nil
	}
	if quiet, err := host.IsQuiet(end.Link); err != nil || !quiet {
		return false, err
	}
	on, err := host.Offloads(end.Link)
	return len(on) == 0, err
}

// unplug removes the links; an end takes its peer with it.
func unplug(links [2]netlink.Link) error {
	for _, l := range links {
		if l == nil {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove link %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}
