package domains

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
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

// isFresh sets the clock of a machine that goes on from saved memory, and stirs what it
// draws at random from. Its kernel does that by itself where it knows of VM generation ids.
func isFresh(ctx context.Context, m Machine) error {
	off, err := m.setClock(ctx)
	for try := 2; err == nil && off.Abs() > clockWithin; try++ {
		if try > clockTries {
			return fmt.Errorf("its clock is %v from the host's after it was set %d times", off, clockTries)
		}
		off, err = m.setClock(ctx)
	}
	if err != nil {
		return err
	}
	_, err = m.agent().Bash(ctx, stir())
	return err
}

// setClock sets the clock to the host's and returns how far it is from it then, at the most.
func (m Machine) setClock(ctx context.Context) (time.Duration, error) {
	if err := m.agent().SetTime(ctx, time.Now()); err != nil {
		return 0, err
	}
	asked := time.Now()
	said, err := m.agent().Time(ctx)
	if err != nil {
		return 0, err
	}
	off, most := said.Sub(asked), time.Until(said)
	if most.Abs() > off.Abs() {
		off = most
	}
	return off, nil
}

// stir is the script that mixes bytes of the host's into the kernel's random numbers, and
// has chronyd step the clock by the little that it is still off, as at its start.
// Source: random(4); chronyc(1), makestep.
func stir() string {
	var fresh [64]byte
	_, _ = rand.Read(fresh[:]) // never fails
	var text strings.Builder
	for _, b := range fresh {
		fmt.Fprintf(&text, `\x%02x`, b)
	}
	return fmt.Sprintf(`printf '%s' >/dev/urandom || exit
socket=/run/chrony/chronyd.sock
[ -S $socket ] && chronyc -h $socket makestep 0.0005 10 >/dev/null
true`, text.String())
}
