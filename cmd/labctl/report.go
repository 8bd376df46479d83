package main

import (
	"bytes"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/flows/report"
	"github.com/mami-project/labctl/host"
)

var reportCommand = &cli.Command{
	Name:      "report",
	Usage:     "write the report of a run, or of several side by side, as one HTML file",
	ArgsUsage: "RUN [RUN…]",
	Description: "RUN is a run's folder. The report of one is written into it, as report.html; that of several,\n" +
		"which are compared with the first, to --output.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write to; - for standard output"},
	},
	Action: runReport,
}

func runReport(c *cli.Context) error {
	dirs, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	to := c.String("output")
	switch {
	case to == "" && len(dirs) > 1:
		return usage{"name the file for the report of several runs: labctl report -o FILE RUN RUN…"}
	case to == "":
		to = filepath.Join(dirs[0], flows.ReportFile)
	}
	var runs []flows.Run
	for _, dir := range dirs {
		run, err := flows.ReadRun(dir)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	if to == "-" {
		return report.Write(c.App.Writer, runs)
	}
	if err := writeReport(to, runs...); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, to)
	return nil
}

// writeReport puts the whole report in place of an older one, or nothing.
func writeReport(to string, runs ...flows.Run) error {
	var page bytes.Buffer
	if err := report.Write(&page, runs); err != nil {
		return err
	}
	return host.WriteFile(to, page.Bytes(), 0o644)
}
