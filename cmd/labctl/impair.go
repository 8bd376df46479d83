package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

var impairCommand = &cli.Command{
	Name:  "impair",
	Usage: "show, change and clear what the network under test does to frames",
	Subcommands: []*cli.Command{
		{
			Name:   "show",
			Usage:  "show each direction: what the lab's file says, what is set, and what was measured",
			Flags:  []cli.Flag{labFlag, jsonFlag},
			Action: runImpairShow,
		},
		{
			Name:  "set",
			Usage: "have one direction do something else from now on",
			Description: "What is not named the direction does not do. labctl up has it as in the lab's file again.\n" +
				"  labctl impair set --from client --rate 50mbit --delay 92ms\n" +
				"labctl verify --calibrate measures what came of it.",
			Flags:  append([]cli.Flag{labFlag, networkFlag, fromFlag}, impairFlags...),
			Action: runImpairSet,
		},
		{
			Name:   "clear",
			Usage:  "have the directions of the network under test do nothing to frames, or one of them",
			Flags:  []cli.Flag{labFlag, networkFlag, fromFlag},
			Action: runImpairClear,
		},
		{
			Name:   "profiles",
			Usage:  "list impairments that have a name",
			Flags:  []cli.Flag{jsonFlag},
			Action: runImpairProfiles,
		},
	},
	Action: func(c *cli.Context) error {
		if name := c.Args().First(); name != "" {
			return noSuchCommand(c.Command.Subcommands, name, "labctl impair")
		}
		return cli.ShowSubcommandHelp(c)
	},
}

var (
	networkFlag = &cli.StringFlag{Name: "network", Usage: "`NAME` of the network; not needed where only one can be impaired"}
	fromFlag    = &cli.StringFlag{Name: "from", Usage: "the direction that begins at `SIDE`"}
)

// impairWords are the flags of impair set, named as the keys of a lab file.
var impairWords = []struct {
	name, usage string
	to          func(*topology.Impairment) *string
}{
	{"profile", "values by `NAME`, which the others change", func(i *topology.Impairment) *string { return &i.Profile }},
	{"rate", "`BITS` a second, such as 50mbit", func(i *topology.Impairment) *string { return &i.Rate }},
	{"delay", "`TIME` that a frame is held, such as 92ms", func(i *topology.Impairment) *string { return &i.Delay }},
	{"jitter", "`TIME` that the delay spreads by", func(i *topology.Impairment) *string { return &i.Jitter }},
	{"distribution", "`NAME` of how it spreads: uniform, normal, pareto or paretonormal", func(i *topology.Impairment) *string { return &i.Distribution }},
	{"loss", "`PERCENT` of frames that are lost, such as 0.025%", func(i *topology.Impairment) *string { return &i.Loss }},
	{"loss-burst", "`FRAMES` that are lost in a row on average", func(i *topology.Impairment) *string { return &i.Burst }},
	{"duplicate", "`PERCENT` of frames that come twice", func(i *topology.Impairment) *string { return &i.Duplicate }},
	{"reorder", "`PERCENT` of frames that are not held", func(i *topology.Impairment) *string { return &i.Reorder }},
	{"corrupt", "`PERCENT` of frames with a changed bit", func(i *topology.Impairment) *string { return &i.Corrupt }},
	{"queue", "`SIZE` of what waits for the rate, such as 256KiB", func(i *topology.Impairment) *string { return &i.Queue }},
	{"aqm", "`NAME` of how that queue is kept: fifo, fq_codel or pie", func(i *topology.Impairment) *string { return &i.AQM }},
}

var impairFlags = func() []cli.Flag {
	var all []cli.Flag
	for _, w := range impairWords {
		all = append(all, &cli.StringFlag{Name: w.name, Usage: w.usage})
	}
	return all
}()

func runImpairShow(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	all := b.Impairments(c.Context)
	if c.Bool("json") {
		return printJSON(c, all)
	}
	if len(all) == 0 {
		fmt.Fprintf(c.App.Writer, "lab %s has no network under test that labctl could impair\n", b.Lab.Name)
		return nil
	}
	return printImpairments(c.App.Writer, all)
}

// printImpairments prints a few lines for each direction.
func printImpairments(w io.Writer, all []lab.ImpairmentStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range all {
		now := s.Now
		if s.Failed != "" {
			now = "not known: " + s.Failed
		}
		fmt.Fprintf(t, "%s %s\t%s\t(%s)\n", s.Network, s.Direction, now, s.At)
		if !s.As && s.Failed == "" {
			fmt.Fprintf(t, "\tthe lab's file says %s\n", s.File)
		}
		if s.Limits != "" {
			fmt.Fprintf(t, "\tqueues hold %s\n", s.Limits)
		}
		for _, m := range s.Mirrors {
			fmt.Fprintf(t, "\tthe mirror of %s copies its frames %s\n", m.Node, placeText(m))
		}
		if s.Measured != nil {
			fmt.Fprintf(t, "\tmeasured: %s\n", strings.TrimPrefix(s.Measured.String(), s.Direction+": "))
		}
	}
	return t.Flush()
}

// placeText says what a mirror's copy of a direction's frames has been through.
func placeText(m lab.MirrorPlace) string {
	if m.At == lab.PlaceBefore {
		return "before that"
	}
	return "after that"
}

func runImpairSet(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.String("from") == "" {
		return usage{"impair set takes --from SIDE, where the direction begins"}
	}
	var spec topology.Impairment
	var given []string
	for _, w := range impairWords {
		if c.IsSet(w.name) {
			*w.to(&spec) = c.String(w.name)
			given = append(given, w.name)
		}
	}
	if len(given) == 0 {
		return usage{"impair set is told to set nothing\n  labctl impair clear --from " + c.String("from") + " has the direction do nothing"}
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	what, err := b.SetImpairment(c.Context, c.String("network"), c.String("from"), spec)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, what)
	return nil
}

func runImpairClear(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	return b.ClearImpairments(c.Context, c.String("network"), c.String("from"))
}

// profile is a profile as JSON.
type profile struct {
	topology.Profile
	Impair string `json:"impair"` // in the words of a lab file
}

func runImpairProfiles(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.Bool("json") {
		all := []profile{}
		for _, p := range topology.Profiles() {
			all = append(all, profile{p, p.String()})
		}
		return printJSON(c, all)
	}
	for i, p := range topology.Profiles() {
		if i > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		fmt.Fprintf(c.App.Writer, "%s: %s\n  %s\n  source: %s\n", p.Name, p.About, p, p.Source)
	}
	return nil
}
