package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/networks"
)

// runCapture is a capture of a run, and what was counted on the way to it when it began.
type runCapture struct {
	flows.Capture
	mirror  networks.Mirror
	source  guest            // the node whose NIC is copied
	nic     net.HardwareAddr // that NIC
	own     guest            // the node that captures
	before  counted
	Account flows.Account
}

// counted is what is counted on the way to a capture.
type counted struct {
	source, received flows.Frames
	dropped          uint64 // by the capturing node's NIC
	mirror           networks.Counters
}

// newCaptures are those of all capture NICs of the lab.
func (r *running) newCaptures() []*runCapture {
	var all []*runCapture
	for _, n := range r.Lab.Nodes {
		nic, ok := n.Capture()
		if !ok {
			continue
		}
		from, _ := r.Lab.Node(nic.Mirror)
		c := &runCapture{mirror: r.mirrorInto(nic), source: guest{r.Build, from}, nic: mirrored(from, nic).MAC, own: guest{r.Build, n}}
		c.Capture = flows.Capture{Node: c.own, MAC: nic.MAC, Filter: r.Filter, Snaplen: r.Snap, Most: n.DiskBytes}
		c.Account = flows.Account{Node: n.Name, Of: from.Name, Filter: r.Filter, Snaplen: r.Snap}
		all = append(all, c)
	}
	return all
}

// count reads all counters on the way to the capture.
func (c *runCapture) count(ctx context.Context) (n counted, err error) {
	if n.source, _, _, err = flows.NICCounts(ctx, c.source, c.nic); err != nil {
		return n, err
	}
	if n.mirror, err = c.mirror.Counters(); err != nil {
		return n, fmt.Errorf("%s: %w", c.mirror, err)
	}
	_, n.received, n.dropped, err = flows.NICCounts(ctx, c.own, c.MAC)
	return n, err
}

// beginCaptures starts all captures, and reads where the counters stand.
func (r *running) beginCaptures(ctx context.Context) error {
	for _, c := range r.newCaptures() {
		r.captures = append(r.captures, c)
		if err := c.Begin(ctx); err != nil {
			return err
		}
		var err error
		if c.before, err = c.count(ctx); err != nil {
			return err
		}
	}
	return nil
}

// How often the mirror is looked at, and how long at the most, until nothing of the
// traffic is on its way any more.
const (
	settleEvery = 200 * time.Millisecond
	settleMost  = 5 * time.Second
)

// endCaptures ends all captures, keeps their files, and makes their accounts.
func (r *running) endCaptures(ctx context.Context) {
	for _, c := range r.captures {
		err := c.end(ctx)
		if kerr := c.Keep(ctx, filepath.Join(r.run.Dir, "capture", c.Account.Node+".pcapng.gz"), &c.Account); err == nil {
			err = kerr
		}
		if ferr := c.Forget(ctx); err == nil {
			err = ferr
		}
		if err != nil {
			c.Account.Failed = err.Error()
		}
		r.run.Manifest.Captures = append(r.run.Manifest.Captures, c.Account)
	}
}

// end ends a capture once the mirror copies no more of the traffic.
func (c *runCapture) end(ctx context.Context) error {
	last, err := c.mirror.Counters()
	for waited := time.Duration(0); err == nil && waited < settleMost; waited += settleEvery {
		time.Sleep(settleEvery)
		var now networks.Counters
		if now, err = c.mirror.Counters(); now == last {
			break
		}
		last = now
	}
	after, err := c.count(ctx)
	if err != nil {
		return err
	}
	c.account(after)
	return c.End(ctx, &c.Account)
}

// account is what the counters have gone up by.
func (c *runCapture) account(after counted) {
	a, before := &c.Account, c.before
	less := func(x, y flows.Frames) flows.Frames {
		return flows.Frames{Frames: x.Frames - y.Frames, Bytes: x.Bytes - y.Bytes}
	}
	a.AtNIC, a.Received = less(after.source, before.source), less(after.received, before.received)
	a.Mirrored = flows.Frames{
		Frames: seenBy(before.mirror, after.mirror),
		Bytes:  after.mirror.Sent.Bytes + after.mirror.Received.Bytes - before.mirror.Sent.Bytes - before.mirror.Received.Bytes,
	}
	a.Drops.Mirror, a.Drops.Tap = lostAt(before.mirror, after.mirror)
	a.Drops.NIC = after.dropped - before.dropped
}
