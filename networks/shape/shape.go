// Package shape makes the kernel do to the frames that leave a link what an impairment
// says, and reads back what it does. A frame passes, in this order,
//
//	netem 6c60:  loses, duplicates, corrupts and delays it
//	tbf   6c64:  keeps the rate; until it is the frame's turn it waits in tbf's own queue,
//	      6c65:  or in an fq_codel or pie
//
// each of which is there only where it is asked for. By these handles they are told from
// the queueing disciplines of others. A jitter lets frames overtake one another, and one
// that overtakes by Reorder overtakes those that wait for the rate, too: netem lets it
// out past what is below.
package shape

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// Set makes the link's egress do to its frames what i says, and leaves it alone where it
// does that already. What Set made before it takes away first, with the frames that
// wait in it; the zero Impair does no more than that. The link's frames have a payload
// of mtu bytes at most: its segmentation offloads are off, or netem takes many for one.
// The root queueing discipline of somebody else is an error and is left.
func Set(l netlink.Link, i topology.Impair, mtu int) error {
	want, err := stack(i, mtu)
	if err != nil {
		return err
	}
	there, err := list(l)
	if err != nil {
		return err
	}
	root, found := rootOf(there)
	_, ours := ourRoot(there)
	switch {
	case found && !ours:
		return foreign(l, root)
	case ours && same(there, want):
		return nil
	case ours:
		if err := remove(l, root); err != nil {
			return err
		}
	}
	for n, q := range want {
		err := add(l, q)
		if err == nil {
			continue
		}
		err = q.explain(l, err)
		if n > 0 {
			err = errors.Join(err, remove(l, want[0]))
		}
		return err
	}
	return nil
}

// Get is what the link's egress does to its frames, as As tells it. It is not ours where
// the root queueing discipline is the kernel's default or somebody else's, and ErrChanged
// where it has been changed into what Set never makes.
func Get(l netlink.Link) (i topology.Impair, ours bool, err error) {
	there, err := list(l)
	if err != nil {
		return topology.Impair{}, false, err
	}
	if _, ours := ourRoot(there); !ours {
		return topology.Impair{}, false, nil
	}
	d, err := decode(there)
	return d.Impair, true, err
}

// As is i as Get tells it after Set: in the kernel's units.
func As(i topology.Impair, mtu int) (topology.Impair, error) {
	qs, err := stack(i, mtu)
	if err != nil {
		return topology.Impair{}, err
	}
	d, err := decode(qs)
	return d.Impair, err
}

// Needs are the kinds of queueing disciplines that the impairment takes.
func Needs(i topology.Impair) []string {
	var kinds []string
	if hasNetem(i) {
		kinds = append(kinds, netem)
	}
	if i.Rate > 0 {
		kinds = append(kinds, tbf)
		if i.AQM == topology.AQMFqCoDel || i.AQM == topology.AQMPIE {
			kinds = append(kinds, i.AQM)
		}
	}
	return kinds
}

// Module is the kernel's module that has a kind of queueing discipline.
func Module(kind string) string { return "sch_" + kind }

// Try says why the kernel does not have a kind of queueing discipline, nil where it
// does: it adds one to the link, which has none of its own, and takes it away again.
func Try(l netlink.Link, kind string) error {
	q := qdisc{kind: kind, parent: netlink.HANDLE_ROOT}
	switch kind {
	case netem:
		q.handle, q.options = handle(netemMajor), netemOptions(topology.Impair{}, 0)
	case tbf:
		q.handle, q.options = handle(rateMajor), rateOptions(topology.Impair{Rate: 8e6, Queue: 1 << 16}, 1500)
	default:
		q.handle, q.options = handle(queueMajor), queueOptions(kind, 1, 1500)
	}
	if err := add(l, q); err != nil {
		return err
	}
	return remove(l, q)
}

func foreign(l netlink.Link, root qdisc) error {
	name := l.Attrs().Name
	return fmt.Errorf("%s has a queueing discipline that is not labctl's, %s %s: remove it (tc qdisc del dev %s root), or do without an impairment there",
		name, root.kind, netlink.HandleStr(root.handle), name)
}

// rootOf is the root of a link's queueing disciplines, but for the kernel's defaults.
func rootOf(qs []qdisc) (qdisc, bool) {
	for _, q := range qs {
		if q.parent == netlink.HANDLE_ROOT && q.handle != 0 {
			return q, true
		}
	}
	return qdisc{}, false
}

// list are the link's queueing disciplines.
func list(l netlink.Link) ([]qdisc, error) {
	for range 10 {
		qs, err := dump(l)
		if !errors.Is(err, nl.ErrDumpInterrupted) { // another changed some meanwhile
			return qs, err
		}
	}
	return nil, fmt.Errorf("list the queueing disciplines of %s: they change all the time", l.Attrs().Name)
}

func dump(l netlink.Link) ([]qdisc, error) {
	index := int32(l.Attrs().Index)
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: index})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return nil, fmt.Errorf("list the queueing disciplines of %s: %w", l.Attrs().Name, err)
	}
	var qs []qdisc
	for _, m := range msgs {
		if len(m) < nl.SizeofTcMsg {
			return nil, errShort
		}
		if msg := nl.DeserializeTcMsg(m); msg.Ifindex == index {
			q := qdisc{handle: msg.Handle, parent: msg.Parent}
			attrs, err := attributes(m[nl.SizeofTcMsg:])
			if err != nil {
				return nil, err
			}
			q.kind, q.options = unix.ByteSliceToString(attrs[nl.TCA_KIND]), attrs[nl.TCA_OPTIONS]
			qs = append(qs, q)
		}
	}
	return qs, nil
}

// add adds a queueing discipline that is not there.
func add(l netlink.Link, q qdisc) error {
	_, err := q.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, l.Attrs().Index).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// explain says what it is that was not added.
func (q qdisc) explain(l netlink.Link, err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the kernel has no %s: modprobe %s, or boot a kernel that has it: %w", q.kind, Module(q.kind), err)
	}
	return fmt.Errorf("add %s to %s: %w", q.kind, l.Attrs().Name, err)
}

// remove takes the root away, with all below it.
func remove(l netlink.Link, root qdisc) error {
	root.options = nil
	_, err := root.request(unix.RTM_DELQDISC, 0, l.Attrs().Index).Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s from %s: %w", root.kind, l.Attrs().Name, err)
	}
	return nil
}
