package domains

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"libvirt.org/go/libvirt"

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
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	s, err := m.On.NewStream(0)
	if err != nil {
		return err
	}
	defer func() { _ = s.Free() }()
	if err := d.OpenConsole("", s, libvirt.DOMAIN_CONSOLE_FORCE); err != nil {
		return err
	}
	return join(ctx, s, in, out)
}

// stream is what is used of libvirt's streams.
type stream interface {
	Send([]byte) (int, error)
	Recv([]byte) (int, error)
	Abort() error
}

// join joins a stream with in and out. Nobody uses the stream after it, so that it can be freed.
func join(ctx context.Context, s stream, in io.Reader, out io.Writer) error {
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
	users.Go(func() { ended <- fromConsole(s, out) })
	users.Go(func() { ended <- toConsole(within, s, keys) })
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	cancel()
	_ = s.Abort()
	users.Wait()
	return err
}

func fromConsole(s stream, out io.Writer) error {
	buffer := make([]byte, 4096)
	for {
		n, err := s.Recv(buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil || n <= 0 {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func toConsole(ctx context.Context, s stream, keys <-chan []byte) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case left, more := <-keys:
			for len(left) > 0 {
				sent, err := s.Send(left)
				if err != nil {
					return err
				}
				left = left[sent:]
			}
			if !more {
				return nil
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
