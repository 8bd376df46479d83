//go:build e2e

package probe

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

const mtu = 1500

func sh(t *testing.T, format string, args ...any) {
	t.Helper()
	script := fmt.Sprintf(format, args...)
	if out, err := exec.CommandContext(t.Context(), "bash", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// cable makes a veth pair of which each end is a port of a bridge of its own, with
// another port beside it: w0 in br0 with o0, w1 in br1 with o1. What o0 and o1 get
// is seen on p0 and p1.
func cable(t *testing.T) {
	t.Helper()
	sh(t, `sysctl -qw net.ipv6.conf.default.disable_ipv6=1
		ip link add w0 type veth peer name w1
		for i in 0 1; do
			ip link add br$i type bridge
			ip link add o$i type veth peer name p$i
			for l in w$i o$i; do ip link set $l master br$i; done
			for l in w$i o$i p$i br$i; do ip link set $l up; done
		done`)
}

func measured(t *testing.T, p Path, set topology.Impair) (Measured, Verdict) {
	t.Helper()
	m, err := Measure(t.Context(), p, set, mtu)
	must(t, err)
	v := Judge("client->server", set, m)
	t.Logf("%v (host %.3f ms, deviation %.3f ms, %d frames, %.1f s)", v, m.host(), m.Deviation, m.Sent, m.Seconds)
	return m, v
}

func TestWireRate(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		cable(t)
		p, err := Wire("w0", "w1")
		must(t, err)
		others := []*sink{watch(t, "p0"), watch(t, "p1")}
		t.Run("nothing set", func(t *testing.T) {
			if _, v := measured(t, p, topology.Impair{}); v.Result() != OK {
				t.Error(v)
			}
		})
		for _, c := range []struct {
			mbit, queue, burst int64
		}{{2, 24224, 3028}, {20, 24224, 5000}, {200, 500000, 50000}} {
			t.Run(fmt.Sprintf("%d Mbit per s", c.mbit), func(t *testing.T) {
				sh(t, "tc qdisc replace dev w0 root tbf rate %dmbit burst %d limit %d", c.mbit, c.burst, c.queue)
				set := topology.Impair{Rate: c.mbit * 1e6, Queue: c.queue, AQM: topology.AQMFIFO}
				if m, v := measured(t, p, set); v.Result() != OK {
					t.Errorf("%v\n%+v", v, m.Rate)
				}
			})
		}
		t.Run("another rate than is set", func(t *testing.T) {
			sh(t, "tc qdisc replace dev w0 root tbf rate 20mbit burst 5000 limit 24224")
			for _, rate := range []int64{18e6, 22e6} {
				set := topology.Impair{Rate: rate, Queue: 24224, AQM: topology.AQMFIFO}
				if _, v := measured(t, p, set); value(t, v, "rate_mbit_per_s").Result != Off {
					t.Error(v)
				}
			}
			sh(t, "tc qdisc del dev w0 root")
			set := topology.Impair{Rate: 20e6, Queue: 24224, AQM: topology.AQMFIFO}
			if _, v := measured(t, p, set); value(t, v, "rate_mbit_per_s").Result != Off {
				t.Error(v)
			}
		})
		for i, o := range others {
			if n := o.frames.Load(); n > 0 {
				t.Errorf("another port of bridge %d got %d frames", i, n)
			}
		}
		// They would have been seen: a frame for another MAC is.
		sh(t, "ip link set w1 address 02:00:00:00:00:77")
		flood := Path{In: "w0", Out: "w1", Head: func(int) []byte { return []byte{2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x88, 0xb5} }}
		_, err = Measure(t.Context(), flood, topology.Impair{}, mtu)
		must(t, err)
		if others[1].frames.Load() == 0 {
			t.Error("this test shows nothing: no other port would see a frame")
		}
	})
}

// sink counts the experimental frames that come in by a link.
type sink struct{ frames atomic.Int64 }

func watch(t *testing.T, link string) *sink {
	t.Helper()
	s := &sink{}
	take(t, link, func(f []byte) {
		if len(f) >= topology.EthernetHeader && binary.BigEndian.Uint16(f[12:]) == experimental {
			s.frames.Add(1)
		}
	})
	return s
}

// take calls do with every frame that comes in by a link, until the test ends.
func take(t *testing.T, link string, do func([]byte)) {
	t.Helper()
	fd, err := packetSocket(link, unix.ETH_P_ALL, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	})
	must(t, err)
	f := os.NewFile(uintptr(fd), link)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			do(b[:n])
		}
	}()
	t.Cleanup(func() { _ = f.Close(); <-done })
}

// relay carries frames from link to link as an impairment says, in place of netem.
type relay struct {
	topology.Impair
	random *rand.Rand
	bad    bool // frames are being lost
	change func(f []byte)
	mutex  sync.Mutex
	waits  held
	more   chan struct{}
}

type frameAt struct {
	at    time.Time
	frame []byte
}

type held []frameAt

func (h held) Len() int           { return len(h) }
func (h held) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h held) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *held) Push(x any)        { *h = append(*h, x.(frameAt)) }
func (h *held) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	*h = (*h)[:last]
	return f
}

// lost is the next state of a chain whose losses have the share and the mean run that are set.
func (r *relay) lost() bool {
	burst := max(r.Burst, 1/(1-r.Loss))
	if r.bad {
		r.bad = r.random.Float64() >= 1/burst
	} else {
		r.bad = r.random.Float64() < r.Loss/(1-r.Loss)/burst
	}
	return r.bad
}

func (r *relay) frame(f []byte) {
	now := time.Now()
	if r.Loss > 0 && r.lost() {
		return
	}
	copies := 1
	if r.random.Float64() < r.Duplicate {
		copies = 2
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for range copies {
		g := slices.Clone(f)
		if r.change != nil {
			r.change(g)
		}
		if r.random.Float64() < r.Corrupt {
			g[r.random.IntN(len(g))] ^= 1 << r.random.IntN(8)
		}
		at := now.Add(r.Delay + time.Duration(r.random.NormFloat64()*float64(r.Jitter)))
		if r.random.Float64() < r.Reorder {
			at = now
		}
		heap.Push(&r.waits, frameAt{at, g})
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// carry starts the relay between two links, until the test ends.
func carry(t *testing.T, from, to string, i topology.Impair, change func([]byte)) {
	t.Helper()
	r := &relay{Impair: i, random: rand.New(rand.NewPCG(9, 10)), change: change, more: make(chan struct{}, 1)}
	out, err := packetSocket(to, 0)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		for ctx.Err() == nil {
			r.mutex.Lock()
			var due []frameAt
			for len(r.waits) > 0 && !r.waits[0].at.After(time.Now()) {
				due = append(due, heap.Pop(&r.waits).(frameAt))
			}
			next := time.Time{}
			if len(r.waits) > 0 {
				next = r.waits[0].at
			}
			r.mutex.Unlock()
			for _, f := range due {
				if err := hand(out, f.frame); err != nil {
					t.Error(err)
				}
			}
			if next.IsZero() {
				select {
				case <-r.more:
				case <-ctx.Done():
				}
			} else if soon := time.Now().Add(200 * time.Microsecond); next.After(soon) {
				_ = sleep(ctx, soon)
			} else {
				_ = sleep(ctx, next)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; _ = unix.Close(out) })
	take(t, from, r.frame)
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
		forward := func(f []byte) {
			copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8})
			f[22]--
			binary.BigEndian.PutUint16(f[24:], binary.BigEndian.Uint16(f[24:])+0x100) // one in the high byte less, RFC 1624
		}
		for _, c := range []struct {
			name   string
			set    topology.Impair
			path   Path
			change func([]byte)
		}{
			{"delay", topology.Impair{Delay: 92 * time.Millisecond}, wire, nil},
			{"jitter", topology.Impair{Delay: 30 * time.Millisecond, Jitter: 5 * time.Millisecond, Distribution: topology.SpreadNormal}, wire, nil},
			{"loss", topology.Impair{Loss: 0.01}, wire, nil},
			{"bursts", topology.Impair{Loss: 0.05, Burst: 6}, wire, nil},
			{"duplicates", topology.Impair{Duplicate: 0.02, Delay: 5 * time.Millisecond}, wire, nil},
			{"order", topology.Impair{Reorder: 0.05, Delay: 20 * time.Millisecond}, wire, nil},
			{"damage", topology.Impair{Corrupt: 0.03}, wire, nil},
			{"a router", topology.Impair{Delay: 20 * time.Millisecond, Loss: 0.01, Duplicate: 0.01, Corrupt: 0.02}, routed(t), forward},
		} {
			t.Run(c.name, func(t *testing.T) {
				carry(t, "r0", "r1", c.set, c.change)
				c.path.In, c.path.Out = "w0", "w1"
				m, v := measured(t, c.path, c.set)
				if v.Result() != OK {
					t.Errorf("%v\n%+v", v, m)
				}
				if m.Host != nil {
					t.Error("the host's part is told, and was not measured")
				}
			})
		}
		t.Run("other than is set", func(t *testing.T) {
			carry(t, "r0", "r1", topology.Impair{Delay: 20 * time.Millisecond, Loss: 0.03, Duplicate: 0.02, Corrupt: 0.02}, nil)
			_, v := measured(t, wire, topology.Impair{Delay: 10 * time.Millisecond, Loss: 0.01, Duplicate: 0.005, Corrupt: 0.005})
			for _, name := range []string{"delay_ms", "loss_percent", "duplicate_percent", "corrupt_percent"} {
				if value(t, v, name).Result != Off {
					t.Errorf("%s: %v", name, v)
				}
			}
		})
		t.Run("nothing comes", func(t *testing.T) {
			_, v := measured(t, wire, topology.Impair{Rate: 20e6, Queue: 24224})
			for name, want := range map[string]string{"loss_percent": Off, "delay_ms": Inconclusive, "rate_mbit_per_s": Inconclusive} {
				if value(t, v, name).Result != want {
					t.Errorf("%s: %v, want %s", name, v, want)
				}
			}
		})
	})
}

// A measurement that is not wanted any more ends at once, whatever it is at.
func TestCancelled(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		cable(t)
		p, err := Wire("w0", "w1")
		must(t, err)
		sh(t, "tc qdisc replace dev w0 root tbf rate 10kbit burst 1600 limit 100000")
		files := func() int {
			all, err := os.ReadDir("/proc/self/fd")
			must(t, err)
			return len(all)
		}
		before := files()
		why := errors.New("no more of it")
		for _, after := range []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond} {
			ctx, cancel := context.WithCancelCause(t.Context())
			var at atomic.Int64
			timer := time.AfterFunc(after, func() { at.Store(time.Now().UnixNano()); cancel(why) })
			_, err := Measure(ctx, p, topology.Impair{Rate: 10e3, Queue: 100000, Delay: time.Second}, mtu)
			took := time.Since(time.Unix(0, at.Load()))
			timer.Stop()
			cancel(nil)
			if !errors.Is(err, why) || took > 200*time.Millisecond {
				t.Errorf("cancelled after %v: %v, %v later", after, err, took)
			}
		}
		if now := files(); now != before {
			t.Errorf("%d files were open, %d are", before, now)
		}
		if _, err := Measure(t.Context(), Path{In: "w0", Out: "w9", Head: p.Head}, topology.Impair{}, mtu); err == nil || !strings.Contains(err.Error(), "w9") {
			t.Errorf("without a link: %v", err)
		}
		sh(t, "ip link set w0 down")
		if _, err := Measure(t.Context(), p, topology.Impair{}, mtu); err == nil || !strings.Contains(err.Error(), "w0") {
			t.Errorf("a link that is down: %v", err)
		}
	})
}
