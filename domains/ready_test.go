package domains

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
)

// A wait that ends at once ends long before this.
const longWait = time.Minute

// require sets what machines must show before they are ready.
func require(t *testing.T, rs ...requirement) {
	t.Helper()
	before := requirements
	requirements = rs
	t.Cleanup(func() { requirements = before })
}

var never = requirement{
	"the moon falls", func(ctx context.Context, _ Machine) error {
		return until(ctx, func() (bool, error) { return false, nil })
	}, "look at NODE", nil, always,
}

// waiting is a running machine that has printed on its console.
func waiting(t *testing.T) Machine {
	t.Helper()
	m := demoMachine(t, "tshark")
	must(t, os.WriteFile(m.Boot.Console, []byte("first\n\x1b[31mlast words\n"), 0o600))
	must(t, m.Create(t.Context()))
	return m
}

func TestWaitMeetsRequirementsInOrder(t *testing.T) {
	var did []string
	meet := func(what string) requirement {
		return requirement{what: what, when: always, met: func(context.Context, Machine) error {
			did = append(did, "met "+what)
			return nil
		}}
	}
	require(t, meet("a"), meet("b"))
	must(t, waiting(t).Wait(t.Context(), func(what string) { did = append(did, what) }))
	want := []string{"a (1 of 2)", "met a", "b (2 of 2)", "met b"}
	if d := cmp.Diff(want, did); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWaitEndsWithTheMachine(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*testing.T, Machine)
		want string
	}{
		"destroyed": {func(t *testing.T, m Machine) { must(t, lookup(t, m.On, m.Node.Object).Destroy()) }, "the machine has stopped"},
		"gone": {func(t *testing.T, m Machine) {
			d := lookup(t, m.On, m.Node.Object)
			must(t, d.Undefine()) // it runs on: who watches it never sees it off and still there
			must(t, d.Destroy())
		}, "the machine has stopped: "},
		"panicked": {func(t *testing.T, m Machine) {
			must(t, os.WriteFile(m.Boot.Console, []byte("Kernel panic - not syncing: no init\nlast words\n"), 0o600))
		}, "the machine has stopped: its kernel panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			require(t, never)
			m := waiting(t)
			start := time.Now()
			err := m.Wait(t.Context(), func(string) { test.end(t, m) })
			says(t, err, "waiting until the moon falls: "+test.want, "look at tshark", "last words")
			if !errors.Is(err, errDied) {
				t.Errorf("%v is not that it died", err)
			}
			if took := time.Since(start); took > longWait {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// The test driver's disks have no errors.
func TestDiedOf(t *testing.T) {
	m := Machine{On: &host.Host{Dir: "/full"}}
	for name, test := range map[string]struct {
		state  libvirt.DomainState
		reason int
		want   string // "" where it lives
	}{
		"runs":                {libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_BOOTED), ""},
		"paused by its start": {libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_STARTING_UP), ""},
		"paused by a user":    {libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_USER), ""},
		"a full disk":         {libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_IOERROR), "the machine has stopped: paused by a disk error: is there room in /full?"},
		"crashed":             {libvirt.DOMAIN_SHUTOFF, int(libvirt.DOMAIN_SHUTOFF_CRASHED), "the machine has stopped: it crashed"},
		"kept after a crash":  {libvirt.DOMAIN_CRASHED, int(libvirt.DOMAIN_CRASHED_PANICKED), "the machine has stopped: it crashed"},
		"off":                 {libvirt.DOMAIN_SHUTOFF, int(libvirt.DOMAIN_SHUTOFF_SHUTDOWN), "the machine has stopped"},
	} {
		err := m.diedOf(test.state, test.reason)
		if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, errDied) || err.Error() != test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNotRunning(t *testing.T) {
	for name, test := range map[string]struct {
		failed, want, hint, not string
	}{
		"failed units": {"a.service loaded failed\nb.service loaded failed", "degraded said; failed units:\n    a.service loaded failed\n    b.service", "labctl exec tshark -- systemctl reset-failed", "list-jobs"},
		"none":         {"", "degraded said\n", "list-jobs", "reset-failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := requirements[slices.IndexFunc(requirements, func(r requirement) bool { return r.what == "the system has booted" })]
			r.met = func(context.Context, Machine) error { return notRunning("degraded", "said", test.failed) }
			require(t, r)
			err := waiting(t).Wait(t.Context(), func(string) {})
			says(t, err, "waiting until the system has booted: the system is "+test.want, test.hint)
			if strings.Contains(err.Error(), test.not) {
				t.Errorf("%v sends to %s", err, test.not)
			}
		})
	}
}

func TestWaitExplainsATimeout(t *testing.T) {
	require(t, never)
	tooLate := errors.New("not ready after 1s")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, tooLate)
	defer cancel()
	err := waiting(t).Wait(ctx, func(string) {})
	says(t, err, "waiting until the moon falls: not ready after 1s", "look at tshark", "last console lines:\n    first\n    ?[31mlast words")
	if !errors.Is(err, tooLate) {
		t.Errorf("%v lost its cause", err)
	}
}

func TestWaitExplainsAFailure(t *testing.T) {
	broken := errors.New("no such file")
	require(t, requirement{"it works", func(context.Context, Machine) error { return broken }, "", nil, always})
	m := waiting(t)
	must(t, os.Remove(m.Boot.Console))
	err := m.Wait(t.Context(), func(string) {})
	says(t, err, "waiting until it works: no such file", "(nothing)")
	if !errors.Is(err, broken) {
		t.Errorf("%v lost its cause", err)
	}
}

func TestWaitDoesNotExplainAnInterrupt(t *testing.T) {
	require(t, never)
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := waiting(t).Wait(ctx, func(string) { cancel(interrupted) })
	if err == nil || err.Error() != interrupted.Error() {
		t.Errorf("%v", err)
	}
}

// The test driver has no agents: that is an error, not something to wait for.
func TestWaitWithoutAgents(t *testing.T) {
	says(t, waiting(t).Wait(t.Context(), func(string) {}), "waiting until the guest agent answers: guest-ping")
}

// Who watches the machine uses libvirt's connection: it must have ended before the caller closes that.
func TestWaitLeavesNobodyBehind(t *testing.T) {
	require(t, requirement{what: "nothing", when: always, met: func(context.Context, Machine) error { return nil }})
	m := waiting(t)
	for range 100 {
		must(t, m.Wait(t.Context(), func(string) {}))
		stacks := make([]byte, 1<<20)
		if n := runtime.Stack(stacks, true); strings.Contains(string(stacks[:n]), "Machine.watch") {
			t.Fatalf("it still watches:\n%s", stacks[:n])
		}
	}
}

func TestUntil(t *testing.T) {
	tries := 0
	must(t, until(t.Context(), func() (bool, error) {
		tries++
		return tries == 3, nil
	}))
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
	broken := errors.New("broken")
	if err := until(t.Context(), func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := until(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
