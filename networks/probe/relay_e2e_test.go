//go:build e2e

package probe

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// relay carries frames from link to link as an impairment says, in place of netem. It is
// a program, and late on a busy machine: what it really did to each frame is noted, and
// when the kernel had them.
type relay struct {
	topology.Impair
	from   string
	before int // frames that came by it before there was a relay
	offset int
	change func(f []byte)
	random *rand.Rand
	bad    bool // frames are being lost

	mutex sync.Mutex
	waits held
	more  chan struct{}
	mark  uint32           // of the frames that come now
	did   map[uint64]*fate // by mark and number
}

// fate is what the relay did to a frame.
type fate struct {
	lost, double, let bool
	damaged           int   // copies
	came, left        int64 // ns of Unix time; the first copy
}

type waiting struct {
	due   int64 // ns of Unix time
	frame []byte
}

type held []waiting

func (h held) Len() int           { return len(h) }
func (h held) Less(i, j int) bool { return h[i].due < h[j].due }
func (h held) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *held) Push(x any)        { *h = append(*h, x.(waiting)) }
func (h *held) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	*h = (*h)[:last]
	return f
}

// lost is the next state of a chain whose losses have the share and the mean run that are set.
func (r *relay) lost() bool {
	if r.bad {
		r.bad = r.random.Float64() >= 1/max(r.Burst, 1/(1-r.Loss))
	} else {
		r.bad = r.random.Float64() < r.Loss/(1-r.Loss)/max(r.Burst, 1/(1-r.Loss))
	}
	return r.bad
}

// frame decides on a frame that came.
func (r *relay) frame(f []byte, came int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	what := &fate{lost: r.lost(), double: r.random.Float64() < r.Duplicate, let: r.random.Float64() < r.Reorder, came: came}
	r.mark = binary.BigEndian.Uint32(f[r.offset:])
	r.did[r.key(binary.BigEndian.Uint32(f[r.offset+4:]))] = what
	if what.lost {
		return
	}
	after := r.Delay + time.Duration(r.random.NormFloat64()*float64(r.Jitter))
	if what.let {
		after = 0
	}
	copies := 1
	if what.double {
		copies = 2
	}
	for range copies {
		g := slices.Clone(f)
		r.change(g)
		if r.random.Float64() < r.Corrupt {
			what.damaged++
			g[r.random.IntN(len(g))] ^= 1 << r.random.IntN(8)
		}
		heap.Push(&r.waits, waiting{came + after.Nanoseconds(), g})
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// leaves notes that a frame left.
func (r *relay) leaves(f []byte, at int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if n, ok := numberOf(f, r.offset, r.mark); ok && r.did[r.key(n)].left == 0 {
		r.did[r.key(n)].left = at
	}
}

// key is that of the frame of that number, of those that come now.
func (r *relay) key(number uint32) uint64 { return uint64(r.mark)<<32 | uint64(number) }

// due are the frames whose time has come, and when the next one's does.
func (r *relay) due() (now []waiting, next time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for len(r.waits) > 0 && r.waits[0].due <= time.Now().UnixNano() {
		now = append(now, heap.Pop(&r.waits).(waiting))
	}
	next = time.Now().Add(200 * time.Microsecond)
	if len(r.waits) > 0 {
		next = time.Unix(0, min(r.waits[0].due, next.UnixNano()))
	}
	return now, next
}

// carry starts a relay between two links, until the test ends.
func carry(t *testing.T, from, to string, i topology.Impair, p Path, change func([]byte)) *relay {
	t.Helper()
	r := &relay{
		Impair: i, from: from, before: received(t, from), offset: len(p.Head(payloadLeast)), change: change, random: rand.New(rand.NewPCG(9, 10)),
		more: make(chan struct{}, 1), did: map[uint64]*fate{},
	}
	out, err := packetSocket(to, 0, func(fd int) error { // what a busy machine held leaves at once
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for ctx.Err() == nil {
			now, next := r.due()
			for _, w := range now {
				if err := hand(out, w.frame); err != nil {
					t.Error(err)
				}
			}
			if len(now) == 0 && r.idle() {
				select {
				case <-r.more:
				case <-ctx.Done():
				}
				continue
			}
			_ = sleep(ctx, next)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; _ = unix.Close(out) })
	take(t, to, all, r.leaves) // nothing comes in by it
	take(t, from, incoming, r.frame)
	return r
}

// received is how many frames have come in by a link.
func received(t *testing.T, link string) int {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	return int(l.Attrs().Statistics.RxPackets)
}

func (r *relay) idle() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.waits) == 0
}

// rest waits until the relay has let by all that came.
func (r *relay) rest(t *testing.T) {
	t.Helper()
	rests := func() bool {
		came := received(t, r.from) - r.before
		r.mutex.Lock()
		defer r.mutex.Unlock()
		for _, f := range r.did {
			if !f.lost && f.left == 0 {
				return false
			}
		}
		return len(r.did) == came
	}
	for start := time.Now(); !rests(); time.Sleep(pace) {
		if time.Since(start) > patience {
			t.Fatal("the relay does not come to rest")
		}
	}
}

// done is what a relay did to frames.
type done struct {
	lost, double, damaged, undelayed int
	took                             []float64     // ms; each batch's first, unless let by, sorted
	until                            time.Duration // from when the last one came, all had left
}

// last sums up what the relay did to the last n frames.
func (r *relay) last(t *testing.T, n, batch int) done {
	t.Helper()
	r.rest(t)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	newest := uint32(0)
	for r.did[r.key(newest+1)] != nil {
		newest++
	}
	var d done
	for i := range uint32(n) {
		f := r.did[r.key(newest-i)]
		if f.lost {
			d.lost++
			continue
		}
		took := time.Duration(f.left - f.came)
		d.until = max(d.until, time.Duration(f.left-r.did[r.key(newest)].came))
		if f.double {
			d.double++
		}
		if took < r.Delay/2 {
			d.undelayed++
		}
		if !f.let && (n-1-int(i))%batch == 0 {
			d.took = append(d.took, ms(took))
		}
		d.damaged += f.damaged
	}
	slices.Sort(d.took)
	return d
}

// relayed measures a relay, and again where a busy machine held frames in it for longer
// than they were waited for, or what was measured is not what check wants.
func relayed(t *testing.T, r *relay, p Path, set topology.Impair, check func(m Measured, v Verdict, did done) (wrong []string)) {
	t.Helper()
	wait := max(set.Delay, r.Delay) + reach(set) + slack
	calmly(t, func() []string {
		m, v := measured(t, p, set)
		d := r.last(t, m.Sent, counting(set, least, false, wait-slack).batch)
		if d.until >= wait {
			return []string{fmt.Sprintf("the relay's last frame left after %v, %v were waited for", d.until, wait)}
		}
		return check(m, v, d)
	})
}

// unlike are the values of a verdict whose results are not those wanted.
func unlike(t *testing.T, v Verdict, want map[string]string) (wrong []string) {
	t.Helper()
	for name, result := range want {
		if value(t, v, name).Result != result {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %s", name, v, result))
		}
	}
	return wrong
}

// What a relay does to frames is recovered, by frames for the wire and by frames that a
// router has changed.
func TestRelay(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		sh(t, `sysctl -qw net.ipv6.conf.default.disable_ipv6=1
			for i in 0 1; do
				ip link add w$i type veth peer name r$i
				for l in w$i r$i; do ip link set $l up; done
			done`)
		wire, err := Wire("w0", "w1")
		must(t, err)
		wire.Own = false // past the queueing discipline there is the relay still
		plain := func([]byte) {}
		router := routed(t)
		router.In, router.Out = "w0", "w1"
		forward := func(f []byte) {
			copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8})
			f[22]--
			binary.BigEndian.PutUint16(f[24:], binary.BigEndian.Uint16(f[24:])+0x100) // as much more as there is less
		}
		for _, c := range []struct {
			name   string
			set    topology.Impair
			path   Path
			change func([]byte)
		}{
			{"delay", topology.Impair{Delay: 92 * time.Millisecond}, wire, plain},
			{"jitter", topology.Impair{Delay: 60 * time.Millisecond, Jitter: 8 * time.Millisecond, Distribution: topology.SpreadNormal}, wire, plain},
			{"loss", topology.Impair{Loss: 0.01}, wire, plain},
			{"bursts", topology.Impair{Loss: 0.05, Burst: 6}, wire, plain},
			{"duplicates", topology.Impair{Duplicate: 0.02, Delay: 5 * time.Millisecond}, wire, plain},
			{"order", topology.Impair{Reorder: 0.05, Delay: 400 * time.Millisecond}, wire, plain},
			{"damage", topology.Impair{Corrupt: 0.03}, wire, plain},
			{"a router", topology.Impair{Delay: 20 * time.Millisecond, Loss: 0.01, Duplicate: 0.01, Corrupt: 0.02}, router, forward},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := carry(t, "r0", "r1", c.set, c.path, c.change)
				relayed(t, r, c.path, c.set, func(m Measured, _ Verdict, did done) (wrong []string) {
					left := m.Sent - did.lost
					for what, share := range map[string][2]float64{
						"loss":      {m.Loss.Value, share100(did.lost, m.Sent)},
						"duplicate": {m.Duplicate.Value, share100(did.double, m.Sent)},
						"corrupt":   {m.Corrupt.Value, share100(did.damaged, left+did.double)},
					} {
						if !near(share[0], share[1], 1e-9) {
							wrong = append(wrong, fmt.Sprintf("%s: %v %% are measured, %v %% were done", what, share[0], share[1]))
						}
					}
					if u := share100(did.undelayed, left); c.set.Reorder > 0 && !near(m.Undelayed.Value, u, 0.05) {
						wrong = append(wrong, fmt.Sprintf("undelayed: %v %% are measured, %v %% were done", m.Undelayed.Value, u))
					}
					t.Logf("the relay took %.3f ms, %.3f ms between the quartiles", quantile(did.took, 0.5).Value, between(did.took).Value)
					if d := quantile(did.took, 0.5).Value; !near(m.Delay.Value, d, 0.5) {
						wrong = append(wrong, fmt.Sprintf("a delay of %v ms is measured, the relay's was %v ms", m.Delay.Value, d))
					}
					if j := between(did.took).Value / shapes[c.set.Distribution].quartiles; c.set.Jitter > 0 && !near(m.Jitter.Value, j, j/20) {
						wrong = append(wrong, fmt.Sprintf("a jitter of %v ms is measured, the relay's was %v ms", m.Jitter.Value, j))
					}
					if m.Host != nil {
						t.Error("the host's part is told, and was not measured")
					}
					return wrong
				})
			})
		}
		t.Run("other than is set", func(t *testing.T) {
			carry(t, "r0", "r1", topology.Impair{Delay: 20 * time.Millisecond, Loss: 0.03, Duplicate: 0.02, Corrupt: 0.02}, wire, plain)
			calmly(t, func() []string {
				_, v := measured(t, wire, topology.Impair{Delay: 10 * time.Millisecond, Loss: 0.01, Duplicate: 0.005, Corrupt: 0.005})
				return unlike(t, v, map[string]string{"delay_ms": Off, "loss_percent": Off, "duplicate_percent": Off, "corrupt_percent": Off})
			})
		})
		t.Run("far later than is set", func(t *testing.T) {
			r := carry(t, "r0", "r1", topology.Impair{Delay: 800 * time.Millisecond}, wire, plain)
			relayed(t, r, wire, topology.Impair{Delay: 10 * time.Millisecond}, func(_ Measured, v Verdict, _ done) []string {
				return unlike(t, v, map[string]string{"loss_percent": OK, "delay_ms": Off})
			})
		})
		t.Run("nothing comes", func(t *testing.T) {
			_, v := measured(t, wire, topology.Impair{Rate: 20e6, Queue: 24224})
			for _, wrong := range unlike(t, v, map[string]string{"loss_percent": Off, "delay_ms": Inconclusive, "rate_mbit_per_s": Inconclusive}) {
				t.Error(wrong)
			}
		})
	})
}
