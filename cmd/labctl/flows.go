package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host"
)

var flowsCommand = &cli.Command{
	Name:  "flows",
	Usage: "check the flow files and mixes that run takes, and write a mix as flow files",
	Subcommands: []*cli.Command{
		{
			Name: "check", Usage: "check flow files, mixes, and folders of both, without a lab", ArgsUsage: "PATH…",
			Flags: []cli.Flag{
				jsonFlag,
				&cli.StringFlag{Name: "up", Usage: "what the network under test carries from client to server: a `RATE` in bit/s, such as 50M"},
				&cli.StringFlag{Name: "down", Usage: "what it carries from server to client: a `RATE`"},
			},
			Action: runFlowsCheck,
		},
		{
			Name: "expand", Usage: "write each flow of mixes as a flow file, for trafic or to change", ArgsUsage: "PATH…",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "o", Usage: "the `FOLDER` to write to, which must be empty or not there"},
			},
			Action: runFlowsExpand,
		},
	},
	Action: noFlowsCommand,
}

func noFlowsCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return noSuchCommand(c.Command.Subcommands, name, "labctl flows")
	}
	return cli.ShowSubcommandHelp(c)
}

// checkedFlow is a flow as JSON.
type checkedFlow struct {
	Label    string    `json:"label"`
	Class    string    `json:"class"`
	Protocol string    `json:"protocol"`
	Upload   bool      `json:"upload"`
	Port     int       `json:"port"`
	Streams  int       `json:"streams"`
	Sends    string    `json:"sends"`
	TOS      int       `json:"tos"`
	Starts   []float64 `json:"starts"` // s
	File     string    `json:"file"`
	Line     int       `json:"line"`
}

func runFlowsCheck(c *cli.Context) error {
	paths, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	path, err := testedPath(c)
	if err != nil {
		return err
	}
	all, err := flows.Load(paths...)
	if err != nil {
		return err
	}
	for _, w := range flows.Warnings(all, path) {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", host.Printable([]byte(w.String())))
	}
	checked := make([]checkedFlow, len(all))
	for i, f := range all {
		starts := make([]float64, len(f.Client.At))
		for n, at := range f.Client.At {
			starts[n] = at.Seconds()
		}
		checked[i] = checkedFlow{
			Label: f.Label, Class: f.Class, Protocol: f.Protocol(), Upload: f.Client.Upload(), Port: f.Client.Port,
			Streams: max(f.Client.Parallel, 1), Sends: f.Sends(), TOS: f.Client.TypeOfService(), Starts: starts, File: f.File, Line: f.Line,
		}
	}
	if c.Bool("json") {
		return printJSON(c, checked)
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FLOW\tKIND\tPROTOCOL\tPORT\tSENDS\tSTARTS")
	for i, f := range checked {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", f.Label, f.Class, direction(f), f.Port, f.Sends, starts(all[i].Client.At))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, flows.Summary(all))
	return nil
}

// testedPath is what --up and --down say of the network under test.
func testedPath(c *cli.Context) (flows.Path, error) {
	var p flows.Path
	for name, rate := range map[string]*float64{"up": &p.Up, "down": &p.Down} {
		if c.String(name) == "" {
			continue
		}
		var err error
		if *rate, err = flows.Rate(c.String(name)); err != nil {
			return p, usage{fmt.Sprintf("--%s is %q\n  %s", name, c.String(name), err)}
		}
	}
	return p, nil
}

func direction(f checkedFlow) string {
	if f.Upload {
		return f.Protocol + " up"
	}
	return f.Protocol
}

// starts are instants as they fit in a cell.
func starts(at []time.Duration) string {
	if len(at) < 2 {
		return "at " + at[0].String()
	}
	return strconv.Itoa(len(at)) + ", " + at[0].String() + " to " + at[len(at)-1].String()
}

func runFlowsExpand(c *cli.Context) error {
	paths, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	dir := c.String("o")
	if dir == "" {
		return usage{"labctl flows expand writes to the folder that -o names"}
	}
	all, err := flows.Load(paths...)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty: %s is in it\n  what lies there would be read with the flows: name another folder", dir, there[0].Name())
	}
	for _, f := range all {
		text, err := f.YAML()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Label+".yaml"), text, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.App.Writer, "%d flows written to %s\n", len(all), dir)
	return nil
}
