//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// dual is a lab of two quick nodes that have IPv6 beside IPv4 on both networks.
const dual = `
name: dual
image: debian-slim
networks:
  control: {subnet: 10.7.1.0/24, subnet6: "fd00:7:1::/64"}
  test: {sides: [client, server], subnet: 10.7.2.0/24, subnet6: "fd00:7:2::/64"}
nodes:
  one:
    memory: 512MiB
    disk: 2GiB
    services: [influxdb]
    nics: [{network: control, address: 10.7.1.40}, {network: test, side: client, address: 10.7.2.40}]
    publish: ["2222:22", "[2001:db8::1]:2223:22", "8087:8087"]
  two:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control, address: 10.7.1.41}, {network: test, side: server, address: 10.7.2.41, address6: "fd00:7:2::5"}]
`

// TestIPv6 brings up a lab of both kinds of IP: measured flows take the network under
// test by either, what is published is reached by either, and nothing else is new.
func TestIPv6(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t)
		sh(t, `sysctl -qw net.ipv6.conf.all.forwarding=1 # libvirt turns it on, and leaves it so as it does with IPv4's
echo 0 >/proc/sys/net/ipv6/conf/out0/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/out0/disable_ipv6
ip addr add 2001:db8::1/64 dev out0 nodad
ip -n outside addr add 2001:db8::2/64 dev out1 nodad
ip -n outside route add default via 2001:db8::1`)
		isClean := clean(t)
		up := labctl(t, "up", write(t, "dual.yaml", dual))
		if up.code != 0 || !strings.Contains(up.out, "marked frames in 4 directions") {
			t.Fatal("it does not come up, or is not proven by both kinds of IP")
		}
		t.Run("status", func(t *testing.T) { sixIsTold(t) })
		t.Run("names", func(t *testing.T) { sixIsNamed(t) })
		t.Run("measured traffic", func(t *testing.T) { sixIsMeasured(t) })
		t.Run("nodes ask nobody", func(t *testing.T) { sixIsQuiet(t) })
		t.Run("published ports", func(t *testing.T) { sixIsPublished(t) })
		must(t, "verify")
		must(t, "down", "dual")
		if left := leftOf(t, "dual"); left != "" {
			t.Errorf("left on the host:\n%s", left)
		}
		isClean()
	})
}

func sixIsTold(t *testing.T) {
	s := status(t)
	if s.State != lab.Whole || s.Networks[1].Subnet6 != "fd00:7:2::/64" {
		t.Errorf("it is %s, with %s on test", s.State, s.Networks[1].Subnet6)
	}
	var got []string
	for _, n := range s.Nodes {
		for _, c := range n.NICs {
			got = append(got, c.Address6)
		}
	}
	if want := "fd00:7:1::28/64 fd00:7:2::28/64 fd00:7:1::29/64 fd00:7:2::5/64"; strings.Join(got, " ") != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	if text := must(t, "status"); !strings.Contains(text, "10.7.2.41/24 fd00:7:2::5/64") {
		t.Errorf("it is not shown:\n%s", text)
	}
}

// sixIsNamed: names are both, IPv4 first, and neither leads over the control network.
func sixIsNamed(t *testing.T) {
	for script, want := range map[string]string{
		"getent ahosts two | awk '$2 == \"STREAM\" {print $1}'":                "10.7.2.41\nfd00:7:2::5",
		"getent ahostsv6 two.control | awk '$2 == \"STREAM\" {print $1}'":      "fd00:7:1::29",
		"ping -6 -c1 -W20 two | grep -o 'from [^ ]*\\|from .*(fd[^)]*)'":       "fd00:7:2::5",
		"ping -6 -c1 -W20 one.test >/dev/null && echo reaches itself":          "reaches itself",
		"ping -c1 -W20 two | grep -o '(10[^)]*)' | head -1":                    "(10.7.2.41)",
		"ip -6 route get fd00:7:2::99 from fd00:7:2::28 | grep -o 'dev [^ ]*'": "dev eth1",
	} {
		if got := in(t, "one", script); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

// sixIsMeasured: iperf3 by name takes the network under test by the kind that it is
// told, and loses nothing while nodes look whether their neighbours are still there.
func sixIsMeasured(t *testing.T) {
	listens(t, "two")
	for flag, want := range map[string]string{
		"-6": "local fd00:7:2::28 port", "-4": "local 10.7.2.40 port", "": "local 10.7.2.40 port",
	} {
		got := in(t, "one", "iperf3 "+flag+" -c two -t 1")
		if !strings.Contains(got, want) {
			t.Errorf("iperf3 %s two does not say %q:\n%s", flag, want, got)
		}
	}
	in(t, "one", "for f in /proc/sys/net/ipv6/neigh/*/base_reachable_time_ms; do echo 500 >$f; done")
	got := in(t, "one", "iperf3 -6 -u -b 200k -l 500 -c two -t 15 | grep receiver")
	if !strings.Contains(got, " 0/") {
		t.Errorf("datagrams are lost while neighbours are asked again: %s", got)
	}
	in(t, "two", "pkill iperf3")
}

// sixIsQuiet: no node has asked for a router, nor has another address than was written.
func sixIsQuiet(t *testing.T) {
	for _, n := range []string{"one", "two"} {
		if got := in(t, n, "awk '$1 == \"Icmp6OutRouterSolicits\" || $1 == \"Icmp6InRouterAdvertisements\" {print $2}' /proc/net/snmp6"); got != "0\n0" {
			t.Errorf("%s has spoken with routers: %s", n, got)
		}
		if got := in(t, n, "ip -6 -o addr show scope global | wc -l; ip -6 route show default proto ra"); got != "2" {
			t.Errorf("%s has %s addresses", n, got)
		}
		if got := in(t, n, "sysctl -n net.ipv6.conf.default.disable_ipv6"); got != "1" {
			t.Errorf("IPv6 is on in %s where nothing asks for it: %s", n, got)
		}
	}
}

func sixIsPublished(t *testing.T) {
	const banner = `timeout 20 bash -c 'exec 3<>/dev/tcp/%s/%s; read -r line <&3; echo "$line"'`
	const outside = "ip netns exec outside "
	for _, at := range [][2]string{{"2001:db8::1", "2222"}, {"2001:db8::1", "2223"}, {"192.0.2.1", "2222"}} {
		for _, from := range []string{outside, ""} {
			if got := sh(t, from+fmt.Sprintf(banner, at[0], at[1])); !strings.HasPrefix(got, "SSH-2.0") {
				t.Errorf("%sport %s of %s says %q", from, at[1], at[0], got)
			}
		}
	}
	for _, at := range []string{"[2001:db8::1]", "192.0.2.1"} {
		if got := sh(t, outside+"curl -s -o /dev/null -w '%{http_code}' --cacert "+status(t).Authority+" https://"+at+":8087/ping"); got != "204" {
			t.Errorf("https at %s answers %s", at, got)
		}
	}
	if got := sh(t, fmt.Sprintf(banner, "fd00:7:1::29", "22")); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("the host itself does not reach two: %q", got)
	}
	var script strings.Builder
	for _, at := range []string{"fd00:7:1::28/22", "fd00:7:1::29/22", "fd00:7:2::28/22", "2001:db8::1/22", "2001:db8::1/9", "192.0.2.1/2223", "fd00:7:1::1/2222"} {
		fmt.Fprintf(&script, "(timeout 5 bash -c '</dev/tcp/%[1]s' 2>/dev/null && echo %[1]s) &\n", at)
	}
	if open := sh(t, outside+"bash -c '"+strings.ReplaceAll(script.String(), "'", `'\''`)+"wait'"); open != "" {
		t.Errorf("from outside these answer, and are not published:\n%s", open)
	}
}

// dualRouted is a lab of both kinds of IP whose sides a node joins, which is on control too.
const dualRouted = `
name: dual
image: debian-slim
networks:
  control: {subnet: 10.7.1.0/24, subnet6: "fd00:7:1::/64", uplink: none}
  test:
    sides: [client, server]
    under-test: node:mid
    subnets: {client: 10.7.2.0/24, server: 10.7.3.0/24}
    subnets6: {client: "fd00:7:2::/64", server: "fd00:7:3::/64"}
nodes:
  one: {memory: 256MiB, disk: 2GiB, nics: [{network: control, address6: "fd00:7:1::a"}, {network: test, side: client, address6: "fd00:7:2::a"}]}
  mid:
    memory: 256MiB
    disk: 2GiB
    nics:
      - {network: control, address6: "fd00:7:1::b"}
      - {network: test, side: client, address6: "fd00:7:2::b"}
      - {network: test, side: server, address6: "fd00:7:3::b"}
  two: {memory: 256MiB, disk: 2GiB, nics: [{network: control, address6: "fd00:7:1::c"}, {network: test, side: server, address6: "fd00:7:3::c"}]}
`

// TestIPv6AcrossNodes: a node forwards IPv6 between its sides, and neither from nor to
// the control network: Linux's switch for it knows no links.
func TestIPv6AcrossNodes(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		up := labctl(t, "up", write(t, "dual.yaml", dualRouted))
		if up.code != 0 || !strings.Contains(up.out, "marked frames in 4 directions") {
			t.Fatal("it does not come up, or is not proven by both kinds of IP")
		}
		const reaches = "ping -6 -c1 -W%d %s >/dev/null && echo yes || echo no"
		asks := func(address string, seconds int) string { return in(t, "one", fmt.Sprintf(reaches, seconds, address)) }
		if asks("two", 30) != "yes" {
			t.Error("one does not reach two")
		}
		in(t, "one", "ip -6 route replace fd00:7:1::c/128 via fd00:7:2::b")
		if asks("fd00:7:1::c", 5) != "no" {
			t.Error("mid forwards to the control network")
		}
		in(t, "one", "ip -6 route replace fd00:7:3::/64 via fd00:7:1::b dev eth0")
		if asks("fd00:7:3::c", 5) != "no" {
			t.Error("mid forwards from the control network")
		}
		in(t, "mid", "while ip -6 rule del pref 101 2>/dev/null; do :; done")
		if asks("fd00:7:1::c", 30) != "yes" {
			t.Error("without its rules mid forwards no more than with them: this test shows nothing")
		}
		must(t, "down", "dual")
		isClean()
	})
}
