package domains

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

const (
	panicOfTimer = "[    0.4] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.\n"
	panicOfDisk  = "[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"
)

func TestStartedAnew(t *testing.T) {
	for name, test := range map[string]struct {
		accel    string
		prints   []string // at each start; the machine is ready at the one after
		want     string   // of the error; "" where it becomes ready
		restarts int
	}{
		"once":       {topology.AccelTCG, []string{panicOfTimer}, "", 1},
		"thrice":     {topology.AccelTCG, []string{panicOfTimer, panicOfTimer, panicOfTimer}, "", 3},
		"always":     {topology.AccelTCG, []string{panicOfTimer, panicOfTimer, panicOfTimer, panicOfTimer}, "counted too few ticks", 3},
		"other":      {topology.AccelTCG, []string{panicOfDisk}, "its kernel panicked", 0},
		"then other": {topology.AccelTCG, []string{panicOfTimer, panicOfDisk}, "its kernel panicked", 1},
		"real timer": {topology.AccelKVM, []string{panicOfTimer}, "its kernel panicked", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := waiting(t)
			m.Boot.Accel = test.accel
			boots := -1
			require(t, requirement{what: "it boots", when: always, met: func(ctx context.Context, m Machine) error {
				if boots++; boots == len(test.prints) {
					return nil
				}
				if text, err := os.ReadFile(m.Boot.Console); err != nil || boots > 0 && len(text) > 0 {
					t.Errorf("at start %d there is still %q, %v", boots+1, text, err)
				}
				must(t, os.WriteFile(m.Boot.Console, []byte(test.prints[boots]), 0o600))
				return never.met(ctx, m)
			}})
			restarts := 0
			err := m.Wait(t.Context(), func(what string) {
				if strings.Contains(what, "panicked over the emulated timer") {
					restarts++
				}
			})
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "":
				says(t, err, test.want, "the machine has stopped")
				if !errors.Is(err, errDied) {
					t.Errorf("%v is not that it died", err)
				}
			}
			if restarts != test.restarts {
				t.Errorf("started anew %d times, want %d", restarts, test.restarts)
			}
		})
	}
}
