package domains

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("an old line\n", 1<<20) // 12 MiB
	for name, test := range map[string]struct {
		log  string
		want string
	}{
		"nothing":          {"", ""},
		"few":              {"one\r\ntwo\r\n", "one\ntwo"},
		"escape sequences": {"\x1b[2J\x1b]0;title\x07boot\x9b31m\n", "?[2J?]0;title?boot\ufffd31m"},
		"many":             {long + "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12"},
	} {
		t.Run(name, func(t *testing.T) {
			m := demoMachine(t, "tshark")
			must(t, os.WriteFile(m.Boot.Console, []byte(test.log), 0o600))
			if got := m.LastLines(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	if got := demoMachine(t, "tshark").LastLines(); got != "" {
		t.Errorf("%q of a machine that printed nothing yet", got)
	}
}

func TestTailIsBounded(t *testing.T) {
	m := demoMachine(t, "tshark")
	f, err := os.Create(m.Boot.Console)
	must(t, err)
	must(t, f.Truncate(1<<40)) // a guest that never stops printing
	_, err = f.WriteAt([]byte("the end"), 1<<40-7)
	must(t, err)
	must(t, f.Close())
	if b := tail(m.Boot.Console); len(b) != consoleTail || !strings.HasSuffix(string(b), "the end") {
		t.Errorf("%d bytes", len(b))
	}
}

func TestPanicked(t *testing.T) {
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"boots":    {"Linux version 6\nlogin: ", false},
		"panicked": {"Linux version 6\n[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n", true},
		"long ago": {"Kernel panic - not syncing\n" + strings.Repeat("x", consoleTail), false},
	} {
		m := demoMachine(t, "tshark")
		must(t, os.WriteFile(m.Boot.Console, []byte(test.log), 0o600))
		if got := m.Panicked(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// wire is a terminal: it says what came in, and then nothing until it is closed.
type wire struct {
	says    io.Reader
	sent    bytes.Buffer
	aborted chan struct{}
	inside  atomic.Int32 // calls of Read
}

func (w *wire) Read(b []byte) (int, error) {
	w.inside.Add(1)
	defer w.inside.Add(-1)
	if n, err := w.says.Read(b); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	<-w.aborted
	return 0, errors.New("aborted")
}

func (w *wire) Write(b []byte) (int, error) {
	return w.sent.Write(b)
}

func (w *wire) Close() error {
	close(w.aborted)
	return nil
}

// silent is a terminal at which nobody types.
type silent struct{ context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.Done()
	return 0, io.EOF
}

// full takes nothing.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestJoin(t *testing.T) {
	broken, interrupted := errors.New("broken"), errors.New("interrupted")
	for name, test := range map[string]struct {
		in, says io.Reader
		out      io.Writer // nil for one that takes all
		end      error     // of the context
		sent     string
		want     error
	}{
		"in ends":            {in: strings.NewReader("abc"), sent: "abc"},
		"the escape":         {in: strings.NewReader("ab\x1dcd"), sent: "ab"},
		"the escape, split":  {in: iotest.OneByteReader(strings.NewReader("ab\x1dcd")), sent: "ab"},
		"in breaks":          {in: io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), sent: "a", want: broken},
		"the stream breaks":  {says: iotest.ErrReader(broken), want: broken},
		"out breaks":         {says: strings.NewReader("x"), out: full{broken}, want: broken},
		"the context's end":  {end: interrupted, want: interrupted},
		"the end of silence": {says: strings.NewReader("x"), end: interrupted, want: interrupted},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.in == nil {
				test.in = silent{t.Context()}
			}
			if test.says == nil {
				test.says = strings.NewReader("")
			}
			if test.out == nil {
				test.out = io.Discard
			}
			if test.end != nil {
				cancel(test.end)
			}
			w := &wire{says: test.says, aborted: make(chan struct{})}
			if err := join(ctx, w, test.in, test.out); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if w.inside.Load() != 0 {
				t.Error("the terminal is still used")
			}
			select {
			case <-w.aborted:
			default:
				t.Error("the terminal was not closed")
			}
			if got := w.sent.String(); got != test.sent {
				t.Errorf("sent %q, want %q", got, test.sent)
			}
		})
	}
}
