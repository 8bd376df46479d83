package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

var upCommand = &cli.Command{
	Name:      "up",
	Usage:     "bring a lab up: make what is missing, start what is off, prove it ready",
	ArgsUsage: "[FILE]",
	Flags: []cli.Flag{
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "give up when the lab is not ready after `TIME`"},
		&cli.BoolFlag{Name: "keep", Usage: "leave what a failed run made, for a look"},
		&cli.BoolFlag{Name: "replace", Usage: "take a lab made from a file that said otherwise down first"},
		&cli.BoolFlag{Name: "cold", Usage: "boot the nodes, also where their ready state is kept"},
		&cli.StringFlag{Name: "state-limit", EnvVars: []string{"LABCTL_STATE_LIMIT"}, Value: "10GiB", Usage: "let the ready states of all labs take `SIZE` on the disk at most; 0 keeps none"},
		&cli.DurationFlag{Name: "ttl", Usage: "let labctl gc take the lab down `TIME` after this up has begun on it; for a lab that is there it counts anew"},
		timelineFlag, jsonFlag, eventsFlag,
	},
	Action: runUp,
}

func runUp(c *cli.Context) error {
	ttl := c.Duration("ttl")
	if c.IsSet("ttl") && ttl <= 0 {
		return usage{fmt.Sprintf("--ttl %s is no time to come", ttl)}
	}
	limit, err := stateLimit(c)
	if err != nil {
		return err
	}
	f, from, err := readFile(c)
	if err != nil {
		return err
	}
	h, err := asRoot(c)
	if err != nil {
		return err
	}
	defer h.Close()
	var b lab.Build
	var proof lab.Proof
	err = timed(c, func(tell lab.Tell) (err error) {
		tell.Note(fmt.Sprintf("lab %s, from %s", f.Name, from))
		b, proof, err = lab.Up(c.Context, h, f, lab.Wanted{
			From: from, Keep: c.Bool("keep"), Replace: c.Bool("replace"), Timeout: c.Duration("timeout"), TTL: ttl,
			Cold: c.Bool("cold"), StateLimit: limit,
		}, tell)
		return err
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		s, err := b.Look(c.Context)
		if err != nil {
			return err
		}
		return printJSON(c, s)
	}
	return printReach(c.App.Writer, b, proof)
}

// stateLimit is what the ready states of labs may take (bytes).
func stateLimit(c *cli.Context) (int64, error) {
	text := c.String("state-limit")
	if text == "0" {
		return 0, nil
	}
	n, err := topology.ParseSize(text)
	if err != nil {
		return 0, usage{fmt.Sprintf("--state-limit %q %v: expected a size such as 10GiB, or 0", text, err)}
	}
	return n, nil
}

// printReach tells how the lab's nodes are reached.
func printReach(w io.Writer, b lab.Build, proof lab.Proof) error {
	fmt.Fprintf(w, "lab %s is ready (%s): %s\n\n", b.Lab.Name, b.Accel, proof)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range b.Lab.Nodes {
		fmt.Fprintf(t, "%s\t%s\n", n.Name, strings.Join(addresses(n), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	apart := slices.DeleteFunc(slices.Clone(b.Lab.Networks), func(n topology.Network) bool {
		return !n.Sided() || n.Under == topology.UnderWire // by which they are as one
	})
	for _, n := range apart {
		fmt.Fprintf(w, "%s: %s\n", n.Name, sidesText(n))
	}
	if len(apart) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "labctl ssh %s\n", b.Lab.Nodes[0].Name)
	for _, n := range b.Lab.Nodes {
		for _, p := range n.Publish {
			fmt.Fprintf(w, "port %d/%s of this host leads to %s's %d\n", p.HostPort, p.Protocol, n.Name, p.Port)
		}
	}
	if authority := b.Authority(); authority != "" {
		fmt.Fprintln(w, trustText(authority))
	}
	fmt.Fprintf(w, "labctl down %s\n", b.Lab.Name)
	if b.Made.Until != nil {
		fmt.Fprintf(w, "labctl gc takes it down from %s on\n", b.Made.Until.Format(time.RFC3339))
	}
	return nil
}

func addresses(n topology.Node) []string {
	var all []string
	for _, c := range n.NICs {
		switch {
		case c.Mirror != "":
			all = append(all, "copy of "+c.Mirror+" on "+onText(c.Network, c.Side))
		case c.Side != "":
			text := onText(c.Network, c.Side) + " " + addressesOf(c)
			if c.Host != (topology.HostDevice{}) {
				text += " by " + c.Host.String()
			}
			all = append(all, text)
		default:
			all = append(all, c.Network+" "+addressesOf(c))
		}
	}
	return all
}

// trustText tells how the https of a lab's nodes is trusted.
func trustText(authority string) string {
	return "https, on port 8087 of who stores, is trusted by " + authority + " (curl --cacert FILE https://…)"
}

func addressesOf(c topology.NIC) string {
	var all []string
	for _, a := range c.Addresses() {
		all = append(all, a.Addr().String())
	}
	return strings.Join(all, " ")
}
