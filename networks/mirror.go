package networks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Mirror copies every frame that passes a node's NIC, in both directions, to a
// capture NIC, which is a tap of a running machine. The copy ends with that tap,
// and with the link where it is taken.
type Mirror struct {
	Node   string                // whose NIC is copied
	From   topology.CapturePoint // where on the host
	To     string                // the host's link: the capture NIC's tap
	Bridge string                // PointOVS: that From is a port of
}

// Counters is what a Mirror has copied since it was made.
type Counters struct {
	// Sent and Received are as the mirrored node sees it. What a mirror port is fed, and
	// what Open vSwitch copies, does not tell its direction: all of it counts as received.
	Sent, Received Copied
	// Dropped counts the frames that the capture NIC's machine did not take in time.
	Dropped uint64
}

// Copied counts the frames of one direction.
type Copied struct {
	Frames uint64 // modulo 2³²: the kernel counts no further
	Bytes  uint64 // with Ethernet header, without frame check sequence
	Failed uint64 // of these not copied: the capture NIC was down, or had no room and counts them as Dropped too
}

// captureQueue is how many frames wait at the capture NIC for its machine (24 MB of
// the longest): one that has no processor for a while loses none so soon.
const captureQueue = 16384

// hook is where a link's frames of one direction are copied.
type hook struct {
	parent uint32
	// priority marks the mirror's filter among those of the link. Not one for
	// both: the kernel lists u32 filters of a priority at either hook.
	priority uint16
}

var (
	ingress = hook{netlink.HANDLE_MIN_INGRESS, 0x6c63}
	egress  = hook{netlink.HANDLE_MIN_EGRESS, 0x6c64}
	hooks   = []hook{ingress, egress}
)

// hooks are where the mirror takes its copy.
func (m Mirror) hooks() []hook {
	if m.From.Kind == topology.PointPort {
		return []hook{ingress} // the host has no part in the traffic
	}
	return hooks
}

// sends is the hook that what the node sends passes: it comes in at the host, but
// where the link is the node's own, as a macvtap is.
func (m Mirror) sends() hook {
	switch m.From.Kind {
	case topology.PointMacvtap:
		return egress
	case topology.PointPort:
		return hook{}
	default:
		return ingress
	}
}

// String names it as users see it, "mirror/NODE".
func (m Mirror) String() string { return "mirror/" + m.Node }

// State is Partial where a direction is not copied, or to a link that has been
// replaced since. Where either link is not there it is Absent.
func (m Mirror) State(ctx context.Context) (host.State, error) {
	from, to, err := m.links()
	if err != nil || from == nil || to == nil {
		return host.Absent, err
	}
	return m.state(ctx, from, to)
}

// Create makes the mirror anew, unless it is whole.
func (m Mirror) Create(ctx context.Context) error {
	from, to, err := m.links()
	if err != nil {
		return err
	}
	const missing, off = "the %s %s is not there", ": its machine is off"
	switch {
	case to == nil:
		return fmt.Errorf(missing+off, topology.PointTap, m.To)
	case from == nil && slices.Contains([]string{topology.PointTap, topology.PointOVS, topology.PointMacvtap}, m.From.Kind):
		return fmt.Errorf(missing+off, m.From.Kind, m.From.Link)
	case from == nil:
		return fmt.Errorf(missing, m.From.Kind, m.From.Link)
	}
	if err := host.Quiet(m.To); err != nil {
		return err
	}
	if err := netlink.LinkSetTxQLen(to, captureQueue); err != nil {
		return fmt.Errorf("lengthen the queue of %s: %w", m.To, err)
	}
	if state, err := m.state(ctx, from, to); err != nil || state == host.Present {
		return err
	}
	if m.From.Kind == topology.PointOVS {
		return ovsCopy{m}.create(ctx)
	}
	if err := clearFilters(from); err != nil {
		return err
	}
	if err := netlink.QdiscAdd(clsact(from)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact: %w", err)
	}
	for _, at := range m.hooks() {
		if err := copyAll(from, at, to); err != nil {
			return fmt.Errorf("add filter: %w", err)
		}
	}
	return nil
}

// Destroy ends the copying. Filters of others on the link stay, and clsact with them.
func (m Mirror) Destroy(ctx context.Context) error {
	if m.From.Kind == topology.PointOVS {
		return ovsCopy{m}.destroy(ctx)
	}
	from, err := link(m.From.Link)
	if err != nil || from == nil {
		return err
	}
	return clearFilters(from)
}

// Counters reads what was copied and lost since the mirror was made.
func (m Mirror) Counters() (Counters, error) {
	from, to, err := m.links()
	if err != nil {
		return Counters{}, err
	}
	if from == nil || to == nil {
		return Counters{}, errors.New("not there: a machine is off, or a NIC gone")
	}
	if m.From.Kind == topology.PointOVS {
		return ovsCopy{m}.counters(to)
	}
	var c Counters
	for _, at := range m.hooks() {
		actions, err := mirrors(from, at)
		if err != nil {
			return Counters{}, err
		}
		for _, a := range actions {
			copied := count(a)
			if at == ingress {
				copied.Bytes += copied.Frames * 14 // the kernel counts what comes in without its Ethernet header
			}
			if at == m.sends() {
				c.Sent = copied
			} else {
				c.Received = copied
			}
		}
	}
	if s := to.Attrs().Statistics; s != nil {
		c.Dropped = s.TxDropped
	}
	return c, nil
}

func (m Mirror) links() (from, to netlink.Link, err error) {
	from, errFrom := link(m.From.Link)
	to, errTo := link(m.To)
	return from, to, errors.Join(errFrom, errTo)
}

func (m Mirror) state(ctx context.Context, from, to netlink.Link) (host.State, error) {
	if m.From.Kind == topology.PointOVS {
		return ovsCopy{m}.state(ctx)
	}
	whole, some := true, false
	for _, at := range m.hooks() {
		actions, err := mirrors(from, at)
		if err != nil {
			return host.Absent, err
		}
		some = some || len(actions) > 0
		whole = whole && len(actions) == 1 && actions[0].Ifindex == to.Attrs().Index
	}
	switch {
	case whole:
		return host.Present, nil
	case some:
		return host.Partial, nil
	}
	return host.Absent, nil
}
