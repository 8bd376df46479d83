package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

const exitCodes = `EXIT STATUS:
   0 done   1 failed   2 usage   3 bad file   4 host not fit   5 timed out   130 interrupted`

const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBadFile     = 3
	exitUnfit       = 4
	exitTimedOut    = 5
	exitInterrupted = 130
)

// usage is a mistake in how labctl was called.
type usage struct{ what string }

func (u usage) Error() string { return u.what }

// status is another program's exit status, passed on without a word.
type status int

func (status) Error() string { return "" }

func exitCode(ctx context.Context, err error) int {
	var code status
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, new(usage)):
		return exitUsage
	case errors.As(err, new(topology.Problems)):
		return exitBadFile
	case errors.As(err, new(host.Unfits)), errors.As(err, new(host.Unfit)):
		return exitUnfit
	case errors.As(err, new(lab.TimedOut)), errors.Is(err, context.DeadlineExceeded):
		return exitTimedOut
	default:
		return exitFailed
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	return usage{fmt.Sprintf("%v (%s --help tells more)", err, c.App.Name)}
}

// noCommand is what runs where no command was named, or one that is not there.
func noCommand(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		return cli.ShowAppHelp(c)
	}
	return noSuchCommand(c.App.Commands, name, "labctl")
}

// noSuchCommand says that none of the commands of parent has that name.
func noSuchCommand(commands []*cli.Command, name, parent string) error {
	what := fmt.Sprintf("there is no command %s %s.", parent, name)
	if near := cli.SuggestCommand(commands, name); near != "" {
		what += " " + near
	}
	return usage{fmt.Sprintf("%s (%s --help lists them)", what, parent)}
}
