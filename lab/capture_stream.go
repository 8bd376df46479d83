package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// How long a capture may take to end once it is asked to, and again once its
// reader has been given up.
var captureEnd = 20 * time.Second

// captureLate is how long after its duration a capture may end: it takes a slow
// node that long to begin.
const captureLate = time.Minute

// errBlocked means that the reader of a capture took nothing until it was given up.
var errBlocked = errors.New("its reader takes nothing, and was waited for long enough")

// stream runs cmd, which captures to out, until it ends, out takes no more, or ctx
// is done, and returns its last words. interrupt asks it to end.
func stream(ctx context.Context, cmd *exec.Cmd, out *sink, interrupt func(context.Context)) ([]byte, error) {
	var words lastWords
	cmd.Stdout, cmd.Stderr = out, &words
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return words, err
	case <-ctx.Done():
	case <-out.over:
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), captureEnd)
	defer cancel()
	interrupt(asking)
	for _, press := range []func(){
		func() { out.end(errBlocked) },
		func() { _ = cmd.Process.Kill() },
	} {
		select {
		case err := <-ended:
			return words, err
		case <-time.After(captureEnd):
			press()
		}
	}
	err := <-ended
	return words, err
}

// The most that is kept of what a program says (bytes), which a guest may have it say without end.
const wordsMost = 64 << 10

// lastWords is the end of what was written to it.
type lastWords []byte

func (w *lastWords) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	if over := len(*w) - wordsMost; over > 0 {
		*w = append((*w)[:0], (*w)[over:]...)
	}
	return len(b), nil
}

// sink passes on what is written to it until that fails or is given up, and takes
// the rest for nothing: dumpcap gets to its last words all the same.
type sink struct {
	to     io.Writer
	begins func() // called before the first byte
	begun  sync.Once
	over   chan struct{} // closed when no more is passed on
	ends   sync.Once
	err    error // why; set before over is closed
}

func newSink(to io.Writer, begins func()) *sink {
	return &sink{to: to, begins: begins, over: make(chan struct{})}
}

func (s *sink) Write(b []byte) (int, error) {
	s.begun.Do(s.begins)
	select {
	case <-s.over:
		return len(b), nil
	default:
	}
	passed := make(chan error, 1)
	own := bytes.Clone(b) // it may still be written after this call
	go func() {
		_, err := s.to.Write(own)
		passed <- err
	}()
	select {
	case err := <-passed:
		if err != nil {
			s.end(err)
		}
	case <-s.over:
	}
	return len(b), nil
}

func (s *sink) end(err error) {
	s.ends.Do(func() {
		s.err = err
		close(s.over)
	})
}

// failure is why not all was passed on. That nobody reads a pipe any more is
// none: who has seen enough goes away.
func (s *sink) failure() error {
	select {
	case <-s.over:
	default:
		return nil
	}
	if errors.Is(s.err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("write the capture: %w", s.err)
}
