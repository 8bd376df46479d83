//go:build e2e

package networks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// ovsSides makes the bridges of that network.
func ovsSides(t *testing.T) ([]Segment, Wire) {
	t.Helper()
	all := segments(connect(t), ovsDemo(), tagOf("trafic"))[2:]
	for _, s := range all {
		must(t, s.Create(t.Context()))
	}
	return all, Wire{Network: all[0].Network}
}

func TestOVSSegments(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		h := connect(t)
		s := segments(h, ovsDemo(), tagOf("trafic"))[2]
		is(t, s, host.Absent) // there is no Open vSwitch
		must(t, s.Destroy(t.Context()))
		var unfit host.Unfit
		if err := s.Create(t.Context()); !errors.As(err, &unfit) || !strings.Contains(unfit.Fix, "apt-get install openvswitch-switch") {
			t.Errorf("without Open vSwitch, create says %v", err)
		}
		must(t, s.Destroy(t.Context()))

		hosttest.OVS(t)
		before := hosttest.Baseline(t)
		contract(t, s)
		must(t, s.Create(t.Context()))

		t.Run("the bridge is as asked for", func(t *testing.T) {
			l, err := link(s.Segment.Bridge)
			must(t, err)
			if a := l.Attrs(); a.HardwareAddr.String() != s.Segment.MAC.String() || a.MTU != s.Segment.MTU {
				t.Errorf("MAC %s, MTU %d", a.HardwareAddr, a.MTU)
			}
			if quiet, err := host.IsQuiet(s.Segment.Bridge); !quiet || err != nil {
				t.Errorf("IPv6 is on: %v", err)
			}
		})
		t.Run("one that was changed", func(t *testing.T) {
			for _, spoil := range []string{
				"ovs-vsctl set Bridge $B stp_enable=true",
				"ovs-vsctl set Bridge $B rstp_enable=true",
				"ovs-vsctl set Bridge $B mcast_snooping_enable=true",
				"ovs-vsctl set Bridge $B fail_mode=secure",
				"ovs-vsctl remove Bridge $B other_config forward-bpdu",
				"ovs-vsctl set-controller $B ptcp:6653",
				"ovs-vsctl clear Port $B qos",
				"ovs-vsctl set Interface $B mtu_request=1400",
				"echo 0 > /proc/sys/net/ipv6/conf/$B/disable_ipv6",
				"virsh -q net-destroy " + s.Segment.Object,
				"ovs-vsctl del-br $B",
			} {
				sh(t, "B=%s; %s", s.Segment.Bridge, spoil)
				heals(t, s)
			}
		})
		t.Run("an MTU of its own", func(t *testing.T) {
			long := s
			long.Segment.MTU = 9000
			heals(t, long)
			heals(t, s)
		})
		t.Run("Open vSwitch was started anew", func(t *testing.T) {
			hosttest.KillOVS(t, "ovs-vswitchd")
			sh(t, "ip link del %s", s.Segment.Bridge) // as after a reboot
			is(t, s, host.Partial)
			if err := s.Create(t.Context()); !errors.As(err, &unfit) || !strings.Contains(unfit.Fix, "systemctl start openvswitch-switch") {
				t.Errorf("with ovs-vswitchd dead, create says %v", err)
			}
			if err := s.Destroy(t.Context()); !errors.As(err, &unfit) {
				t.Errorf("with ovs-vswitchd dead, destroy says %v", err)
			}
			hosttest.KillOVS(t, "ovsdb-server")
			is(t, s, host.Partial)
			if err := s.Destroy(t.Context()); !errors.As(err, &unfit) || !strings.Contains(unfit.What, "is off") {
				t.Errorf("with ovsdb-server dead, destroy says %v", err)
			}
			hosttest.OVS(t)
			heals(t, s)
		})
		t.Run("whose network is gone", func(t *testing.T) {
			sh(t, "virsh -q net-destroy %[1]s; virsh -q net-undefine %[1]s", s.Segment.Object)
			is(t, s, host.Partial)
			strays, err := StrayLinks(nil)
			if err != nil || !slices.Contains(strays, s.Segment.Bridge) {
				t.Errorf("strays: %v, %v", strays, err)
			}
			hosttest.KillOVS(t, "ovs-vswitchd")
			sh(t, "ip link del %s", s.Segment.Bridge)
			is(t, s, host.Partial) // by its record
			hosttest.OVS(t)
			must(t, s.Destroy(t.Context()))
			is(t, s, host.Absent)
			must(t, s.Create(t.Context()))
		})
		t.Run("found without the lab's file", func(t *testing.T) {
			found, err := Find(h)
			must(t, err)
			if len(found) != 1 {
				t.Fatalf("found %v", found)
			}
			must(t, found[0].Destroy(t.Context()))
			is(t, s, host.Absent)
		})
		becomes(t, before)
	})
}

// Another's bridge or link of the name is left alone, whatever it is.
func TestOVSSegmentLeavesForeignAlone(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		hosttest.OVS(t)
		l := ovsDemo()
		s := segments(connect(t), l, tagOf("trafic"))[2]
		for what, plant := range map[string][2]string{
			"a bridge of Open vSwitch's": {"ovs-vsctl add-br $B -- set Bridge $B datapath_type=netdev", "ovs-vsctl del-br $B"},
			"a bridge of the kernel's":   {"ip link add $B type bridge", "ip link del $B"},
		} {
			t.Run(what, func(t *testing.T) {
				hosttest.Baseline(t)
				sh(t, "B=%s; %s", s.Segment.Bridge, plant[0])
				before := hosttest.Snapshot(t)
				if err := s.Create(t.Context()); !errors.Is(err, errForeign) {
					t.Errorf("create says %v, want that it is not this lab's", err)
				}
				must(t, s.Destroy(t.Context()))
				is(t, s, host.Absent)
				foreign, err := ForeignNames(t.Context(), s.On, l)
				if err != nil || len(foreign) != 1 || !strings.Contains(foreign[0].Fix, "ovs-vsctl del-br "+s.Segment.Bridge) {
					t.Errorf("foreign: %v, %v", foreign, err)
				}
				if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
					t.Error(diff)
				}
				sh(t, "B=%s; %s", s.Segment.Bridge, plant[1])
			})
		}
	})
}

func TestOVSWire(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		hosttest.OVS(t)
		_, w := ovsSides(t)
		before := hosttest.Snapshot(t)
		contract(t, w)
		becomes(t, before)
		must(t, w.Create(t.Context()))
		client, server := w.Network.Wire.Ends[0], w.Network.Wire.Ends[1]
		for what, spoil := range map[string]string{
			"unplugged":      "ovs-vsctl del-port $C",
			"the other side": "ovs-vsctl del-port $C -- add-port " + server.Bridge + " $C",
			"down":           "ip link set $S down",
			"the host hears": "echo 0 > /proc/sys/net/ipv4/conf/$C/arp_ignore",
		} {
			t.Run(what, func(t *testing.T) {
				sh(t, "C=%s S=%s; %s", client.Link, server.Link, spoil)
				heals(t, w)
			})
		}
		t.Run("links that are others by now", func(t *testing.T) {
			sh(t, "ip link del %s", client.Link) // as after a reboot: the records of ports are there
			is(t, w, host.Absent)
			must(t, w.Create(t.Context()))
			is(t, w, host.Present)
			sh(t, "ip link del %[1]s; ip link add %[1]s address %[2]s type veth peer name %[3]s address %[4]s", client.Link, client.MAC, server.Link, server.MAC)
			heals(t, w)
		})
		t.Run("frames", func(t *testing.T) { ovsFrames(t, w) })
		t.Run("Open vSwitch was started anew", func(t *testing.T) {
			shaped := topology.Impair{Rate: 20_000_000, Queue: 1 << 16, AQM: topology.AQMFIFO}
			must(t, Impair(client, shaped, w.Network.MTU))
			hosttest.KillOVS(t, "ovs-vswitchd")
			hosttest.OVS(t)
			is(t, w, host.Present)
			if got, err := Impaired(client); got.Rate != shaped.Rate || err != nil {
				t.Errorf("of the impairment there is %v, %v", got, err)
			}
			must(t, Impair(client, topology.Impair{}, w.Network.MTU))
		})
	})
}

// ovsFrames checks that every frame passes exactly once, and none of the host's own: also
// those for bridges themselves, and the host answers for no address that it has elsewhere.
func ovsFrames(t *testing.T, w Wire) {
	t.Helper()
	for i, name := range []string{"a", "b"} {
		station(t, name)
		must(t, host.OVSPlug(t.Context(), "v-"+name, w.Network.Wire.Ends[i].Bridge))
	}
	sh(t, "ip address add 192.0.2.1/24 dev lo")
	must(t, Publish{Lab: topology.Lab{Name: w.Network.Lab, Networks: []topology.Network{w.Network}, Nodes: []topology.Node{
		{NICs: []topology.NIC{{Link: "v-a", OVS: true}, {Link: "v-b", OVS: true}}},
	}}}.Create(t.Context()))
	all := listen(t, "b", "eth0", unix.ETH_P_ALL)
	a := listen(t, "a", "eth0", unix.ETH_P_ALL)
	sent := frames('a')
	bpdu := slices.Clone(sent[4])
	copy(bpdu, []byte{0x01, 0x80, 0xc2, 0, 0, 0})
	asks := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xbb, 0, 0, 0, 'a', 8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
		[]byte{2, 0xbb, 0, 0, 0, 'a', 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1}) // who has 192.0.2.1?
	sent = append([][]byte{bpdu, asks}, sent...)
	for _, f := range sent {
		a.send(f)
	}
	once(t, "from one side to the other", all.until(sent...), sent...)
	if answer := a.next(100 * time.Millisecond); answer != nil {
		t.Errorf("the sender got %x", answer)
	}
	const echoes = "awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp"
	before := sh(t, echoes)
	sh(t, `ip -n a address add 192.0.2.7/24 dev eth0; ip -n a neigh replace 192.0.2.1 lladdr ff:ff:ff:ff:ff:ff dev eth0
		ip netns exec a ping -c 1 -W 1 192.0.2.1 || true`)
	if after := sh(t, echoes); after != before {
		t.Errorf("the host got %s echoes and then %s", before, after)
	}
}

func TestOVSMirror(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		hosttest.OVS(t)
		sides, _ := ovsSides(t)
		bridge := sides[0].Segment.Bridge
		m := mirrorAt(topology.PointOVS, "v-client")
		m.Bridge = bridge
		is(t, m, host.Absent) // both machines off
		must(t, m.Destroy(t.Context()))
		if err := m.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "off") {
			t.Errorf("create with both machines off says %v", err)
		}
		station(t, "client")
		station(t, "capture")
		if err := m.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "no port") {
			t.Errorf("create with the mirrored NIC on no bridge says %v", err)
		}
		plug := func() { must(t, host.OVSPlug(t.Context(), "v-client", bridge)) }
		plug()
		sh(t, "sysctl -qw net.ipv4.conf.v-capture.arp_ignore=8")
		before := hosttest.Snapshot(t)
		contract(t, m)
		becomes(t, before)
		must(t, m.Create(t.Context()))
		ovsCopies(t, "made", m)
		must(t, m.Create(t.Context()))
		ovsCopies(t, "made twice", m)

		t.Run("counters", func(t *testing.T) {
			was, err := m.Counters()
			must(t, err)
			ovsCopies(t, "counted", m)
			is, err := m.Counters()
			must(t, err)
			if n := is.Received.Frames - was.Received.Frames; n != uint64(2*len(frames('c'))) || is.Sent != (Copied{}) || is.Dropped != was.Dropped {
				t.Errorf("%d frames; before %+v, now %+v", n, was, is)
			}
		})
		t.Run("the capture machine was restarted", func(t *testing.T) {
			restart(t, "capture")
			heals(t, m)
			ovsCopies(t, "healed", m)
		})
		t.Run("the mirrored machine was restarted", func(t *testing.T) {
			sh(t, "ovs-vsctl del-port v-client") // as libvirt does
			restart(t, "client")
			is(t, m, host.Partial)
			plug()
			heals(t, m)
			ovsCopies(t, "healed", m)
		})
		t.Run("the capture machine is off", func(t *testing.T) {
			endStation(t, "capture")
			is(t, m, host.Absent)
			station(t, "capture")
			heals(t, m)
			ovsCopies(t, "healed", m)
		})
		for what, spoil := range map[string]string{
			"one direction":          "remove Mirror v-capture select_dst_port " + portOf(t, "v-client"),
			"to nowhere":             "clear Mirror v-capture output_port",
			"a VLAN alone":           "set Mirror v-capture select_vlan=7",
			"cut frames":             "set Mirror v-capture snaplen=64",
			"no mirror, its port":    "clear Bridge " + bridge + " mirrors",
			"a mirror, not its port": "del-port v-capture",
		} {
			t.Run(what, func(t *testing.T) {
				sh(t, "ovs-vsctl %s", spoil)
				if state, err := m.State(t.Context()); state == host.Present || err != nil {
					t.Errorf("it is %s, %v", state, err)
				}
				must(t, m.Create(t.Context()))
				is(t, m, host.Present)
				ovsCopies(t, "healed", m)
			})
		}
		t.Run("Open vSwitch was started anew", func(t *testing.T) {
			hosttest.KillOVS(t, "ovs-vswitchd")
			hosttest.OVS(t)
			is(t, m, host.Present)
			ovsCopies(t, "started anew", m)
		})
		t.Run("it goes with its bridge", func(t *testing.T) {
			must(t, sides[0].Destroy(t.Context()))
			if left := sh(t, "ovs-vsctl list Mirror; ovs-vsctl find Port name=v-capture"); left != "" {
				t.Errorf("left: %s", left)
			}
			is(t, m, host.Absent)
			must(t, m.Destroy(t.Context()))
		})
	})
}

func portOf(t *testing.T, link string) string {
	t.Helper()
	return strings.TrimSpace(sh(t, "ovs-vsctl get Port %s _uuid", link))
}

// ovsCopies checks that every frame is copied exactly once in each direction, that the
// capture NIC gets no other, and that what it sends gets nowhere.
func ovsCopies(t *testing.T, what string, m Mirror) {
	t.Helper()
	const other = "peer" // on the same bridge
	station(t, other)
	defer endStation(t, other)
	must(t, host.OVSPlug(t.Context(), "v-"+other, m.Bridge))
	defer func() { must(t, host.OVSUnplug(t.Context(), "v-"+other)) }()
	capture, client, peer := listen(t, "capture", "eth0", marked), listen(t, "client", "eth0", marked), listen(t, other, "eth0", marked)
	out, back := frames('c'), frames('s')
	for i := range back { // from the peer to the client, whom the bridge learns before
		copy(back[i][0:6], out[0][6:12])
	}
	capture.send(frames('x')[0])
	for i := range out {
		client.send(out[i])
	}
	seen := peer.until(out...)
	for i := range back {
		peer.send(back[i])
	}
	once(t, what+", sent", seen, out...)
	once(t, what+", at the client", client.until(back...), back...)
	both := slices.Concat(out, back)
	copied := capture.until(both...)
	delete(copied, string(frames('x')[0]))
	once(t, what+", copied", copied, both...)
}

// An uplink is given back as it was, also where Open vSwitch has had it.
func TestOVSUplink(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		hosttest.OVS(t)
		h := connect(t)
		s, _, _ := uplinked(h)
		s.Segment.OVS = true
		station(t, "client")
		worn(t, "v-client")
		hosttest.Baseline(t)
		before := hosttest.Snapshot(t)
		contract(t, s)
		becomes(t, before)
		must(t, s.Create(t.Context()))
		sh(t, "ovs-vsctl del-port v-client")
		heals(t, s)
		t.Run("the host has booted since", func(t *testing.T) {
			reboot(t, h, s.Segment.Object)
			sh(t, "ip link set v-client mtu 1450; sysctl -qw net.ipv4.conf.v-client.arp_ignore=0")
			heals(t, s)
			must(t, s.Destroy(t.Context()))
			if is := sh(t, "ip -o link show v-client; cat /proc/sys/net/ipv4/conf/v-client/arp_ignore"); !strings.Contains(is, "mtu 1450") || strings.Contains(is, "PROMISC") || !strings.HasSuffix(is, "\n0\n") {
				t.Errorf("given back as %s", is)
			}
		})
	})
}
