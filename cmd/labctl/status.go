package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

var statusCommand = &cli.Command{
	Name:      "status",
	Usage:     "show each resource's state; exit 0 only where the lab is whole",
	ArgsUsage: "[NAME or FILE]",
	Description: "A lab that is partial or absent exits 1.\n" +
		"--watch looks every two seconds until the lab is gone (exit 0) or Ctrl-C (exit 130): in place on a terminal,\n" +
		"elsewhere a line for what has changed, with --json one document a line.",
	Flags: []cli.Flag{
		labFlag, jsonFlag,
		&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "look again and again, with what passes a second"},
	},
	Action: runStatus,
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
	if c.Bool("watch") {
		return watchLab(c, h, name)
	}
	b, err := lab.Open(h, name)
	if err != nil {
		return err
	}
	s, lookErr := b.Look(c.Context)
	if c.Bool("json") {
		err = printJSON(c, s)
	} else {
		err = printStatus(c.App.Writer, b.Lab.Networks, s)
	}
	if err := errors.Join(err, lookErr); err != nil {
		return err
	}
	if s.State != lab.Whole {
		return status(exitFailed)
	}
	return nil
}

func printStatus(w io.Writer, networks []topology.Network, s lab.Status) error {
	fmt.Fprintf(w, "lab %s is %s (%s)\n", s.Name, s.State, s.Provenance.Accelerator)
	if start := s.Provenance.Start; start != nil {
		fmt.Fprintln(w, start)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range s.Nodes {
		ready := "not ready"
		if n.Ready {
			ready = "ready"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.Name, n.State, ready, nicText(n))
	}
	fmt.Fprintln(t)
	for _, n := range networks {
		if n.Sided() {
			fmt.Fprintf(t, "network\t%s\t%s\n", n.Name, sidesText(n))
		}
	}
	for _, m := range s.Mirror {
		fmt.Fprintf(t, "mirror\t%s\t%s's %s to %s at %s %s\t%s\n", m.State, m.From, onText(m.Network, m.Side), m.To, m.Point, m.At, counterText(m))
	}
	for _, r := range s.Resources {
		if r.State != host.Present.String() {
			fmt.Fprintf(t, "%s\t%s\n", r.Resource, r.State)
		}
	}
	for _, stray := range s.Strays {
		fmt.Fprintf(t, "%s\tbears the lab's mark, and its file does not speak of it\n", stray)
	}
	if err := errors.Join(t.Flush(), printImpairments(w, impaired(s))); err != nil {
		return err
	}
	if s.Authority != "" {
		fmt.Fprintln(w, trustText(s.Authority))
	}
	return nil
}

// impaired are the directions that do something to frames, or not what the lab's file says.
func impaired(s lab.Status) []lab.ImpairmentStatus {
	return slices.DeleteFunc(slices.Clone(s.Impairments), func(i lab.ImpairmentStatus) bool { return i.As && i.Limits == "" })
}

func nicText(n lab.NodeStatus) string {
	var all []string
	for _, c := range n.NICs {
		switch {
		case c.Mirror != "":
			all = append(all, "copy of "+c.Mirror+" on "+onText(c.Network, c.Side))
		case c.Side != "":
			all = append(all, fmt.Sprintf("%s %s (%s)", onText(c.Network, c.Side), both(c.Address, c.Address6), strings.TrimSpace(c.Kind+" "+c.Device)))
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
		m.Counters.Sent.Frames, m.Counters.Received.Frames, lost(*m.Counters))
}

// lost are the frames that a mirror saw and the capturing machine did not get.
func lost(c networks.Counters) uint64 { return c.Dropped + c.Sent.Failed + c.Received.Failed }
