package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

var doctorCommand = &cli.Command{
	Name:      "doctor",
	Usage:     "look whether this host is fit for a lab, and how to make it so",
	ArgsUsage: "[FILE]",
	Description: "Each check is ok, a warning (labs work, but worse) or wrong (the lab could not work: exit 4). What is not ok\n" +
		"is told with why it matters and what mends it. doctor changes nothing.",
	Flags:  []cli.Flag{jsonFlag},
	Action: runDoctor,
}

// diagnosis is a lab.Diagnosis as JSON.
type diagnosis struct {
	Lab    string    `json:"lab"`
	From   string    `json:"from"`
	Fit    bool      `json:"fit"` // no check is wrong
	Checks []checked `json:"checks"`
}

// checked is one thing that was looked at.
type checked struct {
	Check    string    `json:"check"`
	State    string    `json:"state"` // ok, warning or wrong: that of the worst finding
	Found    string    `json:"found"` // what there is
	Findings []finding `json:"findings"`
}

type finding struct {
	State string `json:"state"` // warning or wrong
	What  string `json:"what"`
	Why   string `json:"why"`
	Fix   string `json:"fix"`
}

// How long libvirt may take to answer: it probes QEMU first, where it has been installed anew.
const libvirtPatience = time.Minute

func runDoctor(c *cli.Context) error {
	f, from, err := readFile(c)
	if err != nil {
		return err
	}
	if err := needSight(c); err != nil {
		return err
	}
	dir, err := labctlDir(c)
	if err != nil {
		return err
	}
	h, _ := host.ConnectWithin(c.Context, c.String("connect"), dir, libvirtPatience) // a silent one is a finding
	defer h.Close()
	d, err := lab.Doctor(c.Context, h, f, from)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(c, diagnosisOf(d))
	} else {
		err = printDiagnosis(c.App.Writer, diagnosisOf(d))
	}
	if err == nil && !d.Fit() {
		return status(exitUnfit)
	}
	return err
}

func diagnosisOf(d lab.Diagnosis) diagnosis {
	out := diagnosis{Lab: d.Lab, From: d.From, Fit: d.Fit(), Checks: []checked{}}
	for _, c := range d.Checks {
		told := checked{c.Name, c.State(), c.Found, []finding{}}
		for _, f := range c.Findings {
			told.Findings = append(told.Findings, finding{f.State(), f.What, f.Why, f.Fix})
		}
		out.Checks = append(out.Checks, told)
	}
	return out
}

func printDiagnosis(w io.Writer, d diagnosis) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range d.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.State, c.Check, inset(c.Found))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range d.Checks {
		for _, f := range c.Findings {
			fmt.Fprintf(w, "\n%s (%s): %s\n  why: %s\n  fix: %s\n", f.State, c.Check, inset(f.What), inset(f.Why), inset(f.Fix))
		}
	}
	fit := "is fit"
	if !d.Fit {
		fit = "is not fit"
	}
	_, err := fmt.Fprintf(w, "\nthis host %s for lab %s, from %s\n", fit, d.Lab, d.From)
	return err
}

// inset is text whose further lines stand below its first. What others have named,
// as a process that has a port, is made safe for a terminal.
func inset(text string) string {
	return strings.ReplaceAll(host.Printable([]byte(text)), "\n", "\n       ")
}
