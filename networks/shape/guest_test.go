//go:build guest

package shape

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// These run in a guest, whose kernel has all that an impairment may need: see
// TestShapeInGuest in the room images.

// TestGuestSet: for each impairment the kernel, the guest's tc and what Script makes
// agree with what was asked for.
func TestGuestSet(t *testing.T) {
	d := apart(t)
	plain := d.sh("tc qdisc show dev va")
	for name, i := range impairs {
		must(t, Set(d.a, i, 1500))
		if got, ours, err := Get(d.a); err != nil || !ours || got != i {
			t.Errorf("%s: %v, %v\n got %+v\nwant %+v", name, ours, err, got, i)
		}
		if got, ours, err := Read([]byte(d.sh(Show + " va"))); err != nil || !ours || !Alike(got, i) {
			t.Errorf("%s: tc: %v, %v\n got %+v\nwant %+v", name, ours, err, got, i)
		}
		bySet := d.sh("tc -j -r qdisc show dev va")
		script, err := Script(i, 1500)
		must(t, err)
		d.sh(script)                                                                                                                            // in its place
		if got := d.sh("tc -j -r qdisc show dev va"); got != bySet && i.Delay%(8*time.Microsecond) == 0 && i.Jitter%(8*time.Microsecond) == 0 { // whole ticks
			t.Errorf("%s:\nSet    %s\nScript %s", name, bySet, got)
		}
		if got, ours, err := Get(d.a); err != nil || !ours || !Alike(got, i) {
			t.Errorf("%s by the script: %v, %v\n got %+v\nwant %+v", name, ours, err, got, i)
		}
	}
	if left := d.sh("rm -rf $(ls -d ${TMPDIR:-/tmp}/tmp.* 2>/dev/null) | wc -l"); left != "0" {
		t.Errorf("the scripts leave %s", left)
	}
	must(t, Set(d.a, topology.Impair{}, 1500))
	if got := d.sh("tc qdisc show dev va"); got != plain {
		t.Errorf("it was %s and is %s", plain, got)
	}
	for _, by := range []string{"limit 100", "delay 1s 1s 20%", "loss state 10%", "rate 1mbit"} {
		must(t, Set(d.a, impairs["delay"], 1500))
		d.sh("tc qdisc change dev va root handle 6c60: netem " + by)
		must(t, Set(d.a, impairs["delay"], 1500))
		if got, ours, err := Get(d.a); err != nil || !ours || got != impairs["delay"] {
			t.Errorf("%s is not mended: %+v, %v, %v", by, got, ours, err)
		}
	}
}

// arrival is a frame that came.
type arrival struct {
	number     int
	took, came time.Duration
}

// send sends frames, each as long after the one before as pause, and returns those that
// arrive as they were sent, in their order, until none has for a while.
func (d *bed) send(frames int, pause time.Duration) []arrival {
	d.t.Helper()
	must(d.t, unix.SetsockoptInt(d.receiver, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<28))
	must(d.t, unix.SetsockoptInt(d.sender, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<28))
	must(d.t, unix.SetsockoptTimeval(d.receiver, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}))
	done := make(chan []arrival)
	start := time.Now()
	go func() {
		var all []arrival
		b := make([]byte, 2000)
		for {
			n, err := unix.Read(d.receiver, b)
			if err != nil {
				done <- all
				return
			}
			came, number, sent := time.Since(start), int(binary.BigEndian.Uint32(b[14:])), time.Duration(binary.BigEndian.Uint64(b[18:]))
			if slices.Equal(b[:n], d.numbered(number, sent)) {
				all = append(all, arrival{number, came - sent, came})
			}
		}
	}()
	for n := range frames {
		for time.Since(start) < time.Duration(n)*pause {
			unix.Nanosleep(&unix.Timespec{Nsec: int64(pause) / 4}, nil)
		}
		if _, err := unix.Write(d.sender, d.numbered(n, time.Since(start))); err != nil {
			d.t.Fatal(err)
		}
	}
	return <-done
}

// numbered is a frame with its number, the time it is sent, and their complements.
func (d *bed) numbered(n int, at time.Duration) []byte {
	f := d.frame(100)
	binary.BigEndian.PutUint32(f[14:], uint32(n))
	binary.BigEndian.PutUint64(f[18:], uint64(at))
	for i := range 12 {
		f[26+i] = ^f[14+i]
	}
	return f
}

func part(n, of int) float64 { return float64(n) / float64(of) }

// TestGuestShares: as many frames are lost, doubled, spoilt and early as was asked for,
// and losses come in bursts of the length that was asked for.
func TestGuestShares(t *testing.T) {
	const frames = 10_000
	d := apart(t)
	set := func(i topology.Impair) []arrival {
		t.Helper()
		must(t, Set(d.a, i, 1500))
		return d.send(frames, 0)
	}
	between := func(what string, got, least, most float64) {
		t.Helper()
		t.Logf("%s: %.4f", what, got)
		if got < least || got > most {
			t.Errorf("%s: %g, want %g to %g", what, got, least, most)
		}
	}
	// bursts are the lengths of those lost in a row
	bursts := func(got []arrival) (lost, bursts int) {
		came := make([]bool, frames)
		for _, a := range got {
			came[a.number] = true
		}
		for n, ok := range came {
			if !ok {
				lost++
				if n == 0 || came[n-1] {
					bursts++
				}
			}
		}
		return lost, bursts
	}
	between("no impairment", part(len(set(topology.Impair{})), frames), 1, 1)
	lost, runs := bursts(set(topology.Impair{Loss: 0.1}))
	between("lost", part(lost, frames), 0.085, 0.115)
	between("in a row", part(lost, runs), 1.03, 1.2) // each on its own: 1/(1-0.1)
	lost, runs = bursts(set(topology.Impair{Loss: 0.1, Burst: 5}))
	between("lost in bursts", part(lost, frames), 0.06, 0.14)
	between("in a row", part(lost, runs), 3.5, 6.5)
	between("all lost", float64(len(set(topology.Impair{Loss: 1}))), 0, 0)
	between("doubled", part(len(set(topology.Impair{Duplicate: 0.1})), frames), 1.085, 1.115)
	between("not spoilt", part(len(set(topology.Impair{Corrupt: 0.1})), frames), 0.885, 0.915)
	got := set(topology.Impair{Delay: time.Second, Reorder: 0.1})
	early := len(overtaking(got))
	between("early", part(early, frames), 0.085, 0.115)
	between("early or late", part(len(got), frames), 1, 1)
}

// overtaking are the arrivals before which none came that was sent later.
func overtaking(got []arrival) []arrival {
	var all []arrival
	for _, a := range got {
		if len(all) == 0 || a.number > all[len(all)-1].number {
			all = append(all, a)
		}
	}
	return all
}

// TestGuestDelays: frames take as long as was asked for, and their delays spread so. An
// emulated machine that waits for a processor only adds to them: one calm moment will do.
func TestGuestDelays(t *testing.T) {
	d := apart(t)
	const frames, delay, jitter = 1500, 200 * ms, 20 * ms
	for _, c := range []struct {
		spread      string
		least, most time.Duration // that the fastest takes
		deviation   float64       // in jitters
	}{
		{"", delay, delay + 5*ms, 0},
		{topology.SpreadUniform, delay - jitter, delay - jitter*8/10, 1 / math.Sqrt(3)},
		{topology.SpreadNormal, delay - 4*jitter, delay - jitter*25/10, 1},
		{topology.SpreadPareto, delay - jitter*83/100, delay - jitter*6/10, 1},
		{topology.SpreadParetoNormal, delay - jitter*18/10, delay - jitter*12/10, 1},
	} {
		i := topology.Impair{Delay: delay, Distribution: c.spread}
		if c.spread != "" {
			i.Jitter = jitter
		}
		must(t, Set(d.a, i, 1500))
		calm := false
		for try := 0; !calm && try < 12; try++ {
			got := d.send(frames, ms)
			if len(got) != frames {
				t.Errorf("%q: %d frames of %d arrive", c.spread, len(got), frames)
				break
			}
			fastest := got[0].took
			var sum, squares float64
			for _, a := range got {
				fastest = min(fastest, a.took)
				sum += float64(a.took)
				squares += float64(a.took) * float64(a.took)
			}
			mean := time.Duration(sum / frames)
			deviation := math.Sqrt(squares/frames-float64(mean)*float64(mean)) / float64(jitter)
			t.Logf("%q: %v at least, mean %v, deviation %.2f jitters", c.spread, fastest, mean, deviation)
			if fastest < c.least {
				t.Errorf("%q: one takes %v, want %v at least", c.spread, fastest, c.least)
			}
			calm = fastest <= c.most && mean > delay-3*ms && mean < delay+10*ms && deviation > c.deviation*0.85 && deviation < c.deviation*1.2+0.2
		}
		if !calm {
			t.Errorf("%q: the delays do not spread so", c.spread)
		}
	}
}

// TestGuestRate: the rate holds for what is delayed, in whichever queue it waits.
func TestGuestRate(t *testing.T) {
	for _, aqm := range []string{topology.AQMFIFO, topology.AQMFqCoDel, topology.AQMPIE} {
		d := apart(t)
		const frames, rate = 1000, 400_000 // frames of 100 bytes: two seconds
		must(t, Set(d.a, topology.Impair{Rate: rate, Delay: 100 * ms, Queue: 1 << 20, AQM: aqm}, 1500))
		got := d.send(frames, 0)
		if aqm == topology.AQMFIFO && len(got) != frames {
			t.Errorf("%s: %d of %d arrive", aqm, len(got), frames)
		}
		if len(got) < 10 {
			t.Fatalf("%s: %d of %d arrive", aqm, len(got), frames)
		}
		took := got[len(got)-1].came - got[0].came
		kept := float64(len(got)) * 800 / took.Seconds() / rate
		t.Logf("%s: %d of %d frames in %v, the first after %v: %.3f of the rate", aqm, len(got), frames, took, got[0].took, kept)
		if got[0].took < 100*ms || kept > 1.1 || kept < 0.5 {
			t.Errorf("%s: %.2f of the rate", aqm, kept)
		}
	}
}

// TestGuestOvertakes: a frame that overtakes what is delayed does not wait for the rate
// either, as the package says.
func TestGuestOvertakes(t *testing.T) {
	d := apart(t)
	const frames, rate = 500, 40_000 // frames of 100 bytes: 5 seconds of half of them
	must(t, Set(d.a, topology.Impair{Rate: rate, Delay: time.Second, Reorder: 0.5, Queue: 1 << 20, AQM: topology.AQMFIFO}, 1500))
	early := overtaking(d.send(frames, 0))
	if share := part(len(early), frames); share < 0.4 || share > 0.6 {
		t.Errorf("%.2f of the frames overtake", share)
	}
	if took := early[len(early)*9/10].came - early[0].came; took > 5*time.Second/2 {
		t.Errorf("those that overtake take %v: they wait for the rate", took)
	}
}
