package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// capturer writes without end, and its last words when it is interrupted.
const capturer = `trap 'echo last words >&2; exit 3' INT; echo pcap; while :; do echo frame; done`

// hasty lets a capture be given up after so long.
func hasty(t *testing.T, after time.Duration) {
	t.Helper()
	before := captureEnd
	captureEnd = after
	t.Cleanup(func() { captureEnd = before })
}

// blocked is a reader that never takes what it is given.
type blocked struct {
	asked chan struct{}
	over  <-chan struct{} // the test
}

func (b blocked) Write([]byte) (int, error) {
	close(b.asked) // it is asked once
	<-b.over
	return 0, io.ErrClosedPipe
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func start(t *testing.T, script string) (*exec.Cmd, func(context.Context)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	return cmd, func(context.Context) { _ = cmd.Process.Signal(syscall.SIGINT) }
}

func none() {}

func TestStreamEndsByItself(t *testing.T) {
	var out bytes.Buffer
	cmd, interrupt := start(t, "echo frames; echo words >&2; exit 3")
	s := newSink(&out, none)
	words, err := stream(t.Context(), cmd, s, interrupt)
	var status *exec.ExitError
	if !errors.As(err, &status) || status.ExitCode() != 3 || string(words) != "words\n" || out.String() != "frames\n" || s.failure() != nil {
		t.Errorf("%q, %q, %v, %v", out.String(), words, err, s.failure())
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd, interrupt := start(t, capturer)
	s := newSink(writerFunc(func(b []byte) (int, error) {
		cancel()
		return len(b), nil
	}), none)
	words, err := stream(ctx, cmd, s, interrupt)
	if string(words) != "last words\n" || s.failure() != nil {
		t.Errorf("%q, %v, %v", words, err, s.failure())
	}
}

func TestStreamEndsWhenItsReaderIsGone(t *testing.T) {
	for reader, isError := range map[error]bool{syscall.EPIPE: false, syscall.ENOSPC: true} {
		cmd, interrupt := start(t, capturer)
		s := newSink(writerFunc(func([]byte) (int, error) { return 0, reader }), none)
		words, _ := stream(t.Context(), cmd, s, interrupt)
		if string(words) != "last words\n" || (s.failure() != nil) != isError || isError && !errors.Is(s.failure(), reader) {
			t.Errorf("%v: %q, %v", reader, words, s.failure())
		}
	}
}

// A reader that takes nothing is given up, and the last words come all the same.
func TestStreamEndsWhenItsReaderIsBlocked(t *testing.T) {
	for _, after := range []time.Duration{200 * time.Millisecond, 2 * time.Second, captureEnd} {
		hasty(t, after)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cmd, interrupt := start(t, capturer)
		out := blocked{make(chan struct{}), t.Context().Done()}
		go func() {
			<-out.asked
			cancel()
		}()
		s := newSink(out, none)
		words, _ := stream(ctx, cmd, s, interrupt)
		if !errors.Is(s.failure(), errBlocked) {
			t.Errorf("%q, %v", words, s.failure())
		}
		if string(words) == "last words\n" {
			return
		}
		t.Logf("%q after %v: on a busy machine they take longer", words, after)
	}
	t.Error("the last words do not come")
}

func TestStreamIsKilledWhenItDoesNotEnd(t *testing.T) {
	hasty(t, 200*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cmd, _ := start(t, `echo words >&2; exec sleep 3600`)
	cancel()
	words, err := stream(ctx, cmd, newSink(io.Discard, none), func(context.Context) {})
	if err == nil {
		t.Errorf("%q, and it ended well", words)
	}
}

func TestSinkTellsItsBeginning(t *testing.T) {
	begun := 0
	var out bytes.Buffer
	s := newSink(&out, func() {
		begun++
		if out.Len() > 0 {
			t.Error("told late")
		}
	})
	for range 3 {
		_, _ = s.Write([]byte("x"))
	}
	if begun != 1 || out.String() != "xxx" {
		t.Errorf("told %d times, %q", begun, out.String())
	}
}

// A guest may have ssh say anything, without end.
func TestLastWordsAreBounded(t *testing.T) {
	var w lastWords
	for range 100 {
		n, err := w.Write(bytes.Repeat([]byte("x"), wordsMost/3))
		if n != wordsMost/3 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	_, _ = w.Write([]byte("the end"))
	if len(w) != wordsMost || !bytes.HasSuffix(w, []byte("the end")) {
		t.Errorf("%d bytes, at the end %q", len(w), w[max(0, len(w)-10):])
	}
}
