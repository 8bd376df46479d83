//go:build e2e

package hosttest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

// A trace of every kind is seen while it is there, and nothing is seen when it is gone.
func TestSnapshotSeesEveryTrace(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		hosttest.Foreign(t) // so that there is something of every kind that stays
		define := func(kind, xml string) string {
			file := filepath.Join(t.TempDir(), kind+".xml")
			if err := os.WriteFile(file, []byte(xml), 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}
		domain := define("domain", `<domain type='qemu'><name>d</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>`)
		network := define("network", `<network><name>n</name></network>`)
		const ip, link = "ip link add x type veth peer name y", "ip link delete x"
		before := hosttest.Baseline(t)
		for _, trace := range []struct{ name, plant, remove, sees string }{
			{"domain", "virsh define " + domain, "virsh undefine d", "+ domain d: state 5"},
			{"network", "virsh net-define " + network, "virsh net-undefine n", "+ network n: active false"},
			{
				"pool", "virsh pool-define-as p dir --target /run/labctl-pool", "virsh pool-undefine p",
				"+ pool p: active false",
			},
			{
				"volume", "mkdir /run/p; virsh pool-create-as p dir --target /run/p; virsh vol-create-as p v 1M",
				"virsh vol-delete v --pool p; virsh pool-destroy p; rmdir /run/p", "+ volume p/v",
			},
			{"link", ip, link, `+ link x: kind "veth"`},
			{"altname", "ip link property add dev lo altname z", "ip link property del dev lo altname z", `altnames ["z"]`},
			{"mtu", "ip link set lclforeign0 mtu 1400", "ip link set lclforeign0 mtu 1500", "mtu 1400"},
			{"promiscuous", "ip link set lclforeign0 promisc on", "ip link set lclforeign0 promisc off", "promiscuous true"},
			{"offload", "ethtool -K lclforeign0 gro on", "ethtool -K lclforeign0 gro off", `lclforeign0: offloads ["`},
			{"mac", ip + " address 02:00:00:00:00:07", link, "mac 02:00:00:00:00:07"},
			{
				"master", "ip link set lclforeign0 master lcbforeign0", "ip link set lclforeign0 nomaster",
				`master "lcbforeign0"`,
			},
			{"up", "ip link set lclforeign0 up", "ip link set lclforeign0 down", "up true"},
			{"address", "ip address add 192.0.2.7/32 dev lo", "ip address del 192.0.2.7/32 dev lo", "+ address lo: 192.0.2.7/32"},
			{
				"route", "ip route add blackhole 198.51.100.0/24", "ip route del blackhole 198.51.100.0/24",
				"+ route -4: blackhole 198.51.100.0/24",
			},
			{"rule", "ip rule add from 192.0.2.1 table 7", "ip rule del from 192.0.2.1 table 7", "+ rule -4: "},
			{"qdisc", "tc qdisc add dev lo clsact", "tc qdisc del dev lo clsact", "+ qdisc lo: qdisc clsact"},
			{
				"ingress filter", "tc qdisc add dev lo clsact; tc filter add dev lo ingress u32 match u32 0 0 action mirred egress mirror dev lclforeign0",
				"tc qdisc del dev lo clsact", "+ filter lo ingress: filter protocol all",
			},
			{
				"egress filter", "tc qdisc add dev lo clsact; tc filter add dev lo egress u32 match u32 0 0 action mirred egress mirror dev lclforeign0",
				"tc qdisc del dev lo clsact", "+ filter lo egress: filter protocol all",
			},
			{"table", "nft add table inet t", "nft delete table inet t", "+ nft table inet t"},
			{
				"rule", "nft add rule inet labctl-foreign forward tcp dport 7 counter drop", "nft flush chain inet labctl-foreign forward",
				"+ nft table inet labctl-foreign chain forward: tcp dport 7 counter drop",
			},
			{
				"sysctl", "echo 1 > /proc/sys/net/ipv4/conf/lo/route_localnet", "echo 0 > /proc/sys/net/ipv4/conf/lo/route_localnet",
				"+ setting /proc/sys/net/ipv4/conf/lo/route_localnet: 1",
			},
			{
				"bridge", "echo 0 > /sys/class/net/lcbforeign0/bridge/stp_state", "echo 1 > /sys/class/net/lcbforeign0/bridge/stp_state",
				"+ setting /sys/class/net/lcbforeign0/bridge/stp_state: 0",
			},
			{
				"process", "sleep 7777 > /dev/null 2>&1 & echo $! > /run/pid; until grep -qx sleep /proc/$!/comm; do :; done", // it is bash until then
				"kill $(cat /run/pid); tail --pid=$(cat /run/pid) -f /dev/null; rm /run/pid", "+ process sleep 7777",
			},
			{"mount", "mount -t tmpfs t /mnt", "umount /mnt", "+ mount: t /mnt tmpfs"},
			{"file of a lab", "mkdir -p /var/lib/labctl/labs/x", "rm -r /var/lib/labctl/labs", "+ file /var/lib/labctl/labs/x"},
			{"run file", "mkdir /run/labctl", "rmdir /run/labctl", "+ file /run/labctl"},
			{"log", "touch /var/log/libvirt/qemu/x.log", "rm /var/log/libvirt/qemu/x.log", "+ file /var/log/libvirt/qemu/x.log"},
			{"temporary file", "touch $TMPDIR/x", "rm $TMPDIR/x", "+ file /run/tmp/x"},
			{
				"file's text", "echo >> /etc/libvirt/qemu.conf", "echo 'cgroup_controllers = [ ]' > /etc/libvirt/qemu.conf",
				"- file /etc/libvirt/qemu.conf",
			},
		} {
			sh(t, trace.plant)
			if diff := hosttest.Diff(before, hosttest.Snapshot(t)); !strings.Contains(diff, trace.sees) {
				t.Errorf("%s: not seen (%q):\n%s", trace.name, trace.sees, diff)
			}
			sh(t, trace.remove)
			if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
				t.Errorf("%s: seen when gone:\n%s", trace.name, diff)
			}
		}
	})
}

// Base images outlive labs by design.
func TestSnapshotLeavesImagesOut(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		sh(t, "mount -t tmpfs t /var/lib/labctl/images")
		before := hosttest.Snapshot(t)
		sh(t, "touch /var/lib/labctl/images/x")
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestForeignSeesWhatIsTouched(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		touched := hosttest.Foreign(t)
		sh(t, "mkdir -p /var/lib/labctl/labs/x; nft add table inet labctl-x")
		if diff := touched(); diff != "" {
			t.Errorf("touched by what others did:\n%s", diff)
		}
		for _, touch := range []string{
			"virsh undefine labctl.foreign.node", "virsh net-destroy labctl.foreign.lan", "ip link delete lclforeign0",
			"nft delete table inet labctl-foreign", "rm /var/lib/labctl/foreign",
		} {
			before := touched()
			sh(t, touch)
			if touched() == before {
				t.Errorf("not seen: %s", touch)
			}
		}
	})
}

func sh(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "bash", "-e", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
