package main

import (
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var timelineFlag = &cli.StringFlag{Name: "timeline", Usage: "write when each piece of work began and how long it took to `FILE`, for chrome://tracing or ui.perfetto.dev, and print it"}

// timed does a piece of work as working does. Where --timeline asks for it, its timeline
// is written and printed after it, also when it failed.
func timed(c *cli.Context, do func(lab.Tell) error) error {
	if !c.IsSet("timeline") {
		return working(c, do)
	}
	file, err := os.Create(c.String("timeline"))
	if err != nil {
		return err
	}
	line := &lab.Timeline{Name: "labctl " + c.Command.Name, Start: time.Now()}
	err = working(c, func(tell lab.Tell) error {
		return do(func(e lab.Event) {
			line.Tell(e)
			tell(e)
		})
	})
	line.End = time.Now()
	werr := errors.Join(line.Trace(file), file.Close())
	if !c.Bool("events") { // whose lines are all JSON
		werr = errors.Join(werr, line.Text(c.App.ErrWriter, columns(c.App.ErrWriter)))
	}
	if werr != nil {
		return errors.Join(err, werr)
	}
	return err
}
