//go:build e2e

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

const mtu = 1500

// patience is how long a busy machine is asked again.
const patience = 5 * time.Minute

// calmly tries something again until nothing is wrong with it, since a busy machine disturbs what is measured: it has
// patience for it, but ends before the test would be ended. What was wrong the last time is an error.
func calmly(t *testing.T, try func() (wrong []string)) {
	t.Helper()
	end := time.Now().Add(patience)
	if last, ok := t.Deadline(); ok && last.Add(-time.Minute).Before(end) {
		end = last.Add(-time.Minute)
	}
	for {
		wrong := try()
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Error(strings.Join(wrong, "\n"))
			return
		}
		t.Logf("measured again: %s", strings.Join(wrong, "; "))
	}
}

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

// isOK has a path measured until it does what was set: a machine whose processors are taken away for
// longer than a bucket holds tokens carries less, really.
func isOK(t *testing.T, p Path, set topology.Impair) {
	t.Helper()
	calmly(t, func() []string {
		if _, v := measured(t, p, set); v.Result() != OK {
			return []string{v.String()}
		}
		return nil
	})
}

// isOff has a path measured until its rate is told to be another than was set.
func isOff(t *testing.T, p Path, set topology.Impair) {
	t.Helper()
	calmly(t, func() []string {
		if _, v := measured(t, p, set); value(t, v, "rate_mbit_per_s").Result != Off {
			return []string{"not off: " + v.String()}
		}
		return nil
	})
}

func TestWireRate(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		cable(t)
		p, err := Wire("w0", "w1")
		must(t, err)
		others := []*sink{watch(t, "p0"), watch(t, "p1")}
		t.Run("nothing set", func(t *testing.T) {
			isOK(t, p, topology.Impair{})
		})
		for _, c := range []struct {
			mbit, queue, burst int64
		}{{2, 24224, 3028}, {20, 24224, 5000}, {200, 500000, 50000}} {
			t.Run(fmt.Sprintf("%d Mbit per s", c.mbit), func(t *testing.T) {
				sh(t, "tc qdisc replace dev w0 root tbf rate %dmbit burst %d limit %d", c.mbit, c.burst, c.queue)
				set := topology.Impair{Rate: c.mbit * 1e6, Queue: c.queue, AQM: topology.AQMFIFO}
				isOK(t, p, set)
			})
		}
		t.Run("another rate than is set", func(t *testing.T) {
			sh(t, "tc qdisc replace dev w0 root tbf rate 20mbit burst 5000 limit 24224")
			for _, rate := range []int64{18e6, 22e6} {
				isOff(t, p, topology.Impair{Rate: rate, Queue: 24224, AQM: topology.AQMFIFO})
			}
			sh(t, "tc qdisc del dev w0 root")
			isOff(t, p, topology.Impair{Rate: 20e6, Queue: 24224, AQM: topology.AQMFIFO})
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
		for end := time.Now().Add(patience); others[1].frames.Load() == 0; time.Sleep(pace) { // they are looked at by and by
			if time.Now().After(end) {
				t.Fatal("this test shows nothing: no other port would see a frame")
			}
		}
	})
}

// sink counts the experimental frames that come in by a link.
type sink struct{ frames atomic.Int64 }

func watch(t *testing.T, link string) *sink {
	t.Helper()
	s := &sink{}
	take(t, link, incoming, func(f []byte, _ int64) {
		if len(f) >= topology.EthernetHeader && binary.BigEndian.Uint16(f[12:]) == experimental {
			s.frames.Add(1)
		}
	})
	return s
}

// Which frames of a link take looks at.
const (
	all      = 0
	incoming = 1 // those that leave by it are ignored
)

// take calls do with every frame of a link, and when the kernel had it (ns of Unix time),
// until the test ends.
func take(t *testing.T, link string, which int, do func(f []byte, at int64)) {
	t.Helper()
	fd, err := packetSocket(link, unix.ETH_P_ALL, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, which))
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
		take(t, "w0", incoming, func(f []byte, _ int64) {
			if binary.BigEndian.Uint16(f[12:]) == 0x0800 {
				back.Add(1)
			}
		})
		set := topology.Impair{Rate: 20e6, Queue: 100000, AQM: topology.AQMFIFO}
		isOK(t, p, set)
		if n := back.Load(); n > 0 {
			t.Errorf("%d frames came back", n)
		}
	})
}

// Frames that came in time are not lost because nobody has looked at them yet.
func TestLateReceiver(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		cable(t)
		p, err := Wire("w0", "w1")
		must(t, err)
		l, err := open(p, mtu)
		must(t, err)
		defer l.close()
		const frames = 100
		frame := l.blank(least)
		for n := range uint32(frames) {
			number(frame, l.offset, l.mark, n)
			must(t, hand(l.out, frame))
		}
		var counted int
		for end := time.Now().Add(patience); counted < frames; time.Sleep(pace) { // a busy kernel delivers them by and by
			var stats *unix.TpacketStats
			var serr error
			must(t, l.raw.Control(func(fd uintptr) {
				stats, serr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			}))
			must(t, serr)
			if counted += int(stats.Packets); counted < frames && time.Now().After(end) { // it counts since it was last asked
				t.Fatalf("%d of %d frames came", counted, frames)
			}
		}
		r := &receiver{line: l, ctx: t.Context()}
		must(t, r.until(time.Unix(1, 0))) // long ago
		var s stream
		must(t, r.receive(&s))
		if len(s.came) != frames {
			t.Errorf("%d of %d frames that came are seen", len(s.came), frames)
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
			calmly(t, func() []string {
				ctx, cancel := context.WithCancelCause(t.Context())
				var at atomic.Int64
				timer := time.AfterFunc(after, func() { at.Store(time.Now().UnixNano()); cancel(why) })
				_, err := Measure(ctx, p, topology.Impair{Rate: 10e3, Queue: 100000, Delay: time.Second}, mtu)
				took := time.Since(time.Unix(0, at.Load()))
				timer.Stop()
				cancel(nil)
				if !errors.Is(err, why) {
					t.Errorf("cancelled after %v: %v", after, err)
				} else if took > time.Second {
					return []string{fmt.Sprintf("cancelled after %v: %v later", after, took)}
				}
				return nil
			})
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
