//go:build e2e

package networks

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

func TestSegments(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h := connect(t)
		untouched := hosttest.Foreign(t)
		before := hosttest.Baseline(t)
		all := segments(h, demo("trafic", "10.7"), tagOf("trafic"))
		for _, s := range all {
			contract(t, s)
		}
		for _, s := range all {
			must(t, s.Create(t.Context()))
		}

		t.Run("no service of libvirt's", func(t *testing.T) {
			for _, s := range all {
				if p := running("dnsmasq", s.Segment.Object); p != "" {
					t.Error("there is", p)
				}
			}
		})
		t.Run("the bridge is as asked for", func(t *testing.T) {
			for _, s := range all {
				l, err := link(s.Segment.Bridge)
				must(t, err)
				if a := l.Attrs(); a.HardwareAddr.String() != s.Segment.MAC.String() || a.MTU != s.Segment.MTU {
					t.Errorf("%s: MAC %s, MTU %d", s, a.HardwareAddr, a.MTU)
				}
				if quiet, err := host.IsQuiet(s.Segment.Bridge); !quiet || err != nil {
					t.Errorf("%s: IPv6 is on: %v", s, err)
				}
			}
		})
		t.Run("a bridge that was changed", func(t *testing.T) {
			for _, spoil := range []string{
				"echo 1 > /sys/class/net/%s/bridge/stp_state",
				"echo 1 > /sys/class/net/%s/bridge/multicast_snooping",
				"echo 0 > /proc/sys/net/ipv6/conf/%s/disable_ipv6",
				"echo 0 > /proc/sys/net/ipv4/conf/%s/arp_ignore",
			} {
				sh(t, spoil, all[2].Segment.Bridge)
				heals(t, all[2])
			}
		})
		t.Run("a bridge that was removed", func(t *testing.T) {
			for _, s := range all {
				sh(t, "ip link del %s", s.Segment.Bridge)
				heals(t, s)
				if l, err := link(s.Segment.Bridge); l == nil || err != nil {
					t.Errorf("%s has no bridge: %v", s, err)
				}
			}
		})
		t.Run("another's bridge in its place", func(t *testing.T) {
			s := all[0]
			sh(t, "ip link del %[1]s; ip link add %[1]s type bridge", s.Segment.Bridge)
			is(t, s, host.Partial)
			if err := s.Create(t.Context()); !errors.Is(err, errForeign) {
				t.Errorf("create says %v, want that it is not this lab's", err)
			}
			sh(t, "ip link del %s", s.Segment.Bridge)
			heals(t, s)
		})
		t.Run("a host that was restarted", func(t *testing.T) {
			for _, s := range all {
				sh(t, "virsh -q net-destroy %s", s.Segment.Object)
				heals(t, s)
			}
		})
		t.Run("prefixes in use", func(t *testing.T) {
			sh(t, `ip link add u0 type veth peer name u1; ip link set u0 up; ip link set u1 up
				ip address add 192.0.2.5/28 dev u0; ip route add 198.51.100.0/25 dev u0; ip route add 203.0.113.0/24 dev u0 table 77
				ip route add 0.0.0.0/1 dev u0; ip route add default dev u0`)
			used, err := InUse(h, "trafic")
			must(t, err)
			for _, want := range []string{"192.0.2.0/28", "198.51.100.0/25", "203.0.113.0/24"} {
				if !slices.Contains(used, netip.MustParsePrefix(want)) {
					t.Errorf("%s is not in %v", want, used)
				}
			}
			for _, s := range all {
				if slices.ContainsFunc(used, s.Segment.Subnet.Overlaps) {
					t.Errorf("the lab's own %s is in %v", s.Segment.Subnet, used)
				}
			}
			if used, err = InUse(h, "another"); err != nil || !slices.Contains(used, all[0].Segment.Subnet) {
				t.Errorf("to another lab, %s is not in %v: %v", all[0].Segment.Subnet, used, err)
			}
			sh(t, "ip link del u0")
		})

		sh(t, "virsh -q net-destroy %s", all[0].Segment.Object) // defined and off: to be removed as well
		found, err := Find(h)
		must(t, err)
		if len(found) != len(all) {
			t.Errorf("found %d of %d networks", len(found), len(all))
		}
		for _, f := range found {
			must(t, f.Destroy(t.Context()))
		}
		for _, s := range all {
			is(t, s, host.Absent)
		}
		if d := untouched(); d != "" {
			t.Errorf("what is no lab's was touched:\n%s", d)
		}
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error("left behind:", diff)
		}
	})
}

func TestSegmentLeavesForeignBridgeAlone(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		s := segments(connect(t), demo("trafic", "10.7"), tagOf("trafic"))[0]
		sh(t, "ip link add %s type bridge", s.Segment.Bridge)
		if err := s.Create(t.Context()); err == nil {
			t.Error("a bridge of another's was taken")
		}
		must(t, s.Destroy(t.Context()))
		is(t, s, host.Absent)
		sh(t, "ip link show %s", s.Segment.Bridge)
	})
}

func TestQuiet(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		sh(t, "ip link add q0 mtu 1500 type veth peer name q1")
		must(t, host.Quiet("q0"))
		sh(t, "ip link set q0 up; ip link set q1 up")
		if addresses := sh(t, "ip -6 address show dev q0"); addresses != "" {
			t.Error(addresses)
		}
		if quiet, err := host.IsQuiet("q1"); quiet || err != nil {
			t.Errorf("q1 is quiet: %v, %v", quiet, err)
		}
		sh(t, "ip link set q1 mtu 1000") // too small for IPv6
		if quiet, err := host.IsQuiet("q1"); !quiet || err != nil {
			t.Errorf("q1 is not quiet: %v", err)
		}
		if err := host.Quiet("none"); err == nil || !strings.Contains(err.Error(), "no such") {
			t.Errorf("a link which is not there: %v", err)
		}
	})
}

// running is the command line of a process that names all the words.
func running(words ...string) string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		line := strings.ReplaceAll(string(b), "\x00", " ")
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return line
		}
	}
	return ""
}
