package domains

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
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
// generation ids. Nothing waits for a process in it. Source: random(4).
func isFresh(ctx context.Context, m Machine) error {
	for try := 1; ; try++ {
		sent := time.Now()
		if err := m.setClock(ctx, sent); err != nil {
			return err
		}
		said, err := m.agent().Time(ctx)
		if err != nil {
			return err
		}
		off := apart(said, sent, time.Now())
		if off.Abs() <= clockWithin {
			break
		}
		if try == clockTries {
			return fmt.Errorf("its clock is %v from the host's after it was set %d times", off, clockTries)
		}
	}
	var fresh [64]byte
	_, _ = rand.Read(fresh[:]) // never fails
	if err := m.agent().WriteFile(ctx, "/dev/urandom", fresh[:]); err != nil {
		return err
	}
	return nil
}

// Settle has chronyd step the clock by the little that it is still off, as at its start.
// Nobody waits for it: it takes an emulated machine as long as half of its proof.
// Source: chronyc(1), makestep.
func (m Machine) Settle(ctx context.Context) error {
	_, err := m.agent().Start(ctx, nil, "chronyc", "-h", "/run/chrony/chronyd.sock", "makestep", "0.0005", "10")
	if isRefused(err) { // there is none
		return nil
	}
	return err
}

// setClock sets the machine's clock.
func (m Machine) setClock(ctx context.Context, to time.Time) error {
	if m.Guest == guestAlpine { // whose date knows whole seconds only
		return m.agent().SetTime(ctx, to)
	}
	// the agent's own command has hwclock wait for the next second
	r, err := m.agent().Exec(ctx, nil, "date", "-s", fmt.Sprintf("@%d.%09d", to.Unix(), to.Nanosecond()))
	if err == nil && r.Code != 0 {
		err = r.Failed()
	}
	return err
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
