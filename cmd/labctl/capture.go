package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
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
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	out := &lateFile{name: c.String("write")}
	var to io.Writer = out
	if out.name == "-" {
		to = c.App.Writer
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a reader that goes away ends the capture, not labctl
	account, err := b.Capture(c.Context, lab.CaptureWanted{
		Node: c.String("node"), Filter: c.String("filter"), Count: c.Uint("count"), Duration: c.Duration("duration"),
	}, to)
	if account != nil {
		tellAccount(c, *account)
	}
	return errors.Join(err, out.Close())
}

func tellAccount(c *cli.Context, a lab.Account) {
	if c.Bool("json") {
		fmt.Fprintln(c.App.ErrWriter, a.JSON())
	} else {
		fmt.Fprintln(c.App.ErrWriter, a)
	}
}

// lateFile is a file that is made, for its owner alone as what it holds is others'
// talk, or emptied, with the first bytes written to it.
type lateFile struct {
	name string
	file atomic.Pointer[os.File] // Close does not wait for an open that hangs, as a FIFO's may
}

func (l *lateFile) Write(b []byte) (int, error) {
	if l.file.Load() == nil {
		f, err := os.OpenFile(l.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return 0, err
		}
		l.file.Store(f)
	}
	return l.file.Load().Write(b)
}

func (l *lateFile) Close() error {
	f := l.file.Load()
	if f == nil {
		return nil
	}
	return f.Close()
}
