package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

var listCommand = &cli.Command{
	Name:   "list",
	Usage:  "list the labs on this host, whole or partial: age, owner, and when they expire",
	Flags:  []cli.Flag{jsonFlag},
	Action: runList,
}

func runList(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	h, err := toLook(c)
	if err != nil {
		return err
	}
	defer h.Close()
	labs, err := lab.List(c.Context, h)
	if c.Bool("json") {
		return errors.Join(printJSON(c, labs), err)
	}
	return errors.Join(printLabs(c, labs), err)
}

// aCell keeps what comes from marks in its cell of a table.
var aCell = strings.NewReplacer("\t", "?", "\n", "?")

// printLabs is nothing where there is no lab: scripts ask that way.
func printLabs(c *cli.Context, labs []lab.Listed) error {
	if len(labs) == 0 {
		return nil
	}
	now := time.Now()
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tNODES\tAGE\tOWNER\tEXPIRES\tFROM")
	for _, l := range labs {
		row := []string{l.Name, l.State, "-", "-", l.Owner, "never", l.From}
		if l.Nodes > 0 {
			row[2] = strconv.Itoa(l.Nodes)
		}
		if !l.MadeAt.IsZero() {
			row[3] = span(now.Sub(l.MadeAt))
		}
		switch left := l.ExpiresAt.Sub(now); {
		case l.ExpiresAt.IsZero():
		case left <= 0:
			row[5] = "expired"
		default:
			row[5] = "in " + span(left)
		}
		for i := range row {
			row[i] = cmp.Or(aCell.Replace(host.Printable([]byte(row[i]))), "-")
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, l := range labs {
		if l.Note != "" {
			fmt.Fprintf(c.App.ErrWriter, "%s: %s\n", l.Name, host.Printable([]byte(l.Note)))
		}
	}
	return nil
}

// span is a time to the largest unit that it has one of, as people tell an age.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d >= day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}
