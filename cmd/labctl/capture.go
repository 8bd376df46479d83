package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var captureCommand = &cli.Command{
	Name:  "capture",
	Usage: "stream what a capture NIC receives as pcap, with an account of every frame lost on the way",
	Description: "Until interrupted, or --count or --duration is reached. As for Wireshark:\n" +
		"labctl capture -w - | wireshark -k -i -",
	Flags: []cli.Flag{
		labFlag,
		&cli.StringFlag{Name: "write", Aliases: []string{"w"}, Usage: "`FILE` to write, - for stdout"},
		&cli.StringFlag{Name: "node", Usage: "`NAME` of the node that captures; not needed where there is only one"},
		&cli.StringFlag{Name: "filter", Usage: "capture `FILTER` in libpcap's language"},
		&cli.UintFlag{Name: "count", Usage: "end after `N` frames"},
		&cli.DurationFlag{Name: "duration", Usage: "end after `TIME`"},
		jsonFlag,
	},
	Action: runCapture,
}

func runCapture(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.String("write") == "" {
		return usage{"labctl capture takes --write FILE, or --write - for stdout"}
	}
	if d := c.Duration("duration"); d < 0 || d%time.Second != 0 {
		return usage{"--duration takes whole seconds"}
	}
	h, err := asRoot(c)
	if err != nil {
		return err
	}
	defer h.Close()
	b, err := openLab(c, h)
	if err != nil {
		return err
	}
	out, closeOut, err := captureWriter(c)
	if err != nil {
		return err
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a reader that goes away ends the capture, not labctl
	account, err := b.Capture(c.Context, lab.CaptureWanted{
		Node: c.String("node"), Filter: c.String("filter"), Count: c.Uint("count"), Duration: c.Duration("duration"),
	}, out)
	err = errors.Join(err, closeOut())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		fmt.Fprintln(c.App.ErrWriter, account.JSON())
	} else {
		fmt.Fprintln(c.App.ErrWriter, account)
	}
	return nil
}

func captureWriter(c *cli.Context) (io.Writer, func() error, error) {
	if c.String("write") == "-" {
		return c.App.Writer, func() error { return nil }, nil
	}
	f, err := os.Create(c.String("write"))
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}
