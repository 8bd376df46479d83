package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

var statusCommand = &cli.Command{
	Name:        "status",
	Usage:       "show each resource's state; exit 0 only where the lab is whole",
	ArgsUsage:   "[NAME or FILE]",
	Description: "A lab that is partial or absent exits 1.",
	Flags:       []cli.Flag{labFlag, jsonFlag},
	Action:      runStatus,
}

func runStatus(c *cli.Context) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	h, err := toLook(c)
	if err != nil {
		return err
	}
	defer h.Close()
	name, err := labName(c, h, append(args, "")[0])
	if err != nil {
		return err
	}
	b, err := lab.Open(h, name)
	if err != nil {
		return err
	}
	s, lookErr := b.Look(c.Context)
	if c.Bool("json") {
		err = printJSON(c, s)
	} else {
		err = printStatus(c.App.Writer, s)
	}
	if err := errors.Join(err, lookErr); err != nil {
		return err
	}
	if s.State != lab.Whole {
		return status(exitFailed)
	}
	return nil
}

func printStatus(w io.Writer, s lab.Status) error {
	fmt.Fprintf(w, "lab %s is %s (%s)\n\n", s.Name, s.State, s.Provenance.Accelerator)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range s.Nodes {
		ready := "not ready"
		if n.Ready {
			ready = "ready"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.Name, n.State, ready, nicText(n))
	}
	fmt.Fprintln(t)
	for _, m := range s.Mirror {
		fmt.Fprintf(t, "mirror\t%s\t%s to %s at %s %s\t%s\n", m.State, m.From, m.To, m.Point, m.At, counterText(m))
	}
	for _, r := range s.Resources {
		if r.State != host.Present.String() {
			fmt.Fprintf(t, "%s\t%s\n", r.Resource, r.State)
		}
	}
	for _, stray := range s.Strays {
		fmt.Fprintf(t, "%s\tbears the lab's mark, and its file does not speak of it\n", stray)
	}
	return errors.Join(t.Flush())
}

func nicText(n lab.NodeStatus) string {
	var all []string
	for _, c := range n.NICs {
		switch {
		case c.Mirror != "":
			all = append(all, "copy of "+c.Mirror)
		case c.Side != "":
			all = append(all, fmt.Sprintf("%s/%s %s (%s)", c.Network, c.Side, both(c.Address, c.Address6), strings.TrimSpace(c.Kind+" "+c.Device)))
		default:
			all = append(all, c.Network+" "+both(c.Address, c.Address6))
		}
	}
	return strings.Join(all, ", ")
}

// both are a NIC's addresses: that of IPv6 stands beside the other where there is one.
func both(address, address6 string) string { return strings.TrimSpace(address + " " + address6) }

func counterText(m lab.MirrorStatus) string {
	if m.Counters == nil {
		return ""
	}
	return fmt.Sprintf("copied %d sent and %d received, %d dropped",
		m.Counters.Sent.Frames, m.Counters.Received.Frames, m.Counters.Dropped+m.Counters.Sent.Failed+m.Counters.Received.Failed)
}
