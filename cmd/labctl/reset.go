package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var resetCommand = &cli.Command{
	Name:      "reset",
	Usage:     "have nodes go back to the moment when the lab was proven ready, memory and disk, all at once",
	ArgsUsage: "[NODE…]",
	Flags: []cli.Flag{
		labFlag, jsonFlag, eventsFlag,
		&cli.StringSliceFlag{Name: "keep", Usage: "leave `NODE` as it is, such as the one that holds results"},
		&cli.BoolFlag{Name: "boot", Usage: "give nodes whose ready state is not kept a new disk and boot them"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "give up after `TIME`"},
	},
	Action: runReset,
}

func runReset(c *cli.Context) error {
	nodes, err := arguments(c, 0, -1)
	if err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	var proof lab.Proof
	err = working(c, func(tell lab.Tell) (err error) {
		proof, err = b.ResetNodes(c.Context, lab.ResetWanted{
			Nodes: nodes, Keep: c.StringSlice("keep"), Boot: c.Bool("boot"), Timeout: c.Duration("timeout"),
		}, tell)
		return err
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, proof)
	}
	fmt.Fprintf(c.App.Writer, "lab %s is as it was when it was ready: %s\n", b.Lab.Name, proof)
	return nil
}
