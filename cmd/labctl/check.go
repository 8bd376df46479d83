package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/topology"
)

var checkCommand = &cli.Command{
	Name:      "check",
	Usage:     "check a lab file alone, without a host",
	ArgsUsage: "[FILE]",
	Action:    runCheck,
}

func runCheck(c *cli.Context) error {
	f, from, err := readFile(c)
	if err != nil {
		return err
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s: lab %s with %d nodes and %d networks, no mistakes\n", from, l.Name, len(l.Nodes), len(l.Networks))
	return nil
}
