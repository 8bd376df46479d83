package probe

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// stream is what was sent by a plan and what came of it.
type stream struct {
	plan
	offset  int       // of the payload in a frame
	sent    []sent    // by number
	came    []arrival // by time
	dropped int       // frames that came and found the receiving socket full
	blank   []byte
	mark    uint32
	first   uint32 // number on the line
}

// sent is a frame that went in.
type sent struct {
	at      int64         // ns of Unix time, before it was handed over
	took    time.Duration // to hand it over
	leads   bool          // its batch: nothing was sent just before it
	past    bool          // the queueing discipline
	refused bool          // by a full queue
}

// arrival is a frame that came out, perhaps again.
type arrival struct {
	number int
	at     int64 // ns of Unix time
	frame  []byte
}

// run sends by a plan and gathers what comes.
func (l *line) run(ctx context.Context, p plan) (stream, error) {
	s := stream{plan: p, offset: l.offset, blank: l.blank(p.size), mark: l.mark, first: l.next}
	r := &receiver{line: l, ctx: ctx}
	if err := r.until(time.Time{}); err != nil {
		return s, err
	}
	defer context.AfterFunc(ctx, func() { _ = r.until(time.Time{}) })()
	sending := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: its timers' slack ends with the thread
		err := l.send(ctx, &s, &r.distinct)
		sending <- errors.Join(err, r.ends(len(s.sent), p, err != nil))
	}()
	rerr := r.receive(&s)
	serr := <-sending
	l.next += uint32(len(s.sent))
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	if serr != nil || rerr != nil {
		return s, errors.Join(serr, rerr)
	}
	var err error
	s.dropped, err = l.dropped()
	s.came = slices.DeleteFunc(s.came, func(a arrival) bool { return a.number >= len(s.sent) })
	slices.SortStableFunc(s.came, func(a, b arrival) int { return int(a.at - b.at) })
	return s, err
}

// send sends by the stream's plan, and notes what it sent.
func (l *line) send(ctx context.Context, s *stream, came *atomic.Int64) error {
	// Timers that fire when they are due, not when it suits: this thread's alone.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("set timer slack", err)
	}
	frame := slices.Clone(s.blank)
	put := func(fd int, leads bool) error {
		number(frame, l.offset, l.mark, s.first+uint32(len(s.sent)))
		f := sent{leads: leads, past: fd == l.past}
		before := time.Now()
		err := hand(fd, frame)
		f.at, f.took, f.refused = before.UnixNano(), time.Since(before), errors.Is(err, unix.ENOBUFS)
		if err != nil && !f.refused {
			return err
		}
		s.sent = append(s.sent, f)
		return nil
	}
	start := time.Now()
	due := start
	for tick, n := 1, 0; n < s.frames && due.Sub(start) < s.within && (!s.knock || came.Load() == 0); tick++ {
		for i := 0; i < s.batch && n < s.frames; i++ {
			if err := put(l.out, i == 0); err != nil {
				return err
			}
			n++
		}
		if s.bypass > 0 && tick%s.bypass == 0 {
			if err := put(l.past, false); err != nil {
				return err
			}
		}
		due = due.Add(s.every)
		if late := time.Now(); !s.catchUp && late.After(due) {
			due = late.Add(s.every / 2)
		}
		if err := sleep(ctx, due); err != nil {
			return err
		}
		if s.catchUp && time.Since(start) > s.within {
			return nil
		}
	}
	return nil
}

// hand gives a frame to a link; a full queue is ENOBUFS.
func hand(fd int, frame []byte) error {
	for {
		_, err := unix.Write(fd, frame)
		if !errors.Is(err, unix.EINTR) {
			if errors.Is(err, unix.EAGAIN) { // the socket's buffer is full: so is the queue
				err = unix.ENOBUFS
			}
			return os.NewSyscallError("send", err)
		}
	}
}

// sleep waits until then; a sleeping thread hears of ctx's end every now and then.
func sleep(ctx context.Context, until time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := min(time.Until(until), 10*time.Millisecond)
		if left <= 0 {
			return nil
		}
		t := unix.NsecToTimespec(left.Nanoseconds())
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sleep", err)
		}
	}
}

// receiver gathers a stream's arrivals until its deadline.
type receiver struct {
	*line
	ctx      context.Context
	mutex    sync.Mutex   // of the deadline
	distinct atomic.Int64 // frames that came
	total    atomic.Int64 // frames that were sent, once all are
}

// until sets the deadline; it is now once ctx has ended.
func (r *receiver) until(t time.Time) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.ctx.Err() != nil {
		t = time.Unix(1, 0)
	}
	return r.in.SetReadDeadline(t)
}

// ends is called when all frames were sent.
func (r *receiver) ends(frames int, p plan, failed bool) error {
	if failed {
		return r.until(time.Unix(1, 0))
	}
	r.total.Store(int64(frames))
	if r.distinct.Load() == int64(frames) {
		return r.until(time.Now().Add(p.grace))
	}
	return r.until(time.Now().Add(p.tail))
}

func (r *receiver) receive(s *stream) error {
	seen := map[int]bool{}
	for {
		frame, at, err := r.line.receive()
		if r.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		n, ok := numberOf(frame, r.offset, r.mark)
		if !ok || n < s.first {
			continue // of an earlier stream
		}
		a := arrival{number: int(n - s.first), at: at}
		if s.keep {
			a.frame = slices.Clone(frame)
		}
		s.came = append(s.came, a)
		if seen[a.number] {
			continue
		}
		seen[a.number] = true
		if r.distinct.Add(1) == r.total.Load() {
			if err := r.until(time.Now().Add(s.grace)); err != nil {
				return err
			}
		}
	}
}
