//go:build e2e

package images

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

// TestAlpineNodesBoot runs three nodes of the built-in lab on what the recipe
// alpine makes of the stand-in's packages, and looks at them from inside.
func TestAlpineNodesBoot(t *testing.T) {
	l := builtInLab(t)
	k := madeKeys(t, l)
	b := standInBase(t)
	tshark, client, influx := node(t, l, "tshark"), node(t, l, "iperf-client"), node(t, l, "influxdb")
	cable := t.TempDir() + "/control"
	plug := func(server string) string { return "stream,addr.type=unix,addr.path=" + cable + ",server=" + server }
	start := time.Now()
	mt := boot(t, l, tshark, k, b, plug("on"), "hubport,hubid=1")
	mc := boot(t, l, client, k, b, plug("off"), "hubport,hubid=1")
	mi := boot(t, l, influx, k, b, "hubport,hubid=0")
	mt.sync()
	t.Logf("the first agent after %v", time.Since(start))
	for _, m := range []*guestMachine{mt, mc, mi} {
		m.readyOpenRC()
	}
	t.Logf("all ready after %v", time.Since(start))
	looksRightOnAlpine(mt, l, tshark)
	looksRightOnAlpine(mc, l, client)
	looksRightOnAlpine(mi, l, influx)
	captures(mt, tshark)
	mt.prints("dumpcap -q -i eth1 -a duration:1 -w /dev/null 2>&1 | grep -c 'Packets captured: 0'", "1")

	mi.wait("InfluxDB serves", func() bool {
		return mi.sh("curl -s -o /dev/null -w '%{http_code}' http://10.7.1.43:8086/ping") == "204"
	})
	authority, err := os.ReadFile(k.Authority())
	if err != nil {
		t.Fatal(err)
	}
	mi.sh("cat >/root/authority.crt <<'END'\n" + string(authority) + "END")
	mi.wait("it does so by https", func() bool {
		return mi.sh("curl -s -o /dev/null -w '%{http_code}' --cacert /root/authority.crt https://influxdb.control:8087/ping") == "204"
	})
	// without the authority it is not trusted, or, where no other is there to ask, not even that is looked at
	mi.prints("curl -s -o /dev/null https://influxdb.control:8087/ping; case $? in 60 | 77) echo refused ;; *) echo $? ;; esac", "refused")

	// the test network is reached by its NIC or not at all
	mt.prints("ip route get 10.7.2.41", "RTNETLINK answers: No route to host")

	// no prompt, no trust on first use
	mt.prints("HOME=/root ssh -o BatchMode=yes iperf-client hostname", "iperf-client")
	mt.prints("HOME=/root ssh -o BatchMode=yes iperf-client.control 'echo $SHELL $0'", "/bin/bash bash")
	mc.prints("HOME=/root ssh -o BatchMode=yes tshark hostname >/dev/null 2>&1 || echo refused", "refused")

	// Go's folders and trafic's, as in the recipe debian
	mc.prints("cd /root && ls -d go/bin go/src share", "go/bin\ngo/src\nshare")
	mc.prints("cut -d: -f1 /root/.profile | head -n 1", "PATH=$(go env GOPATH)/bin")

	mc.restart("echo kept >/root/kept; sync; reboot")
	mc.readyOpenRC()
	looksRightOnAlpine(mc, l, client)
	mc.prints("cat /root/kept", "kept")
}

// readyOpenRC waits until the node is up and says what is wrong with it.
func (m *guestMachine) readyOpenRC() {
	m.t.Helper()
	m.sync()
	m.prints(`until [ "$(cat /run/openrc/softlevel)" = default ] && [ ! -e /run/openrc/rc.starting ]; do sleep 0.2; done 2>/dev/null; rc-status -r`, "default")
	m.prints("ls /run/openrc/failed 2>/dev/null; rc-status --crashed", "")
}

// looksRightOnAlpine looks for what holds for every node.
func looksRightOnAlpine(m *guestMachine, l topology.Lab, n topology.Node) {
	m.t.Helper()
	m.prints("hostname", n.Name)
	m.prints("cat /etc/hosts", strings.TrimSpace(HostsFile(l, n)))
	for i, c := range n.NICs {
		link := fmt.Sprintf("eth%d", i)
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
	m.prints("ping -c 1 -w 60 localhost >/dev/null && echo up", "up")

	services := "labctl-clock\nlabctl-mounts\nlabctl-network\nqemu-guest-agent\nsshd"
	if len(n.Services) == 0 {
		listens(m, n)
	} else {
		services = strings.Replace("influxdb\n"+services, "labctl-mounts", "labctl-influxdb-https\nlabctl-mounts", 1)
	}
	m.prints("ls /run/openrc/started | sort", services)
	m.prints("grep ^root: /etc/passwd | cut -d: -f7", "/bin/bash")
	m.prints("grep ^root: /etc/shadow | cut -d: -f2", "*")
	m.prints("for p in iperf3 dumpcap tshark influxd chronyd socat ethtool curl; do command -v $p >/dev/null || echo $p; done", "")
	// the file system fills the disk, but for its own tables
	var kib int64
	if _, err := fmt.Sscan(m.sh("df -k / | tail -n1 | awk '{print $2}'"), &kib); err != nil || kib < n.DiskBytes>>10*95/100 {
		m.t.Errorf("df shows %d KiB of %d, %v", kib, n.DiskBytes>>10, err)
	}
}
