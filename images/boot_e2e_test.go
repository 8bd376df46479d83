//go:build e2e

package images

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

// TestNodesBoot runs three nodes of the built-in lab as lab files them, and looks
// at them from inside, before and after a reboot.
func TestNodesBoot(t *testing.T) {
	l := builtInLab(t)
	k := madeKeys(t, l)
	b := cached(t, "debian-slim")
	tshark, client, influx := node(t, l, "tshark"), node(t, l, "iperf-client"), node(t, l, "influxdb")
	cable := t.TempDir() + "/control"
	plug := func(server string) string { return "stream,addr.type=unix,addr.path=" + cable + ",server=" + server }
	mt := boot(t, l, tshark, k, b, plug("on"), "hubport,hubid=1")
	mc := boot(t, l, client, k, b, plug("off"), "hubport,hubid=1")
	mi := boot(t, l, influx, k, b, "hubport,hubid=0")

	for _, m := range []*guestMachine{mt, mc, mi} {
		m.ready()
	}
	looksRight(mt, l, tshark)
	looksRight(mc, l, client)
	looksRight(mi, l, influx)
	captures(mt, tshark)

	// the test network is reached by its NIC or not at all
	mc.prints("ip -oneline route get 10.7.2.41 | grep -o 'dev eth1 src 10.7.2.40'", "dev eth1 src 10.7.2.40")
	mc.prints("ip link set eth1 down; ip route get 10.7.2.41; ip link set eth1 up", "RTNETLINK answers: No route to host")
	mt.prints("ip route get 10.7.2.41", "RTNETLINK answers: No route to host")

	mi.wait("InfluxDB serves", func() bool {
		return mi.sh("curl -s -o /dev/null -w '%{http_code}' http://10.7.1.43:8086/ping") == "204"
	})
	mi.prints("systemctl is-active influxdb", "active")

	// no prompt, no trust on first use
	mt.prints("HOME=/root ssh -o BatchMode=yes iperf-client hostname", "iperf-client")
	mt.prints("HOME=/root ssh -o BatchMode=yes iperf-client.control hostname", "iperf-client")
	mt.prints("HOME=/root ssh -o BatchMode=yes -o HostKeyAlias=unknown iperf-client hostname",
		"No ED25519 host key is known for unknown and you have requested strict checking.\r\nHost key verification failed.")
	mc.prints("HOME=/root ssh -o BatchMode=yes tshark hostname >/dev/null 2>&1 || echo refused", "refused")

	mc.restart("echo kept >/root/kept; systemctl reboot")
	mc.ready()
	looksRight(mc, l, client)
	mc.prints("cat /root/kept", "kept")
}

// TestDebianNodeIsFitForTrafic looks for what the recipe debian has beside debian-slim.
func TestDebianNodeIsFitForTrafic(t *testing.T) {
	l := builtInLab(t)
	m := boot(t, l, node(t, l, "iperf-server"), madeKeys(t, l), cached(t, "debian"), "hubport,hubid=0", "hubport,hubid=1")
	m.ready()
	login := func(script string) string { return "HOME=/root exec bash -lc '" + script + "'" }
	m.prints(login("go env GOPATH GOOS GOARCH CGO_ENABLED; echo ${PATH%%:*}"), "/root/go\nlinux\namd64\n0\n/root/go/bin")
	m.prints(login("git --version >/dev/null && make --version >/dev/null && echo both"), "both")
	m.prints("cd /root && ls -d go/bin go/src share share/*", "ls: cannot access 'share/*': No such file or directory\ngo/bin\ngo/src\nshare")
	// once trafic's sources are there
	m.sh("mkdir -p /root/go/src/github.com/mami-project/trafic/docker/etc/flows")
	m.prints(login("ls -F ~/share"), "flows@")
}

// looksLikeNode looks for what holds for a node on any image.
func looksLikeNode(m *guestMachine, l topology.Lab, n topology.Node) {
	m.t.Helper()
	m.prints("hostname", n.Name)
	m.prints("cat /etc/hosts", strings.TrimSpace(HostsFile(l, n)))
	m.prints("cat /etc/machine-id", strings.ReplaceAll(n.UUID, "-", ""))
	for _, c := range n.NICs {
		link := m.link(c)
		want := ""
		if c.Address.IsValid() {
			want = c.Address.String()
		}
		m.prints("ip -brief address show dev "+link+" | awk '{print $3 $4}'", want)
		m.prints("cat /sys/class/net/"+link+"/address /sys/class/net/"+link+"/mtu", fmt.Sprintf("%s\n%d", c.MAC, c.MTU))
		if !c.Offloads {
			m.prints("ethtool -k "+link+" | grep -E '^(generic|tcp)-.*(segmentation|receive)-offload: on'", "")
		}
	}
	m.prints("sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce net.ipv6.conf.all.disable_ipv6", "1\n2\n1")
	// the file system fills the disk, but for its own tables
	var mib int64
	if _, err := fmt.Sscan(m.sh("df --output=size --block-size=1M / | tail -n1"), &mib); err != nil || mib < n.DiskBytes>>20*95/100 {
		m.t.Errorf("df shows %d MiB of %d, %v", mib, n.DiskBytes>>20, err)
	}
}

// looksRight looks for what holds for every node on a recipe's image.
func looksRight(m *guestMachine, l topology.Lab, n topology.Node) {
	m.t.Helper()
	looksLikeNode(m, l, n)
	services := ""
	for _, s := range n.Services {
		services += s + "\n"
	}
	m.prints("for s in iperf3 influxdb chrony; do systemctl is-active --quiet $s && echo $s; done", strings.TrimSpace(services))
	m.prints("systemctl is-active ssh qemu-guest-agent labctl-network", "active\nactive\nactive")
	m.prints("systemctl list-timers --all --no-legend", "")
	m.prints("systemctl is-active labctl-clock", "active")
	if len(n.Services) == 0 {
		listens(m, n)
	}

	m.prints("getent passwd root | cut -d: -f7", "/bin/bash")
	m.prints("getent shadow root | cut -d: -f2", "*")
	m.prints("for p in iperf3 dumpcap tshark influxd chronyd socat ethtool curl; do command -v $p >/dev/null || echo $p; done", "")
}

// listens looks for who may be talked to: sshd, and chronyd on the control network alone.
func listens(m *guestMachine, n topology.Node) {
	m.t.Helper()
	control, _ := n.ControlAddress()
	m.prints("ss -Hltun | awk '{print $1 $5}' | sort", "tcp0.0.0.0:22\ntcp[::]:22\nudp"+control.String()+":123")
}

// link is the name that the guest gives a NIC, which is not the same in every image.
func (m *guestMachine) link(c topology.NIC) string {
	m.t.Helper()
	return m.sh("grep -l " + c.MAC.String() + " /sys/class/net/*/address | cut -d/ -f5")
}

// captures looks at the capture NIC: it takes all and says nothing.
func captures(m *guestMachine, n topology.Node) {
	m.t.Helper()
	c, _ := n.Capture()
	link := m.link(c)
	flags := m.sh("ip -oneline link show dev " + link)
	for _, f := range []string{"NOARP", "PROMISC", "UP"} {
		if !strings.Contains(flags, f) {
			m.t.Errorf("the capture NIC is not %s: %s", f, flags)
		}
	}
	m.prints("cat /sys/class/net/"+link+"/statistics/tx_packets", "0")
}

// A machine without its disk, or with an empty one, says so and powers off.
func TestInitrdGivesUpAtOnce(t *testing.T) {
	b := cached(t, "debian-slim")
	empty := t.TempDir() + "/empty"
	if err := run(t.Context(), "qemu-img", "create", "-q", "-f", "raw", empty, "64M"); err != nil {
		t.Fatal(err)
	}
	for want, drive := range map[string][]string{
		"labctl: no disk": nil,
		"labctl: the disk /dev/vda holds no ext4 file system": {"-drive", "if=virtio,format=raw,file=" + empty},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			out, err := qemuToItsEnd(t, b, drive...)
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("%v, console: %s", err, out)
			}
		})
	}
}

// BenchmarkReady boots one node and four at once, until each is up.
func BenchmarkReady(b *testing.B) {
	l := builtInLab(b)
	base := cached(b, "debian-slim")
	for _, count := range []int{1, len(l.Nodes)} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				k := madeKeys(b, l)
				start := time.Now()
				var wg sync.WaitGroup
				for _, n := range l.Nodes[:count] {
					m := boot(b, l, n, k, base, "hubport,hubid=0", "hubport,hubid=1")
					wg.Go(m.ready)
				}
				wg.Wait()
				b.ReportMetric(time.Since(start).Seconds(), "s/ready")
			}
		})
	}
}
