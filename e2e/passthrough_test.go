//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// passing is a lab that measures over NICs of the nested host: the client's is a
// whole one, cabled to nic2, the server's a virtual function of nic3 in a VLAN,
// cabled to nic4. Each node captures the other's frames.
const passing = `
name: passing
image: debian-slim
networks:
  control: {}
  test: {sides: [client, server], uplinks: {client: UPLINK, server: nic4.42}}
nodes:
  client:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: client, passthrough: DEVICE}, {mirror: server}]
  server:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: server, passthrough: FUNCTION}, {mirror: client}]
`

// passingFile writes that lab; from, to: what is otherwise in it.
func passingFile(t *testing.T, fromTo ...string) string {
	t.Helper()
	good := []string{
		"DEVICE", `{device: "` + whole + `", take: true}`, "UPLINK", "nic2", "FUNCTION", "{pf: nic3, vlan: 42}",
	}
	return write(t, "lab.yaml", strings.NewReplacer(append(fromTo, good...)...).Replace(passing))
}

// Devices of the nested host: a NIC that is handed over whole, and one with virtual functions.
const (
	whole    = "0000:01:00.0"
	physical = "0000:03:00.0"
)

// ready makes what the lab stands on: two virtual functions of nic3, and nic4 in the VLAN.
func ready(t *testing.T) {
	t.Helper()
	sh(t, `ip link set nic3 up
		ip link set nic4 up
		ip link add link nic4 name nic4.42 type vlan id 42
		echo 2 > /sys/bus/pci/devices/`+physical+`/sriov_numvfs`)
	eventually(t, "the virtual functions have links", func() bool {
		return trySh(t, "ls -d /sys/bus/pci/devices/"+physical+"/virtfn?/net/*")
	})
}

// driver is which driver of the host has the NIC that is handed over whole, and whether it is kept for one.
func driver(t *testing.T) string {
	t.Helper()
	return sh(t, "d=/sys/bus/pci/devices/"+whole+"; echo $(basename $(readlink $d/driver || echo none)) $(cat $d/driver_override)")
}

// TestPassthrough: NICs of the host are a lab's, proven, and the host's again as they were.
func TestPassthrough(t *testing.T) {
	plain(t)
	hosttest.Nested(t, hosttest.NestedHost{Images: true}, func(t *testing.T) {
		ready(t)
		vf := "/sys/bus/pci/devices/" + physical + "/virtfn"
		otherDomain(t, "other", sh(t, "basename $(readlink "+vf+"0)")) // whose is the first one
		sh(t, `ip link set nic1 mtu 1400 up
			ip link set nic2 mtu 1450 up
			ip address add 192.0.2.7/24 dev nic1
			ip address add 2001:db8::7/64 dev nic1`)
		isClean := becomesClean(t)
		was := driver(t)
		file := passingFile(t)

		fails(t, 4, []string{"node client: link nic1 is in use by the host itself: address 192.0.2.7/24", "take: true"},
			"up", passingFile(t, "DEVICE", `"`+whole+`"`))
		plan := must(t, "plan", file)
		for _, says := range []string{"client's frames are copied at the uplink nic2", "server's frames are copied at the uplink nic4.42"} {
			if !strings.Contains(plan, says) {
				t.Errorf("plan does not say %q:\n%s", says, plan)
			}
		}
		up := labctl(t, "up", "--timeout", "40m", file)
		up.check(t, 0)
		if !strings.Contains(up.out, "10 marked frames in 2 directions, each seen exactly once, whole and right at 4 NICs") {
			t.Fatalf("up says %q", up.out)
		}
		s := status(t)
		if s.State != lab.Whole {
			t.Errorf("the lab is %s", s.State)
		}
		if c := s.Nodes[0].NICs[1]; c.Kind != "function" || c.Device != whole || c.HostState != "vfio-pci" || c.MAC != "52:54:00:aa:00:01" {
			t.Errorf("the client's NIC is %+v", c)
		}
		if got := in(t, "client", "ls -d /sys/bus/pci/drivers/e1000e/*:*"); !strings.HasSuffix(got, ".0") {
			t.Errorf("the client has no NIC with driver e1000e: %s", got)
		}
		c := s.Nodes[1].NICs[1]
		if want := sh(t, "basename $(readlink "+vf+"1)"); c.Kind != "vf" || c.Device != want || c.HostState != "vfio-pci" {
			t.Errorf("the server's NIC is %+v, want %s", c, want)
		}
		if got := sh(t, "ip link show nic3"); !strings.Contains(got, "vf 1     link/ether "+c.MAC) || !strings.Contains(got, "vlan 42") {
			t.Errorf("the virtual function has another MAC or VLAN than its own:\n%s", got)
		}
		trafficPasses(t)
		second := labctl(t, "doctor", passingFile(t, "name: passing", "name: second"))
		for _, says := range []string{"no virtual function of link nic3 is free", "(domain other)", "(lab passing)", whole + " (driver vfio-pci) is taken by lab passing"} {
			if second.code != 4 || !strings.Contains(second.out, says) || strings.Contains(second.out, "sriov_numvfs") {
				t.Errorf("doctor of a second lab does not say %q, or to make more functions while these are assigned:\n%s", says, second.out)
			}
		}
		sh(t, "tc filter del dev nic2 egress")
		fails(t, 1, []string{"server's NIC 3 (copy of client's on test) saw", "0 times instead of once"}, "verify")

		_ = labctl(t, "exec", "client", "--", "systemctl", "poweroff", "--force", "--force")
		inTime(t, 15*time.Minute, "the NIC is back", func() bool { return driver(t) == was })
		must(t, "up", "--timeout", "40m", file)
		must(t, "down")
		isClean()

		for _, at := range []struct{ event, driver string }{
			{`"phase":"starts","verb":"create","resource":"network/test.client"`, "e1000e"},
			{`"phase":"starts","verb":"create","resource":"machine/client"`, ""}, // before, in or after the change
			{`"phase":"ends","verb":"create","resource":"machine/client"`, "vfio-pci"},
		} {
			for left := 3; left > 0; left-- { // a test that stands still for seconds kills too late
				wrong := killsWith(t, at.event, at.driver, file)
				must(t, "down", "passing")
				isClean()
				if wrong == "" {
					break
				}
				if left == 1 {
					t.Errorf("killed at %s, %s", at.event, wrong)
				}
			}
		}
	})
}

// killsWith kills up at an event, when the NIC is with a driver, and then down, where the lab has the NIC. It says what was otherwise.
func killsWith(t *testing.T, event, with, file string) (wrong string) {
	t.Helper()
	killed(t, event, "up", "--events", file)
	if got := driver(t); !strings.HasPrefix(got, with) {
		return "the NIC is with " + got
	}
	if with == "vfio-pci" && !killedAt(t, `"phase":"starts","verb":"remove","resource":"machine/client"`, "down", "--events", "passing") {
		return "down has ended by itself"
	}
	return ""
}

// becomesClean is clean for a host that makes IPv6 addresses of its own as its NICs
// come back, and takes its time over them.
func becomesClean(t *testing.T) func() {
	t.Helper()
	eventually(t, "no address is tentative", func() bool { return sh(t, "ip -6 address show tentative") == "" })
	before := hosttest.Baseline(t)
	return func() {
		t.Helper()
		var diff string
		eventually(t, "the host is as before", func() bool {
			was := diff
			if diff = hosttest.Diff(before, hosttest.Snapshot(t)); diff != was {
				t.Log(diff)
			}
			return diff == ""
		})
	}
}

// trafficPasses measures from the client to the server by name, and looks that it took the test network.
func trafficPasses(t *testing.T) {
	t.Helper()
	serve(t, "server", "5201")
	if got := in(t, "client", "iperf3 -c server -t 2"); !strings.Contains(got, "receiver") || !strings.Contains(got, "connected to "+testAddress(t, "server")) {
		t.Errorf("iperf3 says %q", got)
	}
}

// testAddress is a node's on the test network.
func testAddress(t *testing.T, node string) string {
	t.Helper()
	for _, n := range status(t).Nodes {
		for _, c := range n.NICs {
			if n.Name == node && c.Network == "test" {
				address, _, _ := strings.Cut(c.Address, "/")
				return address
			}
		}
	}
	return ""
}

// killed runs labctl and kills it when it says something.
func killed(t *testing.T, says string, args ...string) {
	t.Helper()
	if !killedAt(t, says, args...) {
		t.Fatal("labctl ended by itself")
	}
}

// killedAt is killed where labctl may have ended before, which it tells.
func killedAt(t *testing.T, says string, args ...string) bool {
	t.Helper()
	cmd := command(t, args...)
	return finish(t, cmd, func(stderr string) bool {
		if !strings.Contains(stderr, says) {
			return false
		}
		_ = cmd.Process.Kill()
		return true
	}).code == -1
}

// otherDomain starts a machine of somebody else's, paused, that has a PCI device.
func otherDomain(t *testing.T, name, address string) {
	t.Helper()
	if said, ok := tryDomain(t, name, address); !ok {
		t.Fatal(said)
	}
}

// tryDomain is what libvirt says to a machine that is to have a PCI device.
func tryDomain(t *testing.T, name, address string) (said string, ok bool) {
	t.Helper()
	part := strings.FieldsFunc(address, func(r rune) bool { return r == ':' || r == '.' })
	file := write(t, name+".xml", strings.NewReplacer("NAME", name, "DOMAIN", part[0], "BUS", part[1], "SLOT", part[2], "FUNCTION", part[3]).Replace(
		`<domain type='kvm'>
		  <name>NAME</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
		  <devices><memballoon model='none'/><hostdev mode='subsystem' type='pci' managed='yes'>
		    <source><address domain='0xDOMAIN' bus='0xBUS' slot='0xSLOT' function='0xFUNCTION'/></source><rom bar='off'/>
		  </hostdev></devices>
		</domain>`))
	said = sh(t, "virsh -c qemu:///system -q create --paused "+file+" 2>&1 || true")
	ok = trySh(t, "virsh -c qemu:///system -q domstate "+name)
	return said, ok
}

// refusal is a reason for which a NIC cannot be passed through, provoked for real.
type refusal struct {
	name           string
	provoke, after string   // scripts
	fromTo         []string // what is otherwise in the lab's file
	says           []string // doctor, on the way out too
	libvirt        string   // what libvirt says then, where it knows better than to take it; "" where it is not asked
	of             string   // the device that libvirt is asked for
}

// restartLibvirtd is a script that ends libvirtd, at once since its orderly end can
// hang, starts it by that command and waits until it answers.
func restartLibvirtd(by string) string {
	return `p=$(cat /run/libvirtd.pid)
		kill -KILL "$p"
		for ((i = 0; i < 60; i++)); do kill -0 "$p" 2> /dev/null && sleep 0.5 || break; done
		` + by + `
		for ((i = 0; i < 60; i++)); do
			timeout 10 virsh -q -c qemu:///system version > /dev/null 2>&1 && exit 0
			sleep 0.5
		done
		tail /run/libvirtd.log
		exit 1`
}

// simpler writes the lab in which the client alone has a NIC of the host, and takes
// no address with it; from, to: what is otherwise in it.
func simpler(t *testing.T, fromTo ...string) string {
	t.Helper()
	return passingFile(t, append(slices.Clone(fromTo),
		"DEVICE", `"`+whole+`"`, ", passthrough: FUNCTION", "", ", server: nic4.42", "")...)
}

// hold runs doctor on the provoked host, and asks libvirt whether it agrees.
func (r refusal) hold(t *testing.T) {
	sh(t, r.provoke)
	got := labctl(t, "doctor", simpler(t, r.fromTo...))
	got.check(t, 4)
	for _, want := range r.says {
		if !strings.Contains(got.out, want) {
			t.Errorf("doctor does not say %q; it says:\n%s", want, got.out)
		}
	}
	if r.libvirt != "" {
		said, ok := tryDomain(t, "asked", r.of)
		if ok {
			sh(t, "virsh -c qemu:///system -q destroy asked")
		}
		if ok || !strings.Contains(said, r.libvirt) {
			t.Errorf("libvirt says %q, want %q", said, r.libvirt)
		}
	}
	sh(t, r.after)
}

// TestRefusals provokes each reason for a refusal that this host can have, and
// looks that nothing else is refused.
func TestRefusals(t *testing.T) {
	plain(t)
	hosttest.Nested(t, hosttest.NestedHost{}, func(t *testing.T) {
		sh(t, "ip link set nic3 up")
		good := func(t *testing.T) {
			t.Helper()
			if out := must(t, "doctor", simpler(t)); !strings.Contains(out, "is fit for lab passing") {
				t.Errorf("doctor says %q", out)
			}
		}
		good(t)
		for _, r := range []refusal{
			{
				name: "no such device", fromTo: []string{"DEVICE", `"0000:09:00.0"`},
				says:    []string{"there is no PCI device 0000:09:00.0 on this host", "0000:01:00.0"},
				libvirt: "not found", of: "0000:09:00.0",
			},
			{
				name: "a root port", fromTo: []string{"DEVICE", `"0000:00:02.0"`},
				says:    []string{"0000:00:02.0 is a root port", "not a NIC"},
				libvirt: "Non-endpoint PCI devices cannot be assigned", of: "0000:00:02.0",
			},
			{name: "a disk", fromTo: []string{"DEVICE", `"` + sh(t, "basename $(realpath /sys/block/vda/device/..)") + `"`}, says: []string{"is a disk controller, not a NIC"}},
			{name: "the host bridge", fromTo: []string{"DEVICE", `"0000:00:00.0"`}, says: []string{"is a host bridge"}},
			{
				name: "a shared group", fromTo: []string{"DEVICE", `"0000:05:00.0"`},
				says:    []string{"shares IOMMU group", "0000:05:00.1 (driver e1000e, link nic6)"},
				libvirt: "is not viable", of: "0000:05:00.0",
			},
			{
				name: "a default route", provoke: "ip link set nic1 up; ip route add default dev nic1",
				after: "ip route del default; ip link set nic1 down", says: []string{"default route", "ip route del default dev nic1"},
			},
			{
				name: "a gateway", provoke: "ip link set nic1 up; ip addr add 192.0.2.7/24 dev nic1; ip route add 198.51.100.0/24 via 192.0.2.1",
				after: "ip addr flush dev nic1; ip link set nic1 down", fromTo: []string{"DEVICE", `{device: "0000:01:00.0", take: true}`},
				says: []string{"route to 198.51.100.0/24 via 192.0.2.1"},
			},
			{
				name: "a bridge's port", provoke: "ip link add br0 type bridge; ip link set nic1 master br0", after: "ip link del br0",
				says: []string{"a port of bridge br0", "ip link set nic1 nomaster"},
			},
			{
				name: "a VLAN on it", provoke: "ip link add link nic1 name nic1.7 type vlan id 7", after: "ip link del nic1.7",
				says: []string{"vlan nic1.7 on it"},
			},
			{
				name: "a macvtap on it", provoke: "ip link add link nic1 name tap7 type macvtap", after: "ip link del tap7",
				says: []string{"macvtap tap7 on it"},
			},
			{
				name: "an address", provoke: "ip addr add 192.0.2.7/24 dev nic1", after: "ip addr flush dev nic1",
				says: []string{"address 192.0.2.7/24", "write take: true"},
			},
			{
				name: "an uplink's address", provoke: "ip addr add 192.0.2.7/24 dev nic2", after: "ip addr flush dev nic2",
				says: []string{"uplink of test/client: link nic2 is in use by the host itself: address 192.0.2.7/24", "ip address del 192.0.2.7/24 dev nic2"},
			},
			{name: "no such uplink", fromTo: []string{"UPLINK", "nic9"}, says: []string{"uplink of test/client: there is no link nic9", "nic2"}},
			{name: "one NIC as both", fromTo: []string{"UPLINK", "nic1"}, says: []string{"link nic1 is wanted for node client as well"}},
			{
				name: "a physical function with virtual ones", provoke: "echo 1 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs",
				after: "echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", fromTo: []string{"DEVICE", `"0000:03:00.0"`}, says: []string{"0000:03:10.0", "sriov_numvfs"},
			},
			{name: "no SR-IOV", fromTo: []string{"DEVICE", "{pf: nic1}"}, says: []string{"nic1", "virtual functions"}},
			{name: "no virtual functions yet", fromTo: []string{"DEVICE", "{pf: nic3}"}, says: []string{"nic3", "sriov_numvfs"}},
			{
				name: "a physical function that is down", provoke: "echo 1 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs; ip link set nic3 down",
				after: "echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs; ip link set nic3 up", fromTo: []string{"DEVICE", "{pf: nic3}"}, says: []string{"ip link set nic3 up"},
			},
			{
				name: "no driver that tells its MAC", provoke: virsh + "nodedev-detach pci_0000_01_00_0", after: virsh + "nodedev-reattach pci_0000_01_00_0",
				says: []string{"the MAC of NIC 0000:01:00.0 cannot be read while driver vfio-pci has it", "virsh nodedev-reattach pci_0000_01_00_0"},
			},
		} {
			t.Run(r.name, r.hold)
		}
		sh(t, "for l in /sys/bus/pci/devices/0000:01:00.0/net/*; do [ ${l##*/} = nic1 ] || ip link set ${l##*/} name nic1; done")
		t.Run("the way to who is logged in", func(t *testing.T) {
			t.Setenv("SSH_CONNECTION", "192.0.2.99 55555 192.0.2.7 22")
			refusal{
				provoke: "ip link set nic1 up; ip addr add 192.0.2.7/24 dev nic1", after: "ip addr flush dev nic1; ip link set nic1 down",
				fromTo: []string{"DEVICE", `{device: "0000:01:00.0", take: true}`}, says: []string{"the way to 192.0.2.99, from where you are logged in by ssh"},
			}.hold(t)
		})
		t.Run("another machine has it", func(t *testing.T) {
			otherDomain(t, "other", "0000:01:00.0")
			refusal{
				says: []string{"is taken by domain other", "virsh shutdown other"}, libvirt: "in use by driver QEMU, domain other", of: "0000:01:00.0",
				after: virsh + "destroy other",
			}.hold(t)
		})
		t.Run("another machine has one of its group", func(t *testing.T) {
			sh(t, virsh+"nodedev-detach pci_0000_05_00_0")
			otherDomain(t, "other", "0000:05:00.1")
			refusal{
				fromTo: []string{"DEVICE", `"0000:05:00.0"`}, says: []string{"shares IOMMU group", "0000:05:00.1 (domain other)"},
				libvirt: "in use by driver QEMU, domain other", of: "0000:05:00.0",
				after: virsh + "destroy other; " + virsh + "nodedev-reattach pci_0000_05_00_0",
			}.hold(t)
		})
		t.Run("vfio is not loaded", refusal{
			provoke: "modprobe -r vfio_pci vfio_iommu_type1", after: "modprobe vfio-pci; modprobe vfio_iommu_type1",
			says: []string{"vfio", "modprobe vfio-pci"}, libvirt: "host doesn't support passthrough of host PCI devices", of: "0000:01:00.0",
		}.hold)
		t.Run("libvirt may not lock memory", refusal{
			provoke: restartLibvirtd("prlimit --memlock=65536 setpriv --bounding-set=-sys_resource libvirtd -d"),
			after:   restartLibvirtd("libvirtd -d"),
			says:    []string{"passthrough locks all of its memory", "CAP_SYS_RESOURCE", "LimitMEMLOCK=infinity"},
			libvirt: "cannot limit locked memory", of: "0000:01:00.0",
		}.hold)
		sh(t, "for l in /sys/bus/pci/devices/0000:01:00.0/net/*; do [ ${l##*/} = nic1 ] || ip link set ${l##*/} name nic1; done")
		good(t)
	})
}

// TestRefusalsOfTheHost boots hosts that cannot pass anything through, each for another reason.
func TestRefusalsOfTheHost(t *testing.T) {
	for iommu, r := range map[hosttest.IOMMU]refusal{
		hosttest.IOMMUNone: {
			says:    []string{"it is off in the firmware", "enable VT-d (Intel) or AMD-Vi (AMD) in the firmware"},
			libvirt: "host doesn't support passthrough of host PCI devices",
		},
		hosttest.IOMMUOff: {
			says:    []string{"the kernel does not use it", "add intel_iommu=on to the kernel's command line"},
			libvirt: "host doesn't support passthrough of host PCI devices",
		},
		hosttest.IOMMUNoRemapping: {
			says:    []string{"interrupt remapping", "allow_unsafe_interrupts=1"},
			libvirt: "Operation not permitted",
		},
	} {
		t.Run(string(iommu), func(t *testing.T) {
			plain(t)
			hosttest.Nested(t, hosttest.NestedHost{IOMMU: iommu}, func(t *testing.T) {
				r.of = "0000:01:00.0"
				r.hold(t)
			})
		})
	}
}
