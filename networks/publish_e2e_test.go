//go:build e2e

package networks

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// TestPublish brings up two labs whose machines are network namespaces, beside
// another host, on a host that forwards nothing of its own accord.
func TestPublish(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		alpha, beta := demo("alpha", "10.7"), demo("beta", "10.8")
		beta.Nodes[0].Publish[0].HostPort = 2223
		beta.Nodes[0].Publish[1].HostPort = 5556
		beta.Nodes[1].Publish = nil
		closedHost(t, alpha, beta)
		station(t, "outside")
		sh(t, `ip address add 192.0.2.1/24 dev v-outside
			ip -n outside address add 192.0.2.2/24 dev eth0
			ip -n outside route add default via 192.0.2.1`)
		machine(t, "tshark", alpha.Nodes[0])
		machine(t, "influxdb", alpha.Nodes[1])
		machine(t, "store", alpha.Nodes[2])
		machine(t, "other", beta.Nodes[0])
		for _, name := range []string{"tshark", "influxdb", "store", "other"} {
			serveAsNode(t, name, "")
		}
		serve(t, "outside", "tcp", ":80")
		serve(t, "", "tcp", "127.0.0.1:7777")
		serve(t, "", "tcp", ":8888")

		untouched := hosttest.Foreign(t)
		before := hosttest.Snapshot(t)
		a, b := Publish{alpha}, Publish{beta}
		contract(t, a)
		must(t, b.Create(t.Context()))
		must(t, a.Create(t.Context()))

		t.Run("paths", func(t *testing.T) { publishedPaths(t) })
		t.Run("paths without other firewalls", func(t *testing.T) {
			rules := sh(t, "iptables-save -t filter; iptables -F; iptables -P FORWARD ACCEPT")
			publishedPaths(t)
			sh(t, "iptables-restore <<'END'\n%s\nEND", rules)
		})
		t.Run("a node passes for another", func(t *testing.T) { spoofs(t, alpha) })
		t.Run("a side reaches the host", func(t *testing.T) { sideReaches(t, alpha) })
		t.Run("measured packets are not tracked", func(t *testing.T) { sidesUntracked(t, Wire{alpha.Networks[2]}) })
		t.Run("changed by hand", func(t *testing.T) { publishHeals(t, a, alpha) })
		t.Run("down of one leaves the other", func(t *testing.T) {
			must(t, Publish{topology.Lab{Name: "alpha"}}.Destroy(t.Context())) // by name alone
			is(t, a, host.Absent)
			is(t, b, host.Present)
			if got := ask("outside", "tcp", "192.0.2.1:2223", patience); got != "other to 192.0.2.2" {
				t.Errorf("the other lab's port answers %q", got)
			}
			if got := ask("outside", "tcp", "192.0.2.1:2222", time.Second); got != "" {
				t.Errorf("a port that is published no more answers %q", got)
			}
		})
		must(t, a.Create(t.Context()))
		must(t, a.Destroy(t.Context()))
		must(t, b.Destroy(t.Context()))
		if d := untouched(); d != "" {
			t.Errorf("what is no lab's was touched:\n%s", d)
		}
		if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
			t.Error("left behind:", diff)
		}
	})
}

// closedHost makes the networks of labs on a host that forwards nothing of its own accord.
func closedHost(t *testing.T, labs ...topology.Lab) {
	t.Helper()
	sh(t, "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP") // as Docker leaves it
	h := connect(t)
	for _, l := range labs {
		for _, s := range segments(h, l, tagOf(l.Name)) {
			must(t, s.Create(t.Context()))
			is(t, s, host.Present)
		}
	}
}

// serveAsNode has a station serve on ports that are published and on others, by the
// protocols' versions: "6", or "" for IPv4.
func serveAsNode(t *testing.T, name, version string) {
	t.Helper()
	for _, port := range []int{22, 2222, 8086, 9999} {
		serve(t, name, "tcp"+version, fmt.Sprintf(":%d", port))
	}
	serve(t, name, "udp"+version, ":55")
}

// path is from where to where is asked, and what is answered; "" where nothing is.
type path struct{ from, network, to, want, why string }

// answered tries paths.
func answered(t *testing.T, paths []path) {
	t.Helper()
	for _, p := range paths {
		t.Run(strings.TrimSpace(p.from+" "+p.network+" "+p.to), func(t *testing.T) {
			wait := patience
			if p.want == "" {
				wait = 500 * time.Millisecond
			}
			if got := ask(p.from, p.network, p.to, wait); got != p.want {
				t.Errorf("answers %q, want %q: %s", got, p.want, p.why)
			}
		})
	}
}

// A host may let nobody write its settings any more: the rules go all the same.
func TestPublishDestroyGoesOnPastErrors(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		l := demo("alpha", "10.7")
		sh(t, "ip link add %s type bridge", l.Networks[0].Segments[0].Bridge)
		p := Publish{l}
		must(t, p.Create(t.Context()))
		sh(t, "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys")
		if err := p.Destroy(t.Context()); !errors.Is(err, unix.EROFS) {
			t.Errorf("destroy says %v", err)
		}
		is(t, p, host.Absent)
	})
}

// publishedPaths tries who reaches what, and as whom.
func publishedPaths(t *testing.T) {
	arriving := listen(t, "outside", "eth0", unix.ETH_P_IP)
	answered(t, []path{
		{"outside", "tcp", "192.0.2.1:2222", "tshark to 192.0.2.2", "a published port answers, and sees the client"},
		{"outside", "udp", "192.0.2.1:5555", "tshark to 192.0.2.2", "UDP too"},
		{"outside", "tcp", "192.0.2.1:8086", "influxdb to 192.0.2.2", "published on this address"},
		{"outside", "tcp", "192.0.2.1:8888", " to 192.0.2.2", "the host's own services are as they were"},
		{"outside", "tcp", "192.0.2.1:22", "", "a node's port is not the host's"},
		{"outside", "tcp", "192.0.2.1:9999", "", "not published"},
		{"outside", "tcp", "10.7.1.42:22", "", "the node's own address, a published port"},
		{"outside", "tcp", "10.7.1.42:2222", "", "the node's own address"},
		{"outside", "tcp", "10.7.1.43:9999", "", "another node"},
		{"outside", "udp", "10.7.1.42:55", "", "UDP to the node's own address"},
		{"outside", "tcp", "10.7.1.1:8888", "", "the host's address on the lab's network is the lab's"},
		{"outside", "tcp", "10.7.1.1:2222", "", "there, published ports are not published either"},
		{"outside", "tcp", "10.7.3.1:8888", "", "the same on a network without uplink"},
		{"outside", "tcp", "10.7.3.44:22", "", "a node without uplink"},

		{"", "tcp", "192.0.2.1:2222", "tshark to 10.7.1.1", "the host, by its address"},
		{"", "tcp", "127.0.0.1:2222", "tshark to 10.7.1.1", "the host, by its loopback"},
		{"", "udp", "127.0.0.1:5555", "tshark to 10.7.1.1", "UDP too"},
		{"", "tcp", "127.0.0.1:8086", "", "published on another address of the host"},
		{"", "tcp", "10.7.1.42:22", "tshark to 10.7.1.1", "the host reaches nodes directly"},
		{"", "tcp", "10.7.3.44:22", "store to 10.7.3.1", "also without uplink"},
		{"", "tcp", "127.0.0.1:7777", " to 127.0.0.1", "the host's loopback works"},

		{"influxdb", "tcp", "10.7.1.42:22", "tshark to 10.7.1.43", "nodes of one network"},
		{"influxdb", "tcp", "192.0.2.1:2222", "tshark to 10.7.1.1", "a node, by the host's address"},
		{"influxdb", "tcp", "127.0.0.1:7777", "", "the host's loopback from a node"},
		{"influxdb", "tcp", "192.0.2.2:80", "outside to 192.0.2.1", "a nat network leads out, behind the host"},
		{"influxdb", "tcp", "10.7.3.44:22", "", "nothing is forwarded into a network without uplink"},
		{"store", "tcp", "192.0.2.2:80", "", "nor out of it"},
		{"store", "tcp", "10.7.1.42:22", "", "nor from it into another"},

		{"other", "tcp", "10.7.1.42:22", "", "another lab's nodes"},
		{"other", "tcp", "10.7.1.1:8888", "", "the host's address in another lab"},
		{"influxdb", "tcp", "10.8.1.42:22", "", "the other way round"},
		{"other", "tcp", "192.0.2.1:2222", "tshark to 10.7.1.1", "what another lab publishes"},
	})
	for f := arriving.next(time.Second); f != nil; f = arriving.next(100 * time.Millisecond) {
		if source := netip.AddrFrom4([4]byte(f[26:30])); source != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("a packet left the host from %s", source)
		}
	}
}

// publishHeals changes the rules in every way and looks that it is seen and repaired.
func publishHeals(t *testing.T, p Publish, l topology.Lab) {
	bridge := l.Networks[0].Segments[0].Bridge
	list := func() string {
		return sh(t, "nft --handle --numeric list table ip labctl-alpha | sed 's/ # handle.*//'")
	}
	want := list()
	for what, spoil := range map[string]string{
		"a rule added":     "nft add rule ip labctl-alpha forward tcp dport 1 accept",
		"a chain flushed":  "nft flush chain ip labctl-alpha guard",
		"a chain removed":  "nft flush chain ip labctl-alpha output; nft delete chain ip labctl-alpha output",
		"a chain added":    "nft add chain ip labctl-alpha more",
		"a rule replaced":  "nft replace rule ip labctl-alpha input handle $(nft -a list chain ip labctl-alpha input | sed -n 's/.*drop # handle //p' | head -1) counter accept",
		"a policy of drop": "nft chain ip labctl-alpha input '{ policy drop; }'",
		"no way from 127":  "sysctl -qw net.ipv4.conf." + bridge + ".route_localnet=0",
		"a restarted host": "virsh -q net-destroy labctl.alpha.control; virsh -q net-start labctl.alpha.control; for m in tshark influxdb; do ip link set v-$m master " + bridge + "; done",
	} {
		t.Run(what, func(t *testing.T) {
			sh(t, "%s", spoil)
			heals(t, p)
			if got := list(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if b, err := os.ReadFile(routeLocalnet(bridge)); string(b) != "1\n" {
				t.Errorf("route_localnet is %q: %v", b, err)
			}
		})
	}
}

// sidesUntracked sends between two sides, over bridges whose frames the host's
// firewall sees, and looks that it keeps no account of them.
func sidesUntracked(t *testing.T, w Wire) {
	must(t, w.Create(t.Context()))
	defer func() { must(t, w.Destroy(t.Context())) }()
	plugIn(t, w)
	sh(t, `ip -n a address add 10.7.2.40/24 dev eth0; ip -n b address add 10.7.2.41/24 dev eth0
		sysctl -qw net.bridge.bridge-nf-call-iptables=1`)
	serve(t, "b", "udp", ":55")
	if got := ask("a", "udp", "10.7.2.41:55", patience); got != "b to 10.7.2.40" {
		t.Errorf("answers %q", got)
	}
	// the kernel forgets what it tracks: something is to be tracked now, however long ago the last was
	if got := ask("outside", "tcp", "192.0.2.1:8888", patience); got != " to 192.0.2.2" {
		t.Errorf("the host answers %q", got)
	}
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	must(t, err)
	for _, f := range flows {
		if w.Network.Segments[0].Subnet.Contains(netip.AddrFrom4([4]byte(f.Forward.SrcIP.To4()))) {
			t.Error("tracked:", f)
		}
	}
	if len(flows) == 0 {
		t.Error("nothing at all is tracked: this test shows nothing")
	}
	endStation(t, "a")
	endStation(t, "b")
}

// spoofs has a node of one lab answer in the outside's place what another lab's
// node has asked: to the host such an answer belongs to a connection that it knows.
func spoofs(t *testing.T, alpha topology.Lab) {
	sh(t, "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done") // as many hosts have it
	arriving := listen(t, "influxdb", "eth0", unix.ETH_P_IP)
	asked := listen(t, "outside", "eth0", unix.ETH_P_IP)
	post(t, "influxdb", alpha.Nodes[1].NICs[0].Address.Addr().String()+":6000", "192.0.2.2:54", "question")
	eventually(t, "the outside is asked", func() bool { return bytes.HasSuffix(asked.next(time.Second), []byte("question")) })
	sh(t, "ip -n other address add 192.0.2.2/32 dev eth0")
	for _, p := range []struct {
		from string
		want bool
	}{{"outside", true}, {"other", false}} {
		post(t, p.from, "192.0.2.2:54", "192.0.2.1:6000", "answer by "+p.from)
		came, wait := false, time.Second
		if p.want {
			wait = patience
		}
		for !came {
			f := arriving.next(wait)
			if f == nil {
				break
			}
			came = bytes.HasSuffix(f, []byte("answer by "+p.from))
		}
		if came != p.want {
			t.Errorf("an answer by %s comes: %v, want %v", p.from, came, p.want)
		}
	}
	sh(t, "ip -n other address del 192.0.2.2/32 dev eth0")
}

// sideReaches has a station on a measured network talk to the host: nobody answers
// there, and what is sent to the bridge's MAC, which is no secret, gets nowhere.
func sideReaches(t *testing.T, alpha topology.Lab) {
	side := alpha.Networks[2].Segments[0]
	station(t, "onside")
	defer endStation(t, "onside")
	sh(t, `ip link set v-onside master %s
		ip -n onside address add 192.0.2.77/24 dev eth0`, side.Bridge)
	if got := ask("onside", "tcp", "192.0.2.1:8888", time.Second); got != "" {
		t.Errorf("the host answers a measured network with %q", got)
	}
	if got := sh(t, "ip -n onside neigh show 192.0.2.1"); strings.Contains(got, "lladdr") {
		t.Errorf("the host answers ARP on a measured network: %s", got)
	}
	sh(t, "ip -n onside neigh replace 192.0.2.1 lladdr %s dev eth0 nud permanent", side.MAC)
	came := listen(t, "", side.Bridge, unix.ETH_P_IP)
	c, err := net.ListenPacket("udp4", "192.0.2.1:8889")
	must(t, err)
	defer func() { _ = c.Close() }()
	post(t, "onside", "192.0.2.77:6000", "192.0.2.1:8889", "hello")
	if came.next(patience) == nil {
		t.Fatal("nothing comes to the bridge: this test shows nothing")
	}
	must(t, c.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
	if _, from, err := c.ReadFrom(make([]byte, 64)); err == nil {
		t.Errorf("the host takes what a measured network sends it, from %s", from)
	}
}

// post sends a datagram from a station's address.
func post(t *testing.T, station, from, to, text string) {
	t.Helper()
	must(t, in(station, func() error {
		local, lerr := net.ResolveUDPAddr("udp4", from)
		remote, rerr := net.ResolveUDPAddr("udp4", to)
		if err := errors.Join(lerr, rerr); err != nil {
			return err
		}
		c, err := net.DialUDP("udp4", local, remote)
		if err != nil {
			return err
		}
		_, err = c.Write([]byte(text))
		return errors.Join(err, c.Close())
	}))
}

// machine is a station in a node's place: its address, its default route, and no
// qualms about sending to the host's loopback.
func machine(t *testing.T, name string, node topology.Node) {
	t.Helper()
	station(t, name)
	c := node.NICs[0]
	sh(t, `ip link set v-%[1]s master %[2]s
		ip -n %[1]s address add %[3]s dev eth0
		ip -n %[1]s route add default via %[4]s
		ip netns exec %[1]s sysctl -qw net.ipv4.conf.all.route_localnet=1
		ip -n %[1]s route add 127.0.0.0/8 via %[4]s`, name, c.Bridge, c.Address, c.Gateway)
}
