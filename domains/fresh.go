package domains

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/mami-project/labctl/host"
)

// What goes on from saved memory is another run of the same machine: its clock stands
// still since, and what it draws at random would be what another run of it draws.

// How far from the host's a clock may be that was set, beside what setting it took (chronyd
// does the rest), and how often it is set anew.
const (
	clockWithin = 100 * time.Millisecond
	clockTries  = 3
)

// isFresh sets the clock of a machine that goes on from saved memory, and mixes bytes of the
// host's into what it draws at random from, as its kernel does where it knows of VM
// generation ids. Source: random(4).
func isFresh(ctx context.Context, m Machine) error {
	var fresh [64]byte
	_, _ = rand.Read(fresh[:]) // never fails
	set, mix := m.setClock, m.agent().mix
	if m.Works {
		w, err := m.agent().Worker(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }()
		set, mix = w.setClock, w.mix
	}
	if err := mix(ctx, fresh[:]); err != nil {
		return err
	}
	for try := 1; ; try++ {
		sent := time.Now()
		said, err := set(ctx, sent)
		if err != nil {
			return err
		}
		off := apart(said, sent, time.Now())
		if off.Abs() <= clockWithin {
			return nil
		}
		if try == clockTries {
			return fmt.Errorf("its clock is %v from the host's after it was set %d times", off, clockTries)
		}
	}
}

// mix mixes bytes into what the node draws at random from.
func (a Agent) mix(ctx context.Context, fresh []byte) error {
	return a.WriteFile(ctx, "/dev/urandom", fresh)
}

func (w *Worker) mix(ctx context.Context, fresh []byte) error {
	_, err := w.Ask(ctx, fmt.Sprintf("random %x", fresh))
	return err
}

// setClock sets the clock, and returns what it shows then.
func (w *Worker) setClock(ctx context.Context, to time.Time) (time.Time, error) {
	says, err := w.Ask(ctx, fmt.Sprintf("clock %d %d", to.Unix(), to.Nanosecond()))
	if err != nil {
		return time.Time{}, err
	}
	var seconds, nanos int64
	if _, err := fmt.Sscan(string(says), &seconds, &nanos); err != nil {
		return time.Time{}, fmt.Errorf("the node's worker: clock: it says %s", host.Excerpt(says))
	}
	return time.Unix(seconds, nanos), nil
}

// LetClockStep has chronyd step the clock the next times, as at its start, and not slew it: what goes
// on from what is saved then is set to our time, but for some milliseconds. A node without chronyd
// keeps its own time. Source: chronyc(1), makestep.
func (m Machine) LetClockStep(ctx context.Context) error {
	if m.Works && m.askChronyd(ctx) == nil {
		return nil
	}
	_, err := m.agent().Exec(ctx, nil, "chronyc", "-h", "/run/chrony/chronyd.sock", "makestep", fmt.Sprint(stepFrom), fmt.Sprint(stepFor))
	if isRefused(err) { // there is no chronyc
		return nil
	}
	return err
}

// askChronyd has the machine's worker ask as chronyc does, which takes software emulation a quarter of a second to start.
func (m Machine) askChronyd(ctx context.Context) error {
	w, err := m.agent().Worker(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	answer, err := w.Ask(ctx, fmt.Sprintf("chronyd %x", makestep(stepFrom, stepFor)))
	if err != nil {
		return err
	}
	return chronyDid(answer)
}

// setClock sets the machine's clock, and returns what it shows then.
func (m Machine) setClock(ctx context.Context, to time.Time) (time.Time, error) {
	a := m.agent()
	if m.Guest == guestAlpine { // whose date knows whole seconds only
		if err := a.SetTime(ctx, to); err != nil {
			return time.Time{}, err
		}
		return a.Time(ctx)
	}
	// the agent's own command has hwclock wait for the next second
	r, err := a.Exec(ctx, nil, "date", "-s", fmt.Sprintf("@%d.%09d", to.Unix(), to.Nanosecond()))
	if err == nil && r.Code != 0 {
		err = r.Failed()
	}
	if err != nil {
		return time.Time{}, err
	}
	return a.Time(ctx)
}

// apart is how far a clock is off at the least, ahead or behind, that was sent our time and
// has answered then: it may lag by what setting it took.
func apart(said, sent, answered time.Time) time.Duration {
	switch {
	case said.Before(sent):
		return said.Sub(sent)
	case said.After(answered):
		return said.Sub(answered)
	}
	return 0
}
