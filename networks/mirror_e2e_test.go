//go:build e2e

package networks

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// mirrorAt copies what passes a link of the host to the station capture.
func mirrorAt(kind, link string) Mirror {
	return Mirror{Node: "iperf-client", From: topology.CapturePoint{Kind: kind, Link: link}, To: "v-capture"}
}

func TestMirror(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		m := mirrorAt(topology.PointTap, "v-client")
		is(t, m, host.Absent) // both machines off
		must(t, m.Destroy(t.Context()))
		if err := m.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "off") {
			t.Errorf("create with both machines off says %v", err)
		}

		station(t, "client")
		is(t, m, host.Absent)
		station(t, "capture")
		sh(t, "sysctl -qw net.ipv6.conf.v-capture.disable_ipv6=0")
		noneTentative(t)
		before := hosttest.Snapshot(t)
		contract(t, m)
		sh(t, "sysctl -qw net.ipv6.conf.v-capture.disable_ipv6=0")
		becomes(t, before)

		sh(t, "tc qdisc add dev v-client clsact") // interrupted there
		must(t, m.Destroy(t.Context()))
		becomes(t, before)

		must(t, m.Create(t.Context()))
		if quiet, err := host.IsQuiet("v-capture"); !quiet || err != nil {
			t.Error("IPv6 is on at the capture NIC:", err)
		}
		copies(t, "made", m)
		must(t, m.Create(t.Context()))
		copies(t, "made twice", m)

		t.Run("the capture machine was restarted", func(t *testing.T) {
			restart(t, "capture")
			heals(t, m)
			copies(t, "healed", m)
		})
		t.Run("the mirrored machine was restarted", func(t *testing.T) {
			restart(t, "client")
			is(t, m, host.Absent)
			must(t, m.Create(t.Context()))
			is(t, m, host.Present)
			copies(t, "made again", m)
		})
		t.Run("the capture machine is off", func(t *testing.T) {
			endStation(t, "capture")
			is(t, m, host.Absent)
			station(t, "capture")
			heals(t, m)
			copies(t, "healed", m)
		})
		for _, hook := range []string{"ingress", "egress"} {
			t.Run("no "+hook, func(t *testing.T) {
				sh(t, "tc filter del dev v-client %s", hook)
				heals(t, m)
				copies(t, "healed", m)
			})
		}
		t.Run("copied to elsewhere", func(t *testing.T) {
			elsewhere := Mirror{Node: m.Node, From: m.From, To: "v-else"}
			station(t, "else")
			must(t, elsewhere.Create(t.Context()))
			heals(t, m)
			copies(t, "healed", m)
		})
		t.Run("filters of others stay", func(t *testing.T) {
			sh(t, "tc filter add dev v-client ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1")
			must(t, m.Destroy(t.Context()))
			is(t, m, host.Absent)
			left := sh(t, "tc filter show dev v-client ingress; tc filter show dev v-client egress")
			if !strings.Contains(left, "pref 7 ") || strings.Contains(left, "mirred") {
				t.Errorf("left: %s", left)
			}
			must(t, m.Create(t.Context()))
			is(t, m, host.Present)
		})
	})
}

func TestMirrorCounters(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		m := mirrorAt(topology.PointTap, "v-client")
		if _, err := m.Counters(); err == nil {
			t.Error("counters of a mirror that is not there")
		}
		station(t, "client")
		station(t, "capture")
		must(t, m.Create(t.Context()))
		copies(t, "made", m)
		sent := frames('c')
		bytes := uint64(0)
		for _, f := range sent {
			bytes += uint64(len(f))
		}
		whole := Copied{Frames: uint64(len(sent)), Bytes: bytes}
		c, err := m.Counters()
		must(t, err)
		if want := (Counters{Sent: whole, Received: whole}); c != want {
			t.Errorf("got %+v, want %+v", c, want)
		}

		sh(t, "ip link set v-capture down")
		client := listen(t, "client", "eth0", marked)
		seen := listen(t, "", "v-client", marked)
		client.send(sent[0])
		seen.until(sent[0])
		eventually(t, "the frame is counted", func() bool { // a tap sees it before the mirror does
			c, err = m.Counters()
			must(t, err)
			return c.Sent.Failed > 0
		})
		if c.Sent.Failed != 1 || c.Received.Failed != 0 {
			t.Errorf("with the capture NIC down: %+v", c)
		}
	})
}

// copies checks that every frame is copied exactly once in each direction, and
// that the frames themselves pass.
func copies(t *testing.T, what string, m Mirror) {
	t.Helper()
	capture := listen(t, "capture", "eth0", unix.ETH_P_ALL)
	client := listen(t, "client", "eth0", marked)
	tap := listen(t, "", m.From.Link, marked)
	out, back := frames('c'), frames('s')
	for i := range out {
		client.send(out[i])
		tap.send(back[i])
	}
	both := slices.Concat(out, back)
	once(t, what+", copied", capture.until(both...), both...)
	once(t, what+", received", client.until(back...), back...)
	once(t, what+", sent", tap.until(out...), out...)
}

// restart gives a station a new link of the same name, as a restarted machine has.
func restart(t *testing.T, name string) {
	t.Helper()
	endStation(t, name)
	station(t, name)
}
