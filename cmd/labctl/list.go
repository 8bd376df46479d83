package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var listCommand = &cli.Command{
	Name:   "list",
	Usage:  "list the labs on this host",
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
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, labs)
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, l := range labs {
		fmt.Fprintf(t, "%s\t%s\t%d nodes\tfrom %s\n", l.Name, l.State, l.Nodes, l.From)
	}
	return t.Flush()
}
