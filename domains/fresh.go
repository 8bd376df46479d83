package domains

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// What goes on from saved memory is another run of the same machine: its clock stands
// still since, and what it draws at random would be what another run of it draws.

// How far from the host's a clock may be that was set (chronyd does the rest), and how
// often it is set anew when the machine was slow to do it.
const (
	clockWithin = 100 * time.Millisecond
	clockTries  = 5
)

// isFresh sets the clock of a machine that goes on from saved memory, has its chronyd step
// it by the little that it is still off, as at its start, and mixes bytes of the host's into
// what it draws at random from, as its kernel does where it knows of VM generation ids.
// Nothing waits for a process in it. Source: random(4); chronyc(1), makestep.
func isFresh(ctx context.Context, m Machine) error {
	for try := 1; ; try++ {
		least, most, err := m.setClock(ctx)
		if err != nil {
			return err
		}
		if most <= clockWithin {
			break
		}
		if try < clockTries {
			continue
		}
		if least > clockWithin {
			return fmt.Errorf("its clock is %v from the host's after it was set %d times", least, clockTries)
		}
		break // it is as near as one comes that answers so slowly
	}
	var fresh [64]byte
	_, _ = rand.Read(fresh[:]) // never fails
	if err := m.agent().WriteFile(ctx, "/dev/urandom", fresh[:]); err != nil {
		return err
	}
	// nobody waits for it, nor needs it where there is no chronyd
	_, err := m.agent().Start(ctx, nil, "chronyc", "-h", "/run/chrony/chronyd.sock", "makestep", "0.0005", "10")
	if isRefused(err) {
		return nil
	}
	return err
}

// setClock sets the clock to the host's and returns how far it is from it then, at the
// least and at the most.
func (m Machine) setClock(ctx context.Context) (least, most time.Duration, err error) {
	sent := time.Now()
	if err := m.agent().SetTime(ctx, sent); err != nil {
		return 0, 0, err
	}
	asked := time.Now()
	said, err := m.agent().Time(ctx)
	if err != nil {
		return 0, 0, err
	}
	least, most = apart(said, sent, asked, time.Now())
	return least, most, nil
}

// apart is how far a clock is off that was sent our time, then asked, and has answered: it
// may have said so at any moment since it was asked. What setting it took, it may lag.
func apart(said, sent, asked, answered time.Time) (least, most time.Duration) {
	return max(sent.Sub(said), said.Sub(answered), 0), max(answered.Sub(said), said.Sub(asked))
}
