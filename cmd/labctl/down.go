package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var downCommand = &cli.Command{
	Name:      "down",
	Usage:     "remove everything of a lab, and verify that nothing is left",
	ArgsUsage: "[NAME or FILE]",
	Flags: []cli.Flag{
		labFlag, eventsFlag,
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "give up after `TIME`"},
	},
	Action: runDown,
}

func runDown(c *cli.Context) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	h, err := asRoot(c)
	if err != nil {
		return err
	}
	defer h.Close()
	name, err := labName(c, h, append(args, "")[0])
	if errors.As(err, new(lab.None)) {
		lab.Tidy(h)
		fmt.Fprintln(c.App.Writer, "no lab is on this host: nothing to do")
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Duration("timeout"), lab.TimedOut{After: c.Duration("timeout")})
	defer cancel()
	err = working(c, func(tell lab.Tell) (err error) {
		n, err = lab.Down(ctx, h, name, tell)
		return err
	})
	switch {
	case err != nil:
		return err
	case n == 0:
		fmt.Fprintf(c.App.Writer, "nothing of lab %s is on this host: nothing to do\n", name)
	default:
		fmt.Fprintf(c.App.Writer, "lab %s is gone: %d things removed, none left\n", name, n)
	}
	return nil
}
