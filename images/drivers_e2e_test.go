//go:build e2e

package images

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// TestNICOfTheHosts runs a node one of whose NICs is no virtio one, which needs a
// driver that nothing but the node's network script loads.
func TestNICOfTheHosts(t *testing.T) {
	l := builtInLab(t)
	n := node(t, l, "iperf-client")
	n.NICs = slices.Clone(n.NICs)
	n.NICs[1].Kind = topology.KindFunction
	m := boot(t, l, n, madeKeys(t, l), cached(t, "debian-slim"), "hubport,hubid=0", "hubport,hubid=1")
	m.ready()
	looksRight(m, l, n)
	m.prints("basename -a $(readlink /sys/class/net/eth0/device/driver) $(readlink /sys/class/net/eth1/device/driver)", "virtio_net\ne1000e")
	hasDrivers(m)
	loadsDriversIfNeeded(m, n)
	waitsForLinks(m)
}

// hasDrivers looks for what the recipes leave out: nothing that is left is named in vain or lacks what it needs.
func hasDrivers(m *guestMachine) {
	m.t.Helper()
	const here = "cd /lib/modules/$(uname -r) && "
	m.prints(here+"modinfo -n e1000e igb igbvf igc ixgbe ixgbevf i40e iavf ice mlx5_core bnxt_en tg3 r8169 "+
		"bonding macvlan vxlan 8021q sch_netem tcp_bbr | grep -v ^/lib/modules/", "")
	m.prints(here+"cut -d: -f1 modules.dep | xargs ls >/dev/null", "")
	m.prints(here+"find kernel/drivers/net/ethernet kernel/net kernel/fs -name '*.ko' | xargs modinfo -F depends | "+
		"tr , '\\n' | sort -u | grep . | xargs modinfo -n | grep -v '^/lib/modules/'", "")
}

// network runs the network script on a file of its own.
const network = `bind() { printf "%s\n" "$@" >/run/network; mount --bind /run/network /etc/labctl/network; }
run() { /usr/lib/labctl/network; said=$?; umount /etc/labctl/network; echo "exit $said"; }
`

// loadsDriversIfNeeded takes the driver away: it comes back if a MAC asks for it, not else.
func loadsDriversIfNeeded(m *guestMachine, n topology.Node) {
	m.t.Helper()
	line := func(i int) string { return `"` + n.NICs[i].MAC.String() + ` ip link set dev LINK up"` }
	m.prints(network+"rmmod e1000e; bind "+line(0)+"; run; grep -c ^e1000e /proc/modules", "exit 0\n0")
	m.prints(network+"bind "+line(1)+"; run; ip -oneline link show dev eth1 | grep -c '[<,]UP[,>]'", "exit 0\n1")
}

// waitsForLinks asks for a link that comes later, and for one that never does.
func waitsForLinks(m *guestMachine) {
	m.t.Helper()
	m.prints(network+`bind "02:00:00:00:00:0f ip link set dev LINK up"
(sleep 3; ip link add late address 02:00:00:00:00:0f type dummy) & run; ip -oneline link show dev late | grep -c '[<,]UP[,>]'`, "exit 0\n1")
	for try := 1; ; try++ { // a machine whose host is busy may stand still meanwhile
		said := strings.Split(m.sh(network+`uptime() { cut -d. -f1 /proc/uptime; }
bind "02:00:00:00:00:0e ip link set dev LINK up"; uptime; run; uptime`), "\n")
		if len(said) != 4 || said[1] != "no link has the MAC 02:00:00:00:00:0e" || said[2] != "exit 1" {
			m.t.Fatalf("of a link that never comes: %q", said)
		}
		start, err := strconv.Atoi(said[0])
		end, err2 := strconv.Atoi(said[3])
		took := end - start
		if took > 90 && try < 5 {
			continue
		}
		if err != nil || err2 != nil || took < 25 || took > 90 {
			m.t.Errorf("it gave up after %d s: %q", took, said)
		}
		return
	}
}
