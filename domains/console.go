package domains

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"

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
// escape byte 0x1d (Ctrl-]) comes in, or the machine ends.
func (m Machine) Attach(in io.Reader, out io.Writer) error {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	stream, err := m.On.NewStream(0)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Free() }()
	if err := d.OpenConsole("", stream, libvirt.DOMAIN_CONSOLE_FORCE); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- fromConsole(stream, out) }()
	go func() { ended <- toConsole(stream, in) }()
	err = <-ended
	_ = stream.Abort()
	return err
}

func fromConsole(stream *libvirt.Stream, out io.Writer) error {
	buffer := make([]byte, 4096)
	for {
		n, err := stream.Recv(buffer)
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

const escape = 0x1d // Ctrl-]

func toConsole(stream *libvirt.Stream, in io.Reader) error {
	buffer := make([]byte, 256)
	for {
		n, err := in.Read(buffer)
		keys := buffer[:n]
		leave := bytes.IndexByte(keys, escape)
		if leave >= 0 {
			keys = keys[:leave]
		}
		for len(keys) > 0 {
			sent, err := stream.Send(keys)
			if err != nil {
				return err
			}
			keys = keys[sent:]
		}
		if leave >= 0 || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
