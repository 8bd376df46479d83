package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var verifyCommand = &cli.Command{
	Name:  "verify",
	Usage: "prove the data path and the mirror with marked frames, now",
	Flags: []cli.Flag{
		labFlag, jsonFlag, eventsFlag,
		&cli.DurationFlag{Name: "timeout", Value: 2 * time.Minute, Usage: "give up after `TIME`"},
	},
	Action: runVerify,
}

func runVerify(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	var proof lab.Proof
	err = working(c, func(tell lab.Tell) (err error) {
		proof, err = b.Verify(c.Context, c.Duration("timeout"), tell)
		return err
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, proof)
	}
	fmt.Fprintln(c.App.Writer, proof)
	return nil
}
