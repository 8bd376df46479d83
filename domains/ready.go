package domains

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
)

// requirement is one thing a machine must show before it is ready.
type requirement struct {
	what string
	met  func(context.Context, Machine) error
	hint string             // where to look when it does not come
	of   func(Machine) bool // which machines must show it; nil: all
	when func(Machine) phase
}

// phase is when a requirement is waited for.
type phase int

const (
	shown     phase = iota // by what was saved
	first                  // before the lab is proven
	meanwhile              // while it is proven, for which it is not needed
	last                   // once it is proven
)

func always(Machine) phase { return first }

// atBoot is of what a machine that goes on from saved memory has shown.
func atBoot(m Machine) phase {
	if goesOn(m) {
		return shown
	}
	return first
}

// unlessItWorks is of the agent: nobody waits for it to speak with a machine whose worker does.
func unlessItWorks(m Machine) phase {
	if m.Works && !hasPassthrough(m) {
		return meanwhile
	}
	return first
}

// inTheEnd is of what takes the time of a machine that goes on, which the others then have not.
func inTheEnd(m Machine) phase {
	if goesOn(m) {
		return last
	}
	return first
}

var requirements = []requirement{
	{"the guest agent answers", agentAnswers, "is qemu-guest-agent in the image? labctl console NODE shows the boot", nil, unlessItWorks},
	{"the image has the programs", hasPrograms, "", needsPrograms, atBoot},
	{"its files are written and applied", isConfigured, "labctl console NODE logs in", delivers, atBoot},
	{"the system has booted", hasBooted, "labctl exec NODE -- systemctl list-jobs (of Alpine: rc-status --all) shows what it waits for", nil, atBoot},
	{"its devices of the host are set up", areSetUp, "labctl exec NODE -- ip -br link; labctl exec NODE -- dmesg", hasPassthrough, always},
	{"its clock is the host's", isFresh, "do its agent's settings block guest-exec, guest-get-time or guest-file-write?", goesOn, always}, // once it is not busy with devices
	{"addresses and names are as written", isAsWritten, "labctl console NODE logs in", isSetUpNow, always},
	{"its passthrough NIC has a carrier", hasCarrier, "is the cable plugged in, and is the NIC at its other end up? labctl exec NODE -- ip -br link", hasPassthrough, always},
	{"its bridges pass its frames", isPassed, "bridge link tells the ports' states: one that is blocking is part of a loop", isPlugged, always},
	{"its services answer over the control network", servicesAnswer, "does a firewall of the host drop what comes from the lab's bridges?", nil, inTheEnd},
}

// goesOn says whether the machine goes on from saved memory, and does not boot.
func goesOn(m Machine) bool { return m.Memory != "" }

// isSetUpNow says whether the machine sets up NICs as it starts: all of them at a boot; those
// of the host where it goes on.
func isSetUpNow(m Machine) bool { return !goesOn(m) || hasPassthrough(m) }

// How often the machine behind a wait is looked at.
const watchEvery = 200 * time.Millisecond

// errDied ends a wait for a machine that is no longer there.
var errDied = errors.New("the machine has stopped")

// Wait waits until the machine has met every requirement that a proof of the lab needs,
// in order, and tells each as it waits for it. It ends with ctx, or at once when the
// machine has died.
func (m Machine) Wait(ctx context.Context, tell func(what string)) error {
	return m.again(ctx, tell, func(ctx context.Context, tell func(string)) error { return m.wait(ctx, m.wanted(first), tell) })
}

// WaitsMeanwhile says whether there is something to wait for that a proof of the lab does not need.
func (m Machine) WaitsMeanwhile() bool { return len(m.wanted(meanwhile)) > 0 }

// WaitMeanwhile is Wait for that.
func (m Machine) WaitMeanwhile(ctx context.Context, tell func(what string)) error {
	return m.wait(ctx, m.wanted(meanwhile), tell)
}

// WaitInTheEnd is Wait for what is left once the lab is proven.
func (m Machine) WaitInTheEnd(ctx context.Context, tell func(what string)) error {
	return m.wait(ctx, m.wanted(last), tell)
}

// wanted is what the machine must show in that phase.
func (m Machine) wanted(p phase) []requirement {
	return slices.DeleteFunc(slices.Clone(requirements), func(r requirement) bool {
		return r.of != nil && !r.of(m) || r.when(m) != p
	})
}

func (m Machine) wait(ctx context.Context, wanted []requirement, tell func(what string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait() // it uses the connection, which may be closed after
	defer cancel(nil)
	watching.Go(func() { m.watch(ctx, cancel) })
	for i, r := range wanted {
		tell(fmt.Sprintf("%s (%d of %d)", r.what, i+1, len(wanted)))
		err := m.meet(ctx, r)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if died := m.alive(); errors.Is(died, errDied) {
			err = died // which watch has not seen yet
		}
		if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, errDied) {
			return err // interrupted: nothing to explain
		}
		return m.explain(r, err)
	}
	return nil
}

// How often a requirement is looked at when the agent is restarted under it, which
// is seen when a boot is slow or begins anew.
const looks = 3

// meet has the machine meet a requirement, which is a question, or does no harm when done again.
func (m Machine) meet(ctx context.Context, r requirement) error {
	for look := 1; ; look++ {
		err := r.met(ctx, m)
		if err == nil || look == looks || !isAway(err) || ctx.Err() != nil {
			return err
		}
		if err := agentAnswers(ctx, m); err != nil {
			return err
		}
	}
}

// isAway tells that the agent went away under a question, and may come back.
func isAway(err error) bool { return errors.Is(err, ErrNoAgent) || errors.Is(err, errLost) }

// explain adds to why a requirement was not met what helps to mend it.
func (m Machine) explain(r requirement, err error) error {
	lines := m.LastLines()
	if lines == "" {
		lines = "(nothing)"
	}
	var better hinted
	if errors.As(err, &better) {
		r.hint = better.hint
	}
	return fmt.Errorf("waiting until %s: %w\n  %s\n  its last console lines:\n    %s",
		r.what, err, strings.ReplaceAll(r.hint, "NODE", m.Node.Name), strings.ReplaceAll(lines, "\n", "\n    "))
}

// hinted is an error that knows better than its requirement where to look.
type hinted struct {
	error
	hint string
}

// watch ends a wait when the machine behind it has died or its kernel has panicked.
func (m Machine) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := m.alive(); err != nil {
			cancel(err)
			return
		}
	}
}

func (m Machine) alive() error {
	d, err := m.On.LookupDomainByName(m.Node.Object)
	if err != nil {
		return gone(err)
	}
	defer func() { _ = d.Free() }()
	s, reason, err := d.GetState()
	if err != nil {
		return gone(err)
	}
	if err := m.diedOf(s, reason); err != nil {
		return err
	}
	switch {
	case !m.Panicked():
		return nil
	case m.missedTimer():
		return errNoTimer
	default:
		return fmt.Errorf("%w: its kernel panicked", errDied)
	}
}

// gone is that the machine has died, where err says that its domain is not there.
func gone(err error) error {
	if host.Missing(err) {
		return fmt.Errorf("%w: %w", errDied, err)
	}
	return err
}

// diedOf is why a machine that libvirt says is in that state goes no further; nil where it may.
func (m Machine) diedOf(s libvirt.DomainState, reason int) error {
	switch {
	case s == libvirt.DOMAIN_SHUTOFF && libvirt.DomainShutoffReason(reason) == libvirt.DOMAIN_SHUTOFF_CRASHED,
		s == libvirt.DOMAIN_CRASHED:
		return fmt.Errorf("%w: it crashed", errDied)
	case s == libvirt.DOMAIN_SHUTOFF:
		return errDied
	case s == libvirt.DOMAIN_PAUSED && libvirt.DomainPausedReason(reason) == libvirt.DOMAIN_PAUSED_IOERROR:
		return fmt.Errorf("%w: paused by a disk error: is there room in %s?", errDied, m.On.Dir)
	}
	return nil
}

func (m Machine) agent() Agent { return Agent{m.On, m.Node} }

func agentAnswers(ctx context.Context, m Machine) error {
	return until(ctx, func() (bool, error) {
		err := m.agent().Ping(ctx)
		if isAway(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// until asks again and again, until done, an error, or the end of ctx.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(agentPoll)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
