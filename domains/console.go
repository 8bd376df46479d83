package domains

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// How much of a console's log is looked at, and how many of its lines are shown.
const (
	consoleTail  = 64 << 10
	consoleLines = 12
)

// panicked is what Linux prints when it gives up.
var panicked = []byte("Kernel panic - not syncing")

// LastLines are the last lines that the machine printed on its console, fit for a terminal.
func (m Machine) LastLines() string {
	lines := strings.Split(host.Excerpt(tail(m.Boot.Console)), "\n")
	return strings.Join(lines[max(0, len(lines)-consoleLines):], "\n")
}

// Panicked says whether the machine's kernel has given up.
func (m Machine) Panicked() bool { return bytes.Contains(tail(m.Boot.Console), panicked) }

// tail is the end of a file; of one that cannot be read, nothing.
func tail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if s, err := f.Stat(); err == nil && s.Size() > consoleTail {
		_, _ = f.Seek(-consoleTail, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, consoleTail))
	return b
}

// Attach joins the machine's serial console with in and out until in ends, the
// escape byte 0x1d (Ctrl-]) comes in, the machine ends, or ctx does, which alone
// is an error. A Read of in may go on after it, and what that reads is lost.
func (m Machine) Attach(ctx context.Context, in io.Reader, out io.Writer) error {
	path, err := m.consolePath()
	if err != nil {
		return err
	}
	// the terminal itself, not a stream of libvirt's: one that sends and receives
	// at once can hang with all of its connection
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return join(ctx, tty, in, out)
}

// consolePath is the pseudo-terminal on which QEMU shows the running machine's console.
func (m Machine) consolePath() (string, error) {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Free() }()
	x, err := describe(d)
	if err != nil {
		return "", err
	}
	if x.Devices != nil {
		for _, s := range x.Devices.Serials {
			if s.Source != nil && s.Source.Pty != nil && s.Source.Pty.Path != "" {
				return s.Source.Pty.Path, nil
			}
		}
	}
	return "", fmt.Errorf("%s has no console: it is not running", m.Node.Name)
}

// join joins a terminal with in and out, and closes it. Nobody uses it afterwards.
func join(ctx context.Context, tty io.ReadWriteCloser, in io.Reader, out io.Writer) error {
	within, cancel := context.WithCancel(ctx)
	keys := make(chan []byte)
	ended := make(chan error, 3)
	go func() { // it may stay in a Read
		defer close(keys)
		if err := readKeys(within, in, keys); err != nil {
			ended <- err
		}
	}()
	var users sync.WaitGroup
	users.Go(func() { ended <- fromConsole(tty, out) })
	users.Go(func() { ended <- toConsole(within, tty, keys) })
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // also where both came at once
	}
	cancel()
	_ = tty.Close()
	users.Wait()
	return err
}

// fromConsole shows what the console prints until its machine ends, which a
// pseudo-terminal tells by EIO.
func fromConsole(tty io.Reader, out io.Writer) error {
	_, err := io.Copy(out, tty)
	if errors.Is(err, unix.EIO) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func toConsole(ctx context.Context, tty io.Writer, keys <-chan []byte) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case pressed, more := <-keys:
			if !more {
				return nil
			}
			if _, err := tty.Write(pressed); err != nil {
				return err
			}
		}
	}
}

const escape = 0x1d // Ctrl-]

// readKeys passes on what in gives, up to its end or the escape byte.
func readKeys(ctx context.Context, in io.Reader, keys chan<- []byte) error {
	for {
		buffer := make([]byte, 256)
		n, err := in.Read(buffer)
		read, _, leave := bytes.Cut(buffer[:n], []byte{escape})
		select {
		case keys <- read:
		case <-ctx.Done():
			return nil
		}
		if leave || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
