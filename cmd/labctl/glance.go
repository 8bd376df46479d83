package main

import (
	"bytes"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
)

// glance is what one look saw, and the good one before it.
type glance struct {
	At     time.Time
	Status lab.Status // with an error, as far as it could be seen; without a name, not at all
	Err    error
	Before *glance // nil for the first
}

// text is what there is to show of a glance: the state first, then what changes most.
func (g glance) text() (string, error) {
	s := g.Status
	var b bytes.Buffer
	if s.Name == "" {
		return "", nil
	}
	fmt.Fprintf(&b, "lab %s is %s (%s)\t%s\n\n", s.Name, s.State, s.Provenance.Accelerator, g.At.Format(time.TimeOnly))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, nodeState(n), aCell.Replace(nicText(n)))
	}
	for _, m := range s.Mirror {
		fmt.Fprintf(t, "mirror\t%s\t%s to %s %s%s\n", m.State, m.From, m.To, counterText(m), g.mirrorRate(m))
	}
	for _, r := range s.Resources {
		if r.State != host.Present.String() {
			fmt.Fprintf(t, "%s\t%s\n", r.Resource, r.State)
		}
	}
	for _, stray := range s.Strays {
		fmt.Fprintf(t, "%s\tbears the lab's mark, and its file does not speak of it\n", aCell.Replace(stray))
	}
	fmt.Fprintln(t)
	for _, n := range s.Nodes {
		for _, c := range n.NICs {
			if rate := g.nicRate(n.Name, c); rate != "" {
				fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, nicName(c), rate)
			}
		}
	}
	err := t.Flush()
	return b.String(), err
}

func nicName(c lab.NICStatus) string {
	switch {
	case c.Mirror != "":
		return "copy of " + c.Mirror
	case c.Side != "":
		return c.Network + "/" + c.Side
	}
	return c.Network
}

// mirrorRate is what a mirror copied a second since the glance before; "" where that cannot be told.
func (g glance) mirrorRate(m lab.MirrorStatus) string {
	if g.Before == nil || m.Counters == nil {
		return ""
	}
	for _, old := range g.Before.Status.Mirror {
		if old.From != m.From || old.To != m.To || old.Counters == nil {
			continue
		}
		was, is := *old.Counters, *m.Counters
		if is.Sent.Bytes < was.Sent.Bytes || is.Received.Bytes < was.Received.Bytes || lost(is) < lost(was) {
			return "" // it was made anew
		}
		frames := func(was, is networks.Copied) uint64 { return uint64(uint32(is.Frames - was.Frames)) } // the kernel's counter goes round
		return "; " + g.rate(frames(was.Sent, is.Sent)+frames(was.Received, is.Received), is.Sent.Bytes+is.Received.Bytes-was.Sent.Bytes-was.Received.Bytes) +
			fmt.Sprintf(", %.0f/s dropped", g.perSecond(lost(is)-lost(was)))
	}
	return ""
}

// nicRate is what passed a NIC a second since the glance before; "" where that cannot be told.
func (g glance) nicRate(node string, c lab.NICStatus) string {
	if g.Before == nil || c.Traffic == nil {
		return ""
	}
	for _, n := range g.Before.Status.Nodes {
		for _, old := range n.NICs {
			if n.Name != node || nicName(old) != nicName(c) || old.Traffic == nil {
				continue
			}
			was, is := *old.Traffic, *c.Traffic
			if is.Sent.Bytes < was.Sent.Bytes || is.Received.Bytes < was.Received.Bytes || is.Sent.Frames < was.Sent.Frames || is.Received.Frames < was.Received.Frames {
				return "" // its link was made anew
			}
			return "sent " + g.rate(is.Sent.Frames-was.Sent.Frames, is.Sent.Bytes-was.Sent.Bytes) +
				"\treceived " + g.rate(is.Received.Frames-was.Received.Frames, is.Received.Bytes-was.Received.Bytes)
		}
	}
	return ""
}

func (g glance) perSecond(n uint64) float64 {
	if d := g.At.Sub(g.Before.At).Seconds(); d > 0 {
		return float64(n) / d
	}
	return 0
}

// rate is frames and bytes as of a second.
func (g glance) rate(frames, bytes uint64) string {
	bits, unit := 8*g.perSecond(bytes), "bit/s"
	for _, next := range []string{"kbit/s", "Mbit/s", "Gbit/s"} {
		if bits < 999.95 {
			break
		}
		bits, unit = bits/1000, next
	}
	text := fmt.Sprintf("%.1f %s", bits, unit)
	if unit == "bit/s" {
		text = fmt.Sprintf("%.0f %s", bits, unit)
	}
	return fmt.Sprintf("%.0f frames/s, %s", g.perSecond(frames), text)
}
