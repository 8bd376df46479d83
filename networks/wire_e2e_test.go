//go:build e2e

package networks

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// sides makes the bridges of the demo's test network.
func sides(t *testing.T, lab string) Wire {
	t.Helper()
	all := segments(connect(t), demo(lab, "10.7"), tagOf(lab))
	for _, s := range all[2:] {
		must(t, s.Create(t.Context()))
	}
	return Wire{Network: all[2].Network}
}

func TestWire(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		w := sides(t, "trafic")
		before := hosttest.Snapshot(t)
		contract(t, w)
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error("left behind:", diff)
		}
		must(t, w.Create(t.Context()))
		client, server := w.Network.Wire.Ends[0], w.Network.Wire.Ends[1]

		for what, spoil := range map[string]string{
			"unplugged":      "ip link set $C nomaster",
			"down":           "ip link set $S down",
			"another MTU":    "ip link set $C mtu 1400",
			"IPv6 on":        "echo 0 > /proc/sys/net/ipv6/conf/$S/disable_ipv6",
			"the other side": "ip link set $C master " + server.Bridge,
		} {
			t.Run(what, func(t *testing.T) {
				sh(t, "C=%s S=%s; %s", client.Link, server.Link, spoil)
				heals(t, w)
			})
		}
		t.Run("offloads on", func(t *testing.T) {
			e, err := ethtool.NewEthtool()
			must(t, err)
			defer e.Close()
			must(t, e.Change(client.Link, map[string]bool{"tx-tcp-segmentation": true, "tx-checksum-ip-generic": true}))
			heals(t, w)
		})
		t.Run("ends that are not each other's", func(t *testing.T) {
			sh(t, `ip link del %[1]s
				ip link add %[1]s address %[2]s type veth peer name o1; ip link add %[3]s address %[4]s type veth peer name o2`,
				client.Link, client.MAC, server.Link, server.MAC)
			heals(t, w)
		})
		t.Run("a name for people", func(t *testing.T) {
			sh(t, "ip link show labctl.trafic.wire.test.client")
		})
		t.Run("frames", func(t *testing.T) { wireFrames(t, w) })
		t.Run("segments", func(t *testing.T) { wireSegments(t, w) })
	})
}

// wireFrames checks that every frame passes exactly once, and none of the host's own.
func wireFrames(t *testing.T, w Wire) {
	plugIn(t, w)
	is(t, w, host.Present)
	must(t, Publish{Lab: topology.Lab{Name: w.Network.Lab, Networks: []topology.Network{w.Network}}}.Create(t.Context()))
	all := listen(t, "b", "eth0", unix.ETH_P_ALL)
	a := listen(t, "a", "eth0", marked)
	sent := frames('a')
	for _, f := range sent {
		a.send(f)
	}
	once(t, "from one side to the other", all.until(sent...), sent...)
}

// wireSegments checks that a stream which the sender hands over in large pieces
// passes the wire in frames that a cable would carry.
func wireSegments(t *testing.T, w Wire) {
	sh(t, `ip -n a address add 10.7.2.40/24 dev eth0; ip -n b address add 10.7.2.41/24 dev eth0
		iptables -P FORWARD DROP; sysctl -qw net.bridge.bridge-nf-call-iptables=1 # as Docker leaves them`)
	large := listen(t, "", w.Network.Wire.Ends[1].Link, unix.ETH_P_ALL)
	handed := listen(t, "", "v-a", unix.ETH_P_ALL)
	const size = 4 << 20
	var l *net.TCPListener
	must(t, in("b", func() (err error) {
		l, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(10, 7, 2, 41), Port: 5201})
		return err
	}))
	go func() {
		_ = in("a", func() error {
			c, err := net.DialTimeout("tcp", "10.7.2.41:5201", patience)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_, err = c.Write(make([]byte, size))
			return err
		})
	}()
	must(t, l.SetDeadline(time.Now().Add(patience)))
	c, err := l.Accept()
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	n, err := io.Copy(io.Discard, c)
	must(t, err)
	if n != size {
		t.Fatalf("%d of %d bytes arrived", n, size)
	}
	longest := func(p tap) (length int) { // of what has come already
		for f := p.next(300 * time.Millisecond); f != nil; f = p.next(300 * time.Millisecond) {
			length = max(length, len(f))
		}
		return length
	}
	if n := longest(handed); n <= w.Network.MTU+14 {
		t.Fatalf("the sender's longest frame has %d bytes: this test shows nothing", n)
	}
	if n := longest(large); n != w.Network.MTU+14 {
		t.Errorf("a frame of %d bytes passed the wire", n)
	}
}

// plugIn connects station a to the client side and b to the server side.
func plugIn(t *testing.T, w Wire) {
	t.Helper()
	for i, name := range []string{"a", "b"} {
		station(t, name)
		sh(t, "ip link set v-%s master %s", name, w.Network.Wire.Ends[i].Bridge)
	}
}

func TestWireLeavesForeignAlone(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		w := sides(t, "trafic")
		end := w.Network.Wire.Ends[1]
		sh(t, "ip link add %s type veth peer name x1", end.Link)
		before := hosttest.Snapshot(t)
		if err := w.Create(t.Context()); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), end.Link) {
			t.Errorf("create says %v, want that %s is not this lab's", err, end.Link)
		}
		must(t, w.Destroy(t.Context()))
		is(t, w, host.Absent)
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error(diff)
		}
	})
}
