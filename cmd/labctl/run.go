package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

var runCommand = &cli.Command{
	Name:      "run",
	Usage:     "run trafic's flow files through the lab, and keep what was measured",
	ArgsUsage: "FLOWS…",
	Description: "FLOWS are flow files, folders of them, and mix descriptions. The run's folder, LAB-TIME in that of --runs, gets both ends' results,\n" +
		"the captured frames, the summary as JSON and CSV, and a report to read. Exits 0 only where every flow went through, the capture is whole,\n" +
		"and what --expect asks for was met.",
	Flags: []cli.Flag{
		labFlag, eventsFlag, jsonFlag,
		&cli.StringFlag{Name: "runs", Value: "runs", Usage: "`FOLDER` of runs"},
		&cli.StringFlag{Name: "client", Usage: "`NODE` that runs the flows' clients; the first on the first side that does not forward if left out"},
		&cli.StringFlag{Name: "server", Usage: "`NODE` that runs their servers; the first on the other side, or beyond nodes that forward, if left out"},
		&cli.StringFlag{Name: "filter", Usage: "capture `FILTER` in libpcap's language"},
		&cli.IntFlag{Name: "snaplen", Usage: "capture `BYTES` of each frame; 0 for all"},
		&cli.Float64Flag{Name: "missing", Value: 0.1, Usage: "`PERCENT` of the frames that may be missing in the capture of a run that is trusted"},
		&cli.DurationFlag{Name: "grace", Value: 2 * time.Minute, Usage: "end flows that still run so long (`TIME`) after the last is planned to"},
		&cli.StringFlag{Name: "expect", Usage: "`FILE` of what flows are expected to reach"},
		&cli.StringFlag{Name: "junit", Usage: "write the result to `FILE` as JUnit XML"},
	},
	Action: runRun,
}

func runRun(c *cli.Context) error {
	args, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	wanted, err := runWanted(c, args)
	if err != nil {
		return err
	}
	expected, err := expectations(c.String("expect"))
	if err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	for _, p := range flows.Warnings(wanted.Flows, b.Carries(c.Context, wanted.Client, wanted.Server)) {
		fmt.Fprintln(c.App.ErrWriter, p)
	}
	var run flows.Run
	err = working(c, func(tell lab.Tell) (err error) {
		run, err = b.Run(c.Context, wanted, tell)
		return err
	})
	if run.Dir == "" {
		return err
	}
	verdicts := expected.Judge(run)
	told := errors.Join(keep(c, run, verdicts), tellRun(c, run, verdicts))
	switch {
	case err != nil || told != nil:
		return errors.Join(err, told)
	case !run.Manifest.Trusted || slices.ContainsFunc(verdicts, func(v flows.Verdict) bool { return !v.OK }):
		return status(exitFailed)
	}
	return nil
}

// runWanted reads the flows, and what is asked for beside them.
func runWanted(c *cli.Context, paths []string) (lab.RunWanted, error) {
	w := lab.RunWanted{
		Dir: c.String("runs"), Client: c.String("client"), Server: c.String("server"), Filter: c.String("filter"),
		Snap: c.Int("snaplen"), Most: c.Float64("missing") / 100, Grace: c.Duration("grace"),
	}
	switch {
	case w.Snap < 0 || w.Snap > 262144:
		return w, usage{"--snaplen takes 0 to 262144 bytes"}
	case !(w.Most >= 0 && w.Most <= 1):
		return w, usage{"--missing takes 0 to 100 per cent"}
	case w.Grace < 0:
		return w, usage{"--grace is before the end"}
	}
	var err error
	if w.Flows, err = flows.Load(paths...); err != nil {
		return w, err
	}
	w.Texts = make(map[string][]byte)
	for _, f := range w.Flows {
		if w.Texts[f.Label+".yaml"], err = f.YAML(); err != nil {
			return w, err
		}
	}
	return w, nil
}

func expectations(file string) (flows.Expectations, error) {
	if file == "" {
		return flows.Expectations{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return flows.Expectations{}, err
	}
	return flows.LoadExpectations(file, text)
}

// keep writes the run's report, and its result for CI.
func keep(c *cli.Context, run flows.Run, verdicts []flows.Verdict) error {
	err := writeReport(filepath.Join(run.Dir, flows.ReportFile), run)
	if name := c.String("junit"); name != "" {
		f, ferr := os.Create(name)
		if ferr != nil {
			return errors.Join(err, ferr)
		}
		err = errors.Join(err, flows.JUnit(f, run, verdicts), f.Close())
	}
	return err
}

// tellRun says what came of a run.
func tellRun(c *cli.Context, run flows.Run, verdicts []flows.Verdict) error {
	if c.Bool("json") {
		return printJSON(c, struct {
			Dir      string          `json:"dir"`
			Manifest flows.Manifest  `json:"manifest"`
			Results  []flows.Result  `json:"results"`
			Verdicts []flows.Verdict `json:"verdicts"`
		}{run.Dir, run.Manifest, run.Results, verdicts})
	}
	w := c.App.Writer
	m := run.Manifest
	fmt.Fprintf(w, "run %s: %s, %s\n", m.ID, m.State, map[bool]string{true: "to be trusted", false: "not to be trusted"}[m.Trusted])
	for _, why := range m.Wrong {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(host.Printable([]byte(why)), "\n", "\n  "))
	}
	printResults(w, run)
	for _, v := range verdicts {
		fmt.Fprintf(w, "%s %s: %s\n", map[bool]string{true: "met:", false: "NOT met:"}[v.OK], v.Name(), host.Printable([]byte(v.Got)))
	}
	fmt.Fprintf(w, "everything is in %s; %s is to be read\n", run.Dir, filepath.Join(run.Dir, flows.ReportFile))
	return nil
}

// printResults is a line for each flow: all its starts together.
func printResults(w io.Writer, run flows.Run) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FLOW\tPROTOCOL\tSTARTS\tFAILED\tRECEIVED\tRATE\tRTT\tRETRANSMITS\tJITTER\tLOST")
	for _, f := range run.Totals() {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%.2f Mbit/s\t%.1f ms\t%d\t%.2f ms\t%d\n",
			f.Label, f.Protocol, f.Starts, f.Failed, f.Received, f.Bits()/1e6, f.RTT, f.Retransmits, f.Jitter, f.Lost)
	}
	t.Flush()
	for _, s := range run.Results {
		if s.Failed != "" {
			fmt.Fprintf(w, "flow %s, start %d: %s\n", s.Label, s.Nth+1, host.Printable([]byte(s.Failed)))
		}
	}
}
