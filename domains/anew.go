package domains

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mami-project/labctl/topology"
)

// A kernel that tries the timers of an emulated machine while QEMU waits for a processor
// counts too few ticks, and gives up. Recipes' kernels are told not to try (no_timer_check);
// a ready image boots as it likes, and mostly passes when it is started once more.

// Linux's words (arch/x86/kernel/apic/io_apic.c, check_timer).
var noTimer = []byte("IO-APIC + timer doesn't work")

var errNoTimer = fmt.Errorf("%w: its kernel panicked, since it counted too few ticks of its emulated timer on a busy host", errDied)

// How often a machine is started before its kernel is believed.
const starts = 4

// again waits as often as the machine is started anew.
func (m Machine) again(ctx context.Context, tell func(string), wait func(context.Context, func(string)) error) error {
	for start := 2; ; start++ {
		err := wait(ctx, tell)
		if !errors.Is(err, errNoTimer) || start > starts {
			return err
		}
		tell(fmt.Sprintf("its kernel panicked over the emulated timer: start %d of %d", start, starts))
		if err := m.reset(); err != nil {
			return fmt.Errorf("start it anew: %w", err)
		}
	}
}

// missedTimer says whether an emulated machine's kernel gave up for that.
func (m Machine) missedTimer() bool {
	return m.Boot.Accel == topology.AccelTCG && bytes.Contains(tail(m.Boot.Console), noTimer)
}

// reset starts the running machine anew, with the taps and the mirror that it has. What
// it printed goes: by that it was judged.
func (m Machine) reset() error {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	if err := os.Truncate(m.Boot.Console, 0); err != nil {
		return err
	}
	return d.Reset(0)
}
