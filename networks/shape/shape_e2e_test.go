//go:build e2e

package shape

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// is looks at what the bed's link does, as the kernel and as tc tell it.
func (d *bed) is(want topology.Impair) {
	d.t.Helper()
	got, ours, err := Get(d.a)
	if err != nil || ours == want.IsZero() || got != want {
		d.t.Errorf("it is %+v, %v, %v\nwant %+v", got, ours, err, want)
	}
	read, ours, err := Read([]byte(d.sh(Show + " va")))
	if err != nil || ours == want.IsZero() || read != want {
		d.t.Errorf("tc says it is %+v, %v, %v\nwant %+v", read, ours, err, want)
	}
}

// TestSet makes a rate with this host's kernel, changes it and takes it away.
func TestSet(t *testing.T) {
	d := apart(t)
	plain := d.sh("tc qdisc show dev va")
	d.is(topology.Impair{})
	for _, name := range []string{"rate", "slow", "fast"} {
		must(t, Set(d.a, impairs[name], 1500))
		d.is(impairs[name])
	}
	_, err := unix.Write(d.sender, d.frame(1514)) // which is counted
	must(t, err)
	before := d.sh("tc -s qdisc show dev va")
	must(t, Set(d.a, impairs["fast"], 1500))
	if got := d.sh("tc -s qdisc show dev va"); got != before {
		t.Errorf("made anew, though it is as it should be:\n%s\n%s", before, got)
	}
	must(t, Set(d.a, topology.Impair{}, 1500))
	must(t, Set(d.a, topology.Impair{}, 1500)) // nothing there is fine
	d.is(topology.Impair{})
	if got := d.sh("tc qdisc show dev va"); got != plain {
		t.Errorf("it was %s and is %s", plain, got)
	}
	// a node's script, on this kernel, does the same
	script, err := Script(impairs["rate"], 1500)
	must(t, err)
	for range 2 {
		d.sh(script)
		d.is(impairs["rate"])
	}
	byScript := d.sh("tc -r qdisc show dev va")
	must(t, Set(d.a, topology.Impair{}, 1500))
	must(t, Set(d.a, impairs["rate"], 1500))
	if got := d.sh("tc -r qdisc show dev va"); got != byScript {
		t.Errorf("Set:    %s\nScript: %s", got, byScript)
	}
	script, err = Script(topology.Impair{}, 1500)
	must(t, err)
	d.sh(script)
	d.is(topology.Impair{})
}

// TestSetLeavesOthers: somebody else's queueing discipline stays, and is no impairment.
func TestSetLeavesOthers(t *testing.T) {
	d := apart(t)
	for _, theirs := range []string{"handle 1: tbf rate 1mbit burst 5k limit 9k", "htb", "handle 6c64: htb"} {
		d.sh("tc qdisc add dev va root " + theirs)
		before := d.sh("tc qdisc show dev va")
		for _, i := range []topology.Impair{{}, impairs["rate"]} {
			if err := Set(d.a, i, 1500); err == nil || !strings.Contains(err.Error(), "tc qdisc del dev va root") {
				t.Errorf("beside %s: %v", theirs, err)
			}
			script, err := Script(i, 1500)
			must(t, err)
			if out := d.sh("(" + script + ") 2>&1 || echo refused"); !strings.Contains(out, "is not labctl's") || !strings.HasSuffix(out, "refused") {
				t.Errorf("beside %s the script says %s", theirs, out)
			}
		}
		if i, ours, err := Get(d.a); ours || err != nil || !i.IsZero() {
			t.Errorf("%s is %s, %v, %v", theirs, i, ours, err)
		}
		if got := d.sh("tc qdisc show dev va"); got != before {
			t.Errorf("it was %s and is %s", before, got)
		}
		d.sh("tc qdisc del dev va root")
	}
	// what is changed by hand is told, and mended
	must(t, Set(d.a, impairs["rate"], 1500))
	d.sh("tc qdisc add dev va parent 6c64:1 handle 7: bfifo limit 5000; tc qdisc replace dev va parent 6c64:1 handle 8: htb")
	if _, ours, err := Get(d.a); !ours || !errors.Is(err, ErrChanged) {
		t.Errorf("changed by hand: %v, %v", ours, err)
	}
	must(t, Set(d.a, impairs["rate"], 1500))
	d.is(impairs["rate"])
}

// TestTry: the kernel has each kind, or says with which module it comes; then nothing
// is left of an impairment that takes it.
func TestTry(t *testing.T) {
	d := apart(t)
	plain := d.sh("tc qdisc show dev va")
	for _, name := range []string{"rate", "normal", "fq_codel", "pie", "all"} {
		i := impairs[name]
		var missing string
		for _, kind := range Needs(i) {
			switch err := Try(d.a, kind); {
			case errors.Is(err, unix.ENOENT):
				missing = kind
				t.Logf("this kernel has no %s", kind)
			case err != nil:
				t.Errorf("%s: %v", kind, err)
			}
			if got := d.sh("tc qdisc show dev va"); got != plain {
				t.Errorf("%s leaves %s", kind, got)
			}
			if missing != "" {
				break
			}
		}
		err := Set(d.a, i, 1500)
		if missing == "" {
			must(t, err)
			d.is(i)
			must(t, Set(d.a, topology.Impair{}, 1500))
		} else if err == nil || !strings.Contains(err.Error(), "modprobe "+Module(missing)) || strings.Contains(err.Error(), "remove") {
			t.Errorf("without %s: %v", missing, err)
		}
		if got := d.sh("tc qdisc show dev va"); got != plain {
			t.Errorf("%s leaves %s", name, got)
		}
	}
}

// TestRate: what a sender that never rests gets through is the rate, of frames with
// their headers. On a busy machine it rests: one calm second will do.
func TestRate(t *testing.T) {
	for _, rate := range []int64{5e6, 50e6, 200e6} {
		d := apart(t)
		// a quarter of a second waits: enough for when the sender has no processor
		must(t, Set(d.a, topology.Impair{Rate: rate, Queue: rate / 8 / 4, AQM: topology.AQMFIFO}, 1500))
		must(t, unix.SetsockoptInt(d.sender, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<28))
		var kept float64
		for end := lastTry(t); kept < 0.9 && time.Now().Before(end); {
			kept = d.blast(time.Second) / float64(rate)
			t.Logf("at %d bit/s: %.4f of it", rate, kept)
			if kept > 1.05 {
				t.Errorf("at %d bit/s %.2f of it gets through", rate, kept)
			}
		}
		if kept < 0.9 {
			t.Errorf("at %d bit/s only %.2f of it gets through", rate, kept)
		}
	}
}

// lastTry is until when a busy machine is tried again: for long, but not until the test would be ended.
func lastTry(t *testing.T) time.Time {
	t.Helper()
	end := time.Now().Add(5 * time.Minute)
	if last, ok := t.Deadline(); ok && last.Add(-time.Minute).Before(end) {
		return last.Add(-time.Minute)
	}
	return end
}

// blast sends as fast as it can, and returns how many bit/s arrive meanwhile.
func (d *bed) blast(long time.Duration) float64 {
	d.t.Helper()
	arrived := func() float64 {
		b, err := netlink.LinkByName("vb")
		must(d.t, err)
		return float64(b.Attrs().Statistics.RxBytes)
	}
	f, start, before := d.frame(1514), time.Now(), arrived()
	for time.Since(start) < long {
		if _, err := unix.Write(d.sender, f); err != nil && !errors.Is(err, unix.ENOBUFS) {
			d.t.Fatal(err)
		}
	}
	return (arrived() - before) * 8 / time.Since(start).Seconds()
}
