package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var downCommand = &cli.Command{
	Name:      "down",
	Usage:     "remove everything of a lab, and verify that nothing is left",
	ArgsUsage: "[NAME or FILE]",
	Flags:     []cli.Flag{labFlag, eventsFlag},
	Action:    runDown,
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
		fmt.Fprintln(c.App.Writer, "no lab is on this host: nothing to do")
		return nil
	}
	if err != nil {
		return err
	}
	show := newDisplay(c)
	n, err := lab.Down(c.Context, h, name, show.tell)
	show.close()
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
