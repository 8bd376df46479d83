package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var planCommand = &cli.Command{
	Name:      "plan",
	Usage:     "show what up would do, touching nothing",
	ArgsUsage: "[FILE]",
	Flags:     []cli.Flag{jsonFlag},
	Action:    runPlan,
}

// planned is a plan as JSON.
type planned struct {
	Lab   string        `json:"lab"`
	From  string        `json:"from"`
	Accel string        `json:"accelerator"`
	Steps []plannedStep `json:"steps"`
	// Start is how nodes would come to run; absent where all run already.
	Start *plannedStart `json:"start,omitempty"`
	// Mirrors are where each copies the frames of the node.
	Mirrors []plannedMirror `json:"mirrors"`
	// Impairments are what the network under test does to frames once the lab is proven.
	Impairments []lab.ImpairmentStatus `json:"impairments"`
	Warnings    []string               `json:"warnings"` // of what measurements would be worse for on bridges of the host's own
}

type plannedMirror struct {
	Node  string `json:"node"`
	Point string `json:"point"` // tap, ovs-port, macvtap, uplink, representor or port
	At    string `json:"at"`    // the host's link
}

type plannedStart struct {
	How string `json:"how"` // cold or warm
	Why string `json:"why"`
}

type plannedStep struct {
	Verb     string `json:"verb"` // build, import, create or complete
	Resource string `json:"resource"`
}

func runPlan(c *cli.Context) error {
	b, p, missing, err := planFile(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	if err := b.Preflight(c.Context, p); err != nil {
		return err
	}
	out := planned{Lab: b.Lab.Name, From: b.From, Accel: b.Accel, Steps: []plannedStep{}, Mirrors: []plannedMirror{}, Impairments: b.PlannedImpairments(), Warnings: []string{}}
	for _, image := range missing {
		out.Steps = append(out.Steps, plannedStep{image.Verb(), image.String()})
	}
	for _, s := range p.Steps() {
		out.Steps = append(out.Steps, plannedStep{s.Verb(), s.String()})
	}
	for _, m := range b.Mirrors() {
		out.Mirrors = append(out.Mirrors, plannedMirror{m.Node, m.From.Kind, m.From.Link})
	}
	how, why, err := b.PlannedStart(p)
	if err != nil {
		return err
	}
	if how != "" {
		out.Start = &plannedStart{how, why}
	}
	disturbed, err := b.Disturbed()
	if err != nil {
		return err
	}
	out.Warnings = append(out.Warnings, disturbed...)
	if c.Bool("json") {
		return printJSON(c, out)
	}
	fmt.Fprintf(c.App.Writer, "lab %s, from %s, machines run under %s\n", out.Lab, out.From, out.Accel)
	for _, s := range out.Steps {
		fmt.Fprintf(c.App.Writer, "%-8s %s\n", s.Verb, s.Resource)
	}
	if len(out.Steps) == 0 {
		fmt.Fprintln(c.App.Writer, "nothing to do")
	}
	for _, m := range out.Mirrors {
		fmt.Fprintf(c.App.Writer, "%s's frames are copied at the %s %s\n", m.Node, m.Point, m.At)
	}
	if out.Start != nil {
		fmt.Fprintf(c.App.Writer, "nodes start %s: %s\n", out.Start.How, out.Start.Why)
	}
	for _, w := range out.Warnings {
		fmt.Fprintln(c.App.Writer, "warning:", w)
	}
	return printImpairments(c.App.Writer, out.Impairments)
}

// planFile plans what up would do with the file that is the command's argument. The
// caller closes the build's host.
func planFile(c *cli.Context) (b lab.Build, p lab.Plan, missing []lab.MissingBase, err error) {
	f, from, err := readFile(c)
	if err != nil {
		return lab.Build{}, lab.Plan{}, nil, err
	}
	h, err := toLook(c)
	if err != nil {
		return lab.Build{}, lab.Plan{}, nil, err
	}
	if b, err = lab.Prepare(h, f, from); err == nil {
		missing, err = b.MissingBases(c.Context)
	}
	if err == nil {
		p, err = lab.PlanUp(c.Context, b.Resources())
	}
	if err != nil {
		h.Close()
	}
	return b, p, missing, err
}
