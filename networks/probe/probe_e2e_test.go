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

// patience is how often a busy machine is asked again.
const patience = 5

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
	t.Logf("%v; delay %.3f to %.3f ms, host %.3f ms, deviation %.3f ms, jitter %.3f ms, rate %+v, %d frames, %.1f s",
		v, m.Delay.Low, m.Delay.High, m.host(), m.Deviation, m.Jitter.Value, m.Rate, m.Sent, m.Seconds)
	return m, v
}

// conclusive is the verdict on a path that a busy machine may have to be asked for again.
func conclusive(t *testing.T, p Path, set topology.Impair) Verdict {
	t.Helper()
	for range patience {
		if _, v := measured(t, p, set); v.Result() != Inconclusive {
			return v
		}
	}
	t.Fatal("this machine is too busy")
	return Verdict{}
}

func TestWireRate(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		cable(t)
		p, err := Wire("w0", "w1")
		must(t, err)
		others := []*sink{watch(t, "p0"), watch(t, "p1")}
		t.Run("nothing set", func(t *testing.T) {
			if v := conclusive(t, p, topology.Impair{}); v.Result() != OK {
				t.Error(v)
			}
		})
		for _, c := range []struct {
			mbit, queue, burst int64
		}{{2, 24224, 3028}, {20, 24224, 5000}, {200, 500000, 50000}} {
			t.Run(fmt.Sprintf("%d Mbit per s", c.mbit), func(t *testing.T) {
				sh(t, "tc qdisc replace dev w0 root tbf rate %dmbit burst %d limit %d", c.mbit, c.burst, c.queue)
				set := topology.Impair{Rate: c.mbit * 1e6, Queue: c.queue, AQM: topology.AQMFIFO}
				if v := conclusive(t, p, set); v.Result() != OK {
					t.Error(v)
				}
			})
		}
		t.Run("another rate than is set", func(t *testing.T) {
			sh(t, "tc qdisc replace dev w0 root tbf rate 20mbit burst 5000 limit 24224")
			for _, rate := range []int64{18e6, 22e6} {
				set := topology.Impair{Rate: rate, Queue: 24224, AQM: topology.AQMFIFO}
				if v := conclusive(t, p, set); value(t, v, "rate_mbit_per_s").Result != Off {
					t.Error(v)
				}
			}
			sh(t, "tc qdisc del dev w0 root")
			set := topology.Impair{Rate: 20e6, Queue: 24224, AQM: topology.AQMFIFO}
			if v := conclusive(t, p, set); value(t, v, "rate_mbit_per_s").Result != Off {
				t.Error(v)
			}
		})
		t.Run("past the queue", func(t *testing.T) {
			sh(t, "tc qdisc replace dev w0 root tbf rate 1mbit burst 40 limit 3000") // drops frames longer than its bucket
			if m, _ := measured(t, p, topology.Impair{}); m.Loss.Value != 100 || m.Host == nil {
				t.Errorf("the host's part is not measured past a queue that lets nothing by: %+v", m)
			}
			sh(t, "tc qdisc del dev w0 root")
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
	take(t, link, func(f []byte, _ int64) {
		if len(f) >= topology.EthernetHeader && binary.BigEndian.Uint16(f[12:]) == experimental {
			s.frames.Add(1)
		}
	})
	return s
}

// take calls do with every frame that comes in by a link, and when it did (ns of Unix
// time), until the test ends.
func take(t *testing.T, link string, do func(f []byte, at int64)) {
	t.Helper()
	fd, err := packetSocket(link, unix.ETH_P_ALL, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	})
	must(t, err)
	l := &line{in: os.NewFile(uintptr(fd), link), out: -1, past: -1, buffer: make([]byte, 1<<16)}
	l.raw, err = l.in.SyscallConn()
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			f, at, err := l.receive()
			if err != nil {
				return
			}
			do(f, at)
		}
	}()
	t.Cleanup(func() { l.close(); <-done })
}

// relay carries frames from link to link as an impairment says, in place of netem, and
// notes what it really did to each: it is a program, and late on a busy machine.
type relay struct {
	topology.Impair
	offset int
	change func(f []byte)
	random *rand.Rand
	bad    bool // frames are being lost

	mutex sync.Mutex
	waits held
	more  chan struct{}
	did   map[uint32]*fate // by number
}

// fate is what the relay did to a frame.
type fate struct {
	lost, double, let bool
	damaged           int           // copies
	took              time.Duration // the first copy
}

type waiting struct {
	*fate
	came, due int64 // ns of Unix time
	frame     []byte
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
	what := &fate{lost: r.lost(), double: r.random.Float64() < r.Duplicate, let: r.random.Float64() < r.Reorder}
	r.did[binary.BigEndian.Uint32(f[r.offset+4:])] = what
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
		heap.Push(&r.waits, waiting{what, came, came + after.Nanoseconds(), g})
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

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
		Impair: i, offset: len(p.Head(payloadLeast)), change: change, random: rand.New(rand.NewPCG(9, 10)),
		more: make(chan struct{}, 1), did: map[uint32]*fate{},
	}
	out, err := packetSocket(to, 0)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for ctx.Err() == nil {
			now, next := r.due()
			for _, w := range now {
				sent := time.Now().UnixNano()
				if err := hand(out, w.frame); err != nil {
					t.Error(err)
				}
				if w.took == 0 {
					w.took = time.Duration(sent - w.came)
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
	take(t, from, r.frame)
	return r
}

func (r *relay) idle() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.waits) == 0
}

// last sums up what the relay did to the last n frames; took is that of each batch's first.
func (r *relay) last(n, batch int) (lost, double, let, damaged int, took []float64) {
	var newest uint32
	for number := range r.did {
		newest = max(newest, number)
	}
	for i := range uint32(n) {
		f := r.did[newest-i]
		if f.lost {
			lost++
			continue
		}
		if f.double {
			double++
		}
		if f.let {
			let++
		} else if (n-1-int(i))%batch == 0 {
			took = append(took, ms(f.took))
		}
		damaged += f.damaged
	}
	slices.Sort(took)
	return lost, double, let, damaged, took
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
				m, _ := measured(t, c.path, c.set)
				lost, double, let, damaged, took := r.last(m.Sent, counting(c.set, least, false, c.set.Delay+reach(c.set)).batch)
				left := m.Sent - lost
				for what, share := range map[string][2]float64{
					"loss":      {m.Loss.Value, share100(lost, m.Sent)},
					"duplicate": {m.Duplicate.Value, share100(double, m.Sent)},
					"corrupt":   {m.Corrupt.Value, share100(damaged, left+double)},
				} {
					if !near(share[0], share[1], 1e-9) {
						t.Errorf("%s: %v %% are measured, %v %% were done", what, share[0], share[1])
					}
				}
				if c.set.Reorder > 0 && !near(m.Undelayed.Value, share100(let, left), 0.05) {
					t.Errorf("undelayed: %v %% are measured, %v %% were done", m.Undelayed.Value, share100(let, left))
				}
				t.Logf("the relay took %.3f ms, %.3f ms between the quartiles", quantile(took, 0.5).Value, between(took).Value)
				if d := quantile(took, 0.5).Value; !near(m.Delay.Value, d, 0.5+d/50) {
					t.Errorf("a delay of %v ms is measured, the relay's was %v ms", m.Delay.Value, d)
				}
				if j := between(took).Value / shapes[c.set.Distribution].quartiles; c.set.Jitter > 0 && !near(m.Jitter.Value, j, j/5) {
					t.Errorf("a jitter of %v ms is measured, the relay's was %v ms", m.Jitter.Value, j)
				}
				if m.Host != nil {
					t.Error("the host's part is told, and was not measured")
				}
			})
		}
		t.Run("other than is set", func(t *testing.T) {
			carry(t, "r0", "r1", topology.Impair{Delay: 20 * time.Millisecond, Loss: 0.03, Duplicate: 0.02, Corrupt: 0.02}, wire, plain)
			_, v := measured(t, wire, topology.Impair{Delay: 10 * time.Millisecond, Loss: 0.01, Duplicate: 0.005, Corrupt: 0.005})
			for _, name := range []string{"delay_ms", "loss_percent", "duplicate_percent", "corrupt_percent"} {
				if value(t, v, name).Result != Off {
					t.Errorf("%s: %v", name, v)
				}
			}
		})
		t.Run("far later than is set", func(t *testing.T) {
			carry(t, "r0", "r1", topology.Impair{Delay: 800 * time.Millisecond}, wire, plain)
			_, v := measured(t, wire, topology.Impair{Delay: 10 * time.Millisecond})
			for name, want := range map[string]string{"loss_percent": OK, "delay_ms": Off} {
				if value(t, v, name).Result != want {
					t.Errorf("%s: %v, want %s", name, v, want)
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

// Frames cross a router that forwards, at the rate of its other NIC; nobody answers.
func TestRouter(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		sh(t, `sysctl -qw net.ipv6.conf.default.disable_ipv6=1
			ip netns add router; ip netns add server
			ip link add br0 type bridge; ip link set br0 up
			ip link add w0 type veth peer name eth0 address %s netns router
			ip link add w1 type veth peer name eth1 netns router
			ip link add s0 type veth peer name eth0 netns server
			ip link set w1 master br0; ip link set s0 master br0
			for l in w0 w1 s0; do ip link set $l up; done
			ip -n router address add 10.7.2.1/24 dev eth0; ip -n router address add 10.7.3.1/24 dev eth1
			ip -n router link set eth0 up; ip -n router link set eth1 up
			ip netns exec router sysctl -qw net.ipv4.ip_forward=1
			ip -n server address add 10.7.3.41/24 dev eth0; ip -n server link set eth0 up
			ip -n server route add default via 10.7.3.1
			ip netns exec router tc qdisc add dev eth1 root tbf rate 20mbit burst 5000 limit 100000`, routerMAC)
		p := routed(t)
		p.In, p.Out = "w0", "w1"
		var back atomic.Int64
		take(t, "w0", func(f []byte, _ int64) {
			if binary.BigEndian.Uint16(f[12:]) == 0x0800 {
				back.Add(1)
			}
		})
		set := topology.Impair{Rate: 20e6, Queue: 100000, AQM: topology.AQMFIFO}
		if v := conclusive(t, p, set); v.Result() != OK {
			t.Error(v)
		}
		if n := back.Load(); n > 0 {
			t.Errorf("%d frames came back", n)
		}
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
			if !errors.Is(err, why) || took > time.Second {
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
