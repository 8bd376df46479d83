package networks

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// copyAll adds a filter to a link's hook that copies every frame to another link.
func copyAll(from netlink.Link, at hook, to netlink.Link) error {
	action := netlink.NewMirredAction(to.Attrs().Index)
	action.MirredAction = netlink.TCA_EGRESS_MIRROR
	action.Action = netlink.TC_ACT_PIPE
	return addFilter(from, at, []netlink.Action{action})
}

// addFilter adds a filter to a link's hook that takes those actions on every frame.
func addFilter(from netlink.Link, at hook, actions []netlink.Action) error {
	attrs := netlink.FilterAttrs{
		LinkIndex: from.Attrs().Index,
		Parent:    at.parent,
		Priority:  at.priority,
		Protocol:  unix.ETH_P_ALL,
	}
	err := netlink.FilterAdd(&netlink.MatchAll{FilterAttrs: attrs, Actions: actions})
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// A kernel without matchall. No keys: one would miss frames too short to hold it.
	return netlink.FilterAdd(&netlink.U32{
		FilterAttrs: attrs,
		Sel:         &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL},
		Actions:     actions,
	})
}

// mirrors are the mirror's actions at a link's hook.
func mirrors(l netlink.Link, at hook) ([]*netlink.MirredAction, error) {
	filters, err := netlink.FilterList(l, at.parent)
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var found []*netlink.MirredAction
	for _, f := range filters {
		if !at.isOurs(f) {
			continue
		}
		var actions []netlink.Action
		switch f := f.(type) {
		case *netlink.MatchAll:
			actions = f.Actions
		case *netlink.U32:
			actions = f.Actions
		}
		for _, a := range actions {
			if m, ok := a.(*netlink.MirredAction); ok {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// clearFilters removes the mirror's filters from a link, and clsact where no
// other filter is left in it.
func clearFilters(l netlink.Link) error {
	others := false
	for _, at := range hooks {
		filters, err := netlink.FilterList(l, at.parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		others = others || slices.ContainsFunc(filters, func(f netlink.Filter) bool { return !at.isOurs(f) })
		i := slices.IndexFunc(filters, at.isOurs)
		if i < 0 {
			continue
		}
		// Without a handle: all of that priority at once.
		err = netlink.FilterDel(&netlink.GenericFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: at.parent, Priority: at.priority, Protocol: unix.ETH_P_ALL},
			FilterType:  filters[i].Type(),
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove filter: %w", err)
		}
	}
	if others {
		return nil
	}
	err := netlink.QdiscDel(clsact(l))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // either where there is none
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

func (h hook) isOurs(f netlink.Filter) bool { return f.Attrs().Priority == h.priority }

func clsact(l netlink.Link) netlink.Qdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index,
			Handle:    netlink.MakeHandle(0xffff, 0),
			Parent:    netlink.HANDLE_CLSACT,
		},
		QdiscType: "clsact",
	}
}

func count(a *netlink.MirredAction) Copied {
	var c Copied
	if s := a.Statistics; s != nil && s.Basic != nil && s.Queue != nil {
		c = Copied{Frames: uint64(s.Basic.Packets), Bytes: s.Basic.Bytes, Failed: uint64(s.Queue.Overlimits)}
	}
	return c
}
