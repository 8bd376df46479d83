package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
)

var doctorCommand = &cli.Command{
	Name:      "doctor",
	Usage:     "look whether this host is fit for a lab, and how to make it so",
	ArgsUsage: "[FILE]",
	Flags:     []cli.Flag{jsonFlag},
	Action:    runDoctor,
}

// diagnosis is what is wrong with the host as JSON.
type diagnosis struct {
	Lab   string    `json:"lab"`
	From  string    `json:"from"`
	Fit   bool      `json:"fit"`
	Wrong []finding `json:"wrong"`
}

type finding struct {
	What string `json:"what"`
	Fix  string `json:"fix"`
}

func runDoctor(c *cli.Context) error {
	b, p, _, err := planFile(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	var unfits host.Unfits
	if err := b.Preflight(c.Context, p); err != nil && !errors.As(err, &unfits) {
		return err
	}
	out := diagnosis{Lab: b.Lab.Name, From: b.From, Fit: len(unfits) == 0, Wrong: []finding{}}
	for _, u := range unfits {
		out.Wrong = append(out.Wrong, finding{u.What, u.Fix})
	}
	if c.Bool("json") {
		err = printJSON(c, out)
	} else {
		printDiagnosis(c, out)
	}
	if err == nil && !out.Fit {
		return status(exitUnfit)
	}
	return err
}

func printDiagnosis(c *cli.Context, d diagnosis) {
	for _, w := range d.Wrong {
		fmt.Fprintf(c.App.Writer, "%s\n  %s\n", w.What, w.Fix)
	}
	if d.Fit {
		fmt.Fprintf(c.App.Writer, "this host is fit for lab %s, from %s\n", d.Lab, d.From)
	}
}
