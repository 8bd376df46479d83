//go:build e2e

package networks

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// uplinked are the two sides of a network; v-client, which leads to the station
// client as a NIC's cable does, is the client side's uplink.
func uplinked(h *host.Host) (client, server Segment, w Wire) {
	l := demo("demo", "10.7")
	test := l.Networks[2]
	test.Segments[0].Uplink = "v-client"
	tag := tagOf("demo")
	return Segment{On: h, Network: test, Segment: test.Segments[0], Tag: tag},
		Segment{On: h, Network: test, Segment: test.Segments[1], Tag: tag}, Wire{Network: test}
}

// worn gives a link all that has to be given back.
func worn(t *testing.T, link string) {
	t.Helper()
	sh(t, `sysctl -qw net.ipv6.conf.%[1]s.disable_ipv6=0
		ip link set %[1]s mtu 1400 up
		ip address add 192.0.2.7/24 brd + dev %[1]s label %[1]s:lab
		ip address add 2001:db8::7/64 dev %[1]s nodad
		ethtool -K %[1]s gro on tso on`, link)
	noneTentative(t)
}

// becomes waits until the host is as it was: the kernel takes its time over an
// IPv6 address that it makes anew, and Open vSwitch over links that it had.
func becomes(t *testing.T, before hosttest.Inventory) {
	t.Helper()
	diff := hosttest.Diff(before, hosttest.Snapshot(t))
	for end := time.Now().Add(patience); diff != "" && time.Now().Before(end); diff = hosttest.Diff(before, hosttest.Snapshot(t)) {
		time.Sleep(100 * time.Millisecond)
	}
	if diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}

func TestUplink(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h := connect(t)
		s, _, _ := uplinked(h)
		is(t, s, host.Absent)
		if err := s.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "v-client") {
			t.Errorf("an uplink that is not there: %v", err)
		}
		must(t, s.Destroy(t.Context()))

		station(t, "client")
		worn(t, "v-client")
		hosttest.Baseline(t)
		before := hosttest.Snapshot(t)
		outer := t // whose own files do not count
		asBefore := func(t *testing.T) {
			t.Helper()
			becomes(outer, before)
		}
		contract(t, s)
		asBefore(t)

		must(t, s.Create(t.Context()))
		if on, err := host.Offloads("v-client"); err != nil || len(on) > 0 {
			t.Errorf("offloads %v are on, %v", on, err)
		}
		for name, undo := range map[string]string{
			"unplugged":    "ip link set v-client nomaster",
			"down":         "ip link set v-client down",
			"another MTU":  "ip link set v-client mtu 1300",
			"with IPv6":    "sysctl -qw net.ipv6.conf.v-client.disable_ipv6=0",
			"with offload": "ethtool -K v-client gro on",
		} {
			t.Run(name, func(t *testing.T) {
				sh(t, "%s", undo)
				heals(t, s)
			})
		}
		must(t, s.found().Destroy(t.Context()))
		asBefore(t)

		t.Run("down at once, as it was", func(t *testing.T) {
			sh(t, "ip link set v-client down")
			down := hosttest.Snapshot(outer)
			must(t, s.Create(t.Context()))
			must(t, s.Destroy(t.Context()))
			becomes(outer, down)
			sh(t, "ip link set v-client up; ip address replace 2001:db8::7/64 dev v-client nodad")
			asBefore(t)
		})
		t.Run("the first record stays", func(t *testing.T) {
			// as after a crash between the record and the change, and after the network was ended by hand
			n, err := s.define(host.Tag{})
			must(t, err)
			free(n)
			sh(t, "ip link set v-client mtu 1450")
			must(t, s.Create(t.Context()))
			sh(t, "virsh -c qemu:///system -q net-destroy %s", s.Segment.Object)
			must(t, s.Create(t.Context()))
			must(t, s.Destroy(t.Context()))
			asBefore(t)
		})
		t.Run("out of a bridge that libvirt has left", func(t *testing.T) {
			must(t, s.Create(t.Context()))
			sh(t, `virsh -c qemu:///system -q net-destroy %s
				ip link add %[2]s address %[3]s type bridge; ip link set v-client master %[2]s`, s.Segment.Object, s.Segment.Bridge, s.Segment.MAC)
			must(t, s.Destroy(t.Context()))
			asBefore(t)
		})
		t.Run("a record of an earlier boot is void", func(t *testing.T) {
			must(t, s.Create(t.Context()))
			reboot(t, h, s.Segment.Object)
			sh(t, "ip link set v-client nomaster mtu 1450") // as the boot made it
			heals(t, s)
			must(t, s.Destroy(t.Context()))
			if mtu := sh(t, "cat /sys/class/net/v-client/mtu"); mtu != "1450\n" {
				t.Errorf("given back with MTU %s", mtu)
			}
			must(t, s.Create(t.Context()))
			reboot(t, h, s.Segment.Object)
			sh(t, "ip link set v-client nomaster mtu 1350")
			must(t, s.found().Destroy(t.Context()))
			if mtu := sh(t, "cat /sys/class/net/v-client/mtu"); mtu != "1350\n" {
				t.Errorf("one that is no lab's any more was given MTU %s", mtu)
			}
		})
		t.Run("gone", func(t *testing.T) {
			must(t, s.Create(t.Context()))
			endStation(t, "client")
			is(t, s, host.Partial)
			must(t, s.Destroy(t.Context()))
			is(t, s, host.Absent)
		})
	})
}

// reboot makes a network what it is after a reboot of the host: off, its record another boot's.
func reboot(t *testing.T, h *host.Host, object string) {
	t.Helper()
	sh(t, "virsh -c qemu:///system -q net-destroy %s", object)
	n, tag, err := lookup(h, object)
	must(t, err)
	text, err := n.GetXMLDesc(libvirt.NETWORK_XML_INACTIVE)
	must(t, err)
	free(n)
	if len(tag.Borrowed) != 1 {
		t.Fatalf("recorded: %+v", tag.Borrowed)
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(t, err)
	if tag.Borrowed[0].Boot != strings.TrimSpace(string(id)) {
		t.Fatalf("recorded in boot %s, this is %s", tag.Borrowed[0].Boot, id)
	}
	n, err = h.NetworkDefineXML(strings.ReplaceAll(text, tag.Borrowed[0].Boot, "00000000-0000-4000-8000-000000000000"))
	must(t, err)
	free(n)
}

// What passes the uplink is copied there, and frames pass it and the wire both ways.
func TestMirrorAtAnUplink(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h := connect(t)
		client, server, w := uplinked(h)
		station(t, "client")
		station(t, "server")
		station(t, "capture")
		for _, r := range []resource{client, server, w} {
			must(t, r.Create(t.Context()))
		}
		sh(t, "ip link set v-server master %s", server.Segment.Bridge)
		m := mirrorAt(topology.PointUplink, "v-client")
		contract(t, m)
		must(t, m.Create(t.Context()))

		capture := listen(t, "capture", "eth0", marked)
		near, far := listen(t, "client", "eth0", marked), listen(t, "server", "eth0", marked)
		out, back := frames('c'), frames('s')
		for i := range out {
			near.send(out[i])
			far.send(back[i])
		}
		once(t, "received by the client", near.until(back...), back...)
		once(t, "received by the server", far.until(out...), out...)
		both := slices.Concat(out, back)
		once(t, "copied", capture.until(both...), both...)

		t.Run("a lab's end leaves no filter", func(t *testing.T) {
			// the mirror is not known, as where the file in the marks cannot be read
			must(t, client.found().Destroy(t.Context()))
			if left := sh(t, "tc qdisc show dev v-client; tc filter show dev v-client ingress"); strings.Contains(left, "clsact") {
				t.Errorf("left: %s", left)
			}
		})
	})
}

// A mirror port is fed from outside: what comes in is copied once, and nothing goes out by it.
func TestMirrorPort(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h := connect(t)
		station(t, "feed")
		station(t, "capture")
		worn(t, "v-feed")
		s, _, _ := uplinked(h)
		s.Segment.Uplink, s.Segment.Ports = "", []string{"v-feed"}
		hosttest.Baseline(t)
		before := hosttest.Snapshot(t)
		contract(t, s)
		must(t, s.Create(t.Context()))
		sh(t, "ip link set v-feed promisc off")
		heals(t, s)

		m := mirrorAt(topology.PointPort, "v-feed")
		contract(t, m)
		must(t, m.Create(t.Context()))
		capture := listen(t, "capture", "eth0", unix.ETH_P_ALL)
		feed := listen(t, "feed", "eth0", unix.ETH_P_ALL)
		fed := frames('c')
		for _, f := range fed {
			feed.send(f)
		}
		once(t, "copied", capture.until(fed...), fed...)
		c, err := m.Counters()
		must(t, err)
		if c.Received.Frames != uint64(len(fed)) || c.Sent != (Copied{}) {
			t.Errorf("%d frames were fed: %+v", len(fed), c)
		}
		must(t, m.Destroy(t.Context()))
		must(t, s.Destroy(t.Context()))
		sh(t, "sysctl -qw net.ipv6.conf.v-capture.disable_ipv6=1")
		becomes(t, before)
	})
}
