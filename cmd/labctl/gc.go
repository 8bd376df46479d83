package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var gcCommand = &cli.Command{
	Name:  "gc",
	Usage: "take down every lab that has expired (up --ttl), by this host's clock",
	Flags: []cli.Flag{
		eventsFlag,
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "give up after `TIME`"},
	},
	Action: runGC,
}

func runGC(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	h, err := asRoot(c)
	if err != nil {
		return err
	}
	defer h.Close()
	var all []lab.Collected
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Duration("timeout"), lab.TimedOut{After: c.Duration("timeout")})
	defer cancel()
	err = working(c, func(tell lab.Tell) (err error) {
		all, err = lab.Collect(ctx, h, tell)
		return err
	})
	for _, l := range all {
		if l.Passed != "" {
			fmt.Fprintf(c.App.Writer, "lab %s is passed over: %s\n", l.Lab, l.Passed)
		} else {
			fmt.Fprintf(c.App.Writer, "lab %s is gone: %d things removed, none left\n", l.Lab, l.Things)
		}
	}
	if len(all) == 0 && err == nil {
		fmt.Fprintln(c.App.Writer, "no lab has expired: nothing to do")
	}
	return err
}
