//go:build bench

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// BenchmarkPath sends TCP between two network namespaces that stand for nodes, without
// offloads as theirs: by one bridge; by two bridges that a lab's wire joins; and by these
// with one end mirrored. What it reports is each beside the one before.
func BenchmarkPath(b *testing.B) {
	f := measure(b)
	plain, wired := path(b, "plain"), path(b, "wired")
	wire := networks.Wire{Network: topology.Network{
		Lab: "bench", Name: "wired", MTU: 1500, Under: topology.UnderWire,
		Segments: []topology.Segment{{Side: "a"}, {Side: "z"}}, Wire: topology.WireOf("bench", "wired", [2]string{"a", "z"}),
	}}
	if err := wire.Create(b.Context()); err != nil {
		b.Fatal(err)
	}
	bash(b, `ip link add tap type veth peer name sink && ip link set tap up && ip link set sink up`)
	mirror := networks.Mirror{Node: "a", From: topology.CapturePoint{Kind: topology.PointTap, Link: wired.link}, To: "tap"}
	for b.Loop() {
		var one, two, copied float64
		for i := range 2 { // each first in turn
			turns := []func(){func() { one += plain.send(b) }, func() { two += wired.send(b) }}
			if i == 1 {
				slices.Reverse(turns)
			}
			for _, turn := range turns {
				turn()
			}
		}
		if err := mirror.Create(b.Context()); err != nil {
			b.Fatal(err)
		}
		copied = wired.send(b) + wired.send(b)
		if err := mirror.Destroy(b.Context()); err != nil {
			b.Fatal(err)
		}
		f.add("bridge-Mbit/s", "", one/2)
		f.add("wire/bridge", "", two/one)
		f.add("mirrored/not", "", copied/two)
	}
	if err := wire.Destroy(b.Context()); err != nil {
		b.Fatal(err)
	}
	f.report()
}

// way is between two network namespaces.
type way struct {
	from, to, address string
	link              string // of the host, at the end of the first
}

// path makes two network namespaces and what joins them: one bridge, or the two of a
// network's sides, which a wire is to join.
func path(b *testing.B, name string) way {
	b.Helper()
	bridges := [2]string{"plain", "plain"}
	subnet := "10.9.1"
	if name == "wired" {
		bridges = [2]string{topology.LinkName("bridge", "bench", name, "a"), topology.LinkName("bridge", "bench", name, "z")}
		subnet = "10.9.2"
	}
	w := way{name + "-a", name + "-z", subnet + ".2", "v-" + name + "-a"}
	for i, end := range []string{w.from, w.to} {
		bash(b, fmt.Sprintf(`ip link show %[1]s >/dev/null 2>&1 || ip link add %[1]s type bridge; ip link set %[1]s up
ip netns add %[2]s; ip link add v-%[2]s type veth peer name eth0 netns %[2]s
ethtool -K v-%[2]s tso off gso off gro off tx off sg off >/dev/null; ip netns exec %[2]s ethtool -K eth0 tso off gso off gro off tx off sg off >/dev/null
ip link set v-%[2]s master %[1]s up; ip -n %[2]s addr add %[3]s.%[4]d/24 dev eth0; ip -n %[2]s link set eth0 up`, bridges[i], end, subnet, i+1))
	}
	return w
}

func bash(b *testing.B, script string) {
	b.Helper()
	if out, err := exec.CommandContext(b.Context(), "bash", "-ec", script).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// How long one transfer lasts.
const sendTime = 3 * time.Second

// send is the rate of one TCP connection (Mbit/s).
func (w way) send(b *testing.B) float64 {
	b.Helper()
	var listener net.Listener
	inNamespace(b, w.to, func() (err error) {
		listener, err = net.Listen("tcp", w.address+":5201")
		return err
	})
	defer listener.Close()
	received := make(chan int64)
	go func() {
		var n int64
		if c, err := listener.Accept(); err == nil {
			n, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
		received <- n
	}()
	start := time.Now()
	inNamespace(b, w.from, func() error {
		c, err := net.Dial("tcp", w.address+":5201")
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(start.Add(sendTime)); err != nil {
			return err
		}
		for block := make([]byte, 1<<17); err == nil; {
			_, err = c.Write(block)
		}
		if !errors.Is(err, io.EOF) && time.Since(start) < sendTime {
			return err
		}
		return nil
	})
	bytes := <-received
	return float64(bytes) * 8 / time.Since(start).Seconds() / 1e6
}

// inNamespace runs do on a thread in a network namespace.
func inNamespace(b *testing.B, name string, do func() error) {
	b.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		ns, err := netns.GetFromName(name)
		if err == nil {
			err = errors.Join(netns.Set(ns), ns.Close())
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
