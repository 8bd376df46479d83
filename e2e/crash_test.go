//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// TestUpKilled kills up before and after each change that it makes to the host. It
// is taken down, or brought up, at the first attempt.
func TestUpKilled(t *testing.T) {
	onBed(t, "kill-up", crashLab, func(b *bed) {
		words := []string{"up", "--events", b.file}
		boots := *crashBoots / 10
		for _, p := range b.some(b.points(words...)) {
			for _, again := range p.outcomes() {
				b.cut(p, syscall.SIGKILL, words...)
				if again {
					b.raise()
					if boots--; boots >= 0 {
						b.boot()
					}
				}
				b.lower()
			}
		}
	})
}

// TestUpKilledThenBooted really boots the lab after a kill, up to its proof. It also kills
// and interrupts up where that is under way or over, and while it saves the ready state.
func TestUpKilledThenBooted(t *testing.T) {
	t.Setenv(stateLimit, "4GiB")
	onBed(t, "kill-boot", crashLabQuick, func(b *bed) {
		words := []string{"up", "--events", b.file}
		early := b.points(words...)
		b.chance.Shuffle(len(early), func(i, j int) { early[i], early[j] = early[j], early[i] })
		for _, p := range early[:min(*crashBoots, len(early))] {
			b.cut(p, syscall.SIGKILL, words...)
			b.boot()
			b.lower()
		}
		b.forget()
		changes, _, _ := b.changes(true, point{}, words...)
		b.lower()
		b.forget()
		var late []point
		for _, p := range bothSides(changes) {
			if !slices.Contains(early, p) {
				late = append(late, p)
			}
		}
		b.Logf("%d boundaries while the lab is waited for, or ready", len(late))
		for _, p := range b.share(*crashLate, late) {
			for _, again := range p.outcomes() {
				b.cutWaiting(p, syscall.SIGKILL, words...)
				if again {
					b.boot()
				}
				b.lower()
				b.forget()
			}
		}
		// what was measured last is kept when all is done: an interrupt is too late then
		done := slices.IndexFunc(late, func(p point) bool { return strings.Contains(p.what, "/calibration.json") })
		if done < 0 {
			b.Fatalf("up does not keep what it measured: %v", late)
		}
		for _, p := range b.share(*crashLate, between(slices.Clone(late))) {
			end, said := b.cutWaiting(p, syscall.SIGINT, words...)
			want := 130
			if slices.Index(late, p) >= done {
				want = 0
			}
			if end.Code != want {
				b.Fatalf("interrupted %s, up ends with %v, want %d:\n%s", p, end, want, said)
			}
			if want == 0 {
				b.isWhole(true)
				b.lower()
			}
			b.isClean()
			b.forget()
		}
	})
}

// TestResetKilled kills reset before and after each change that it makes to the host: up
// completes the lab, or down removes it.
func TestResetKilled(t *testing.T) {
	t.Setenv(stateLimit, "4GiB")
	onBed(t, "kill-reset", crashLabQuick, func(b *bed) {
		b.boot()
		changes, _, _ := b.changes(true, point{}, "reset")
		b.Logf("%d changes to the host by labctl reset", len(changes))
		for _, p := range b.some(bothSides(changes)) {
			b.cutWaiting(p, syscall.SIGKILL, "reset")
			if !p.done {
				b.lower()
			}
			b.boot()
		}
		b.lower()
	})
}

// TestDownKilled kills down before and after each change that it makes to the host.
func TestDownKilled(t *testing.T) {
	onBed(t, "kill-down", crashLab, func(b *bed) {
		words := []string{"down", b.name}
		b.raise()
		for _, p := range b.some(b.points(words...)) {
			for _, again := range p.outcomes() {
				b.raise()
				b.cut(p, syscall.SIGKILL, words...)
				if again {
					b.raise()
				}
				b.lower()
			}
		}
	})
}

// TestUpInterrupted interrupts up before each change that it makes to the host, and
// after the last: it takes back what it made.
func TestUpInterrupted(t *testing.T) {
	onBed(t, "int-up", crashLab, func(b *bed) {
		words := []string{"up", "--events", b.file}
		for _, p := range b.some(between(b.points(words...))) {
			end, said := b.cut(p, syscall.SIGINT, words...)
			if end.Code != 130 {
				b.Errorf("interrupted %s, up ends with %v:\n%s", p, end, said)
			}
			b.isClean()
		}
	})
}

// TestUndoInterrupted interrupts up when it has made all, and again before each change
// by which it takes that back.
func TestUndoInterrupted(t *testing.T) {
	onBed(t, "int-undo", crashLab, func(b *bed) {
		words := []string{"up", "--events", b.file}
		made := b.points(words...)
		last := made[len(made)-1]
		undo, end, said := b.changes(false, last, words...)
		if end.Code != 130 {
			b.Fatalf("interrupted %s, up ends with %v:\n%s", last, end, said)
		}
		b.isClean()
		for _, p := range b.some(between(bothSides(undo))) {
			for try := 1; ; try++ {
				end, said := b.cutTwice(last, p, words...)
				b.lower()
				if end.Signal == syscall.SIGINT {
					break
				}
				if try == 2 || end.Code != 130 { // what little is left may be over before Go's own handler has ended labctl
					b.Errorf("interrupted %s, and again %s, up ends with %v:\n%s", last, p, end, said)
					break
				}
			}
		}
	})
}

// TestKilledAnyTime kills up and down at instants that chance chooses.
func TestKilledAnyTime(t *testing.T) {
	onBed(t, "kill-any", crashLab, func(b *bed) {
		for n := range *crashTimes {
			if n%2 == 0 {
				b.killedAfter(b.within(b.upTime), "up", b.file)
			} else {
				b.raise()
				b.killedAfter(b.within(b.downTime), "down", b.name)
			}
			if n%4 >= 2 {
				b.raise()
			}
			b.lower()
		}
	})
}

// TestCrashLabIsComplete keeps the lab of the crash tests up with what labs can have.
func TestCrashLabIsComplete(t *testing.T) {
	every, err := os.ReadFile("../examples/every-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, usual := topology.Default()
	wanted := append(kinds(t, string(every)), kinds(t, string(usual))...)
	wanted = append(wanted, "networks.Segment of Open vSwitch with IPv6", "networks.Mirror of Open vSwitch")
	has := kinds(t, strings.NewReplacer("NAME", "crash", "CLOUD", "/cloud.qcow2").Replace(crashLab))
	for _, k := range wanted {
		if !slices.Contains(has, k) {
			t.Errorf("it has no %s, of which there are others in %q", k, has)
		}
	}
}

// kinds are the kinds of resources that a lab file makes.
func kinds(t *testing.T, text string) []string {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(text), topology.Known{Recipes: images.Recipes()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, stage := range (lab.Build{On: &host.Host{Dir: t.TempDir()}, Lab: l}).Resources() {
		for _, r := range stage {
			kind := fmt.Sprintf("%T", r)
			switch r := r.(type) {
			case networks.Segment:
				if r.Segment.OVS {
					kind += " of Open vSwitch"
				}
				if r.Segment.Subnet6.IsValid() {
					kind += " with IPv6"
				}
			case networks.Mirror:
				if r.From.Kind == topology.PointOVS {
					kind += " of Open vSwitch"
				}
			}
			all = append(all, kind)
		}
	}
	return all
}

// point is where a run of labctl is cut short: before a change to the host, or after it.
type point struct {
	what string
	nth  int
	done bool
}

func (p point) String() string {
	if p.done {
		return fmt.Sprintf("after %q (%d)", p.what, p.nth)
	}
	return fmt.Sprintf("before %q (%d)", p.what, p.nth)
}

// outcomes are whether the lab is brought up again before it is taken down. Before
// a change the host is as after the one before it: the one way is tried there and
// the other here, but where something is under way meanwhile.
func (p point) outcomes() []bool {
	for _, async := range []string{"libvirt ", "start ", "see ", "signal "} {
		if strings.HasPrefix(p.what, async) {
			return []bool{false, true}
		}
	}
	return []bool{p.done}
}

// changes runs labctl and returns the changes that it makes to the host, from where
// it is interrupted on, unless that is the zero point. Of many writes to a file the
// first and the last count.
func (b *bed) changes(waits bool, interrupted point, words ...string) ([]hosttest.Change, hosttest.Traced, string) {
	b.Helper()
	var all []hosttest.Change
	counts := interrupted == point{}
	end, said := b.trace(waits || !counts, func(c hosttest.Change) syscall.Signal {
		if c.Done && c.Err == nil && counts {
			all = append(all, c)
		}
		if !counts && interrupted == (point{c.What, c.Nth, c.Done}) {
			counts = true
			return syscall.SIGINT
		}
		return 0
	}, words...)
	return slices.DeleteFunc(all, func(c hosttest.Change) bool {
		between := func(o hosttest.Change) bool { return o.What == c.What && o.Nth > c.Nth }
		return strings.HasPrefix(c.What, "write ") && c.Nth > 1 && slices.ContainsFunc(all, between)
	}), end, said
}

// bothSides are the points before and after changes.
func bothSides(changes []hosttest.Change) []point {
	var all []point
	for _, c := range changes {
		all = append(all, point{c.What, c.Nth, false}, point{c.What, c.Nth, true})
	}
	return all
}

// between are the points before each change, and after the last.
func between(all []point) []point {
	last := all[len(all)-1]
	return slices.DeleteFunc(all, func(p point) bool { return p.done && p != last })
}

// points are those of a run of labctl, after which the lab is taken down.
func (b *bed) points(words ...string) []point {
	b.Helper()
	changes, _, _ := b.changes(false, point{}, words...)
	b.lower()
	b.Logf("%d changes to the host by labctl %s", len(changes), strings.Join(words, " "))
	return bothSides(changes)
}

// some are those points that chance and -crash.share choose, in their order.
func (b *bed) some(all []point) []point {
	b.Helper()
	return b.share(*crashShare, all)
}

func (b *bed) share(share float64, all []point) []point {
	b.Helper()
	chosen := slices.DeleteFunc(slices.Clone(all), func(point) bool { return b.chance.Float64() >= share })
	b.Logf("%d of %d boundaries are tried", len(chosen), len(all))
	return chosen
}

// cut runs labctl and sends it a signal at p.
func (b *bed) cut(p point, s syscall.Signal, words ...string) (hosttest.Traced, string) {
	b.Helper()
	return b.cutAt(false, []point{p}, s, words...)
}

// cutWaiting is cut of an up that gets to wait for its guests.
func (b *bed) cutWaiting(p point, s syscall.Signal, words ...string) (hosttest.Traced, string) {
	b.Helper()
	return b.cutAt(true, []point{p}, s, words...)
}

// cutTwice runs labctl, interrupts it at p, and again at q.
func (b *bed) cutTwice(p, q point, words ...string) (hosttest.Traced, string) {
	b.Helper()
	return b.cutAt(false, []point{p, q}, syscall.SIGINT, words...)
}

func (b *bed) cutAt(waits bool, points []point, s syscall.Signal, words ...string) (hosttest.Traced, string) {
	b.Helper()
	b.kills++
	b.Logf("%s sent %v", points, s)
	start := time.Now()
	end, said := b.trace(waits || s == syscall.SIGINT, func(c hosttest.Change) syscall.Signal {
		if len(points) == 0 || points[0] != (point{c.What, c.Nth, c.Done}) {
			return 0
		}
		points = points[1:]
		return s
	}, words...)
	if len(points) > 0 {
		b.Errorf("labctl never came to be %s:\n%s", points[0], said)
	}
	b.Logf("%.1f s: %v", time.Since(start).Seconds(), end)
	return end, said
}

// within is an instant within d, chosen by chance.
func (b *bed) within(d time.Duration) time.Duration {
	return time.Duration(b.chance.Int64N(int64(d)))
}
