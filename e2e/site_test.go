//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// onSite is a lab on three bridges of the host: br0, where others are too, and two with
// the network under test between them.
const onSite = `
name: site
image: debian-slim
networks:
  control: {uplink: "bridge:br0", subnet: 192.0.2.0/24}
  test:
    sides: [client, server]
    under-test: external
    subnet: 10.9.2.0/24
    uplinks: {client: "bridge:br1", server: "bridge:br2"}
nodes:
  one:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control, address: 192.0.2.40}, {network: test, side: client, address: 10.9.2.40}]
  two:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control, address: 192.0.2.41}, {network: test, side: server, address: 10.9.2.41}]
`

// The foreign network under test of these tests is a cable between br1 and br2.
const (
	cable = `ip link add foreign1 address 02:00:00:00:01:02 type veth peer name foreign2 address 02:00:00:00:02:02
for n in 1 2; do
	echo 1 >/proc/sys/net/ipv6/conf/foreign$n/disable_ipv6
	ip link set foreign$n master br$n up
done`
	uncable = "ip link del foreign1"
	quietly = `
	ip link set br$n address 02:00:00:00:0$n:01 type bridge mcast_snooping 0
	echo 1 >/proc/sys/net/ipv6/conf/br$n/disable_ipv6
	ip link set br$n up
`
)

// TestSite brings a lab up on bridges of the host, with a neighbour on one of them, and a
// network under test that is none of the lab's.
func TestSite(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		file := write(t, "site.yaml", onSite)
		fails(t, 4, []string{"network control: there is no bridge br0", "side client of network test: there is no bridge br1", "side server", "ip link add br2 type bridge"}, "up", file)
		for n := range "012" {
			sh(t, "n="+"012"[n:n+1]+"; ip link add br$n type bridge;"+quietly)
		}
		sh(t, `ip address add 192.0.2.1/24 dev br0
ip netns add neighbour
ip link add near0 type veth peer name near1 netns neighbour
ip link set near0 master br0 up
ip -n neighbour address add 192.0.2.9/24 dev near1
ip -n neighbour link set near1 up`)
		sh(t, cable)
		refusesBridges(t, file)
		sh(t, "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0")
		isClean := clean(t)
		settings := bridgeSettings(t)

		sh(t, uncable)
		fails(t, 1, []string{
			"0 times instead of once",
			"network test is external: what joins bridge br1 and bridge br2 is none of labctl's",
		}, "up", "--keep", file)
		sh(t, cable)
		if out := must(t, "up", file); !strings.Contains(out, "10 marked frames in 2 directions") {
			t.Errorf("with the cable between them up says %s", out)
		}
		if got := bridgeSettings(t); got != settings {
			t.Errorf("the bridges are not as they were:\n%s\nthey were:\n%s", got, settings)
		}
		if strings.Contains(sh(t, "nft list ruleset"), "br1") {
			t.Error("there are rules for a bridge that is none of labctl's")
		}
		t.Run("the neighbour", reachesNeighbours)
		t.Run("measured traffic", func(t *testing.T) {
			serve(t, "two", "5201")
			before := sh(t, "cat /sys/class/net/foreign1/statistics/tx_bytes")
			in(t, "one", "iperf3 -c two -n 4M")
			after := sh(t, "cat /sys/class/net/foreign1/statistics/tx_bytes")
			if sh(t, "echo $(( ("+after+" - "+before+") > 2000000 ))") != "1" { // iperf3 leaves what is under way at its end
				t.Errorf("4 MiB of iperf3's did not pass the network under test: %s, then %s bytes", before, after)
			}
		})
		t.Run("heals", func(t *testing.T) { siteHeals(t, file) })
		t.Run("a host without an address there", func(t *testing.T) { unreached(t, file) })

		must(t, "down")
		if got := bridgeSettings(t); got != settings {
			t.Errorf("the bridges are not as they were:\n%s\nthey were:\n%s", got, settings)
		}
		isClean()
	})
}

// bridgeSettings are those of the three bridges, and who is on them but for labs' taps.
func bridgeSettings(t *testing.T) string {
	t.Helper()
	return sh(t, `cd /sys/class/net
for b in br0 br1 br2; do
	grep -H . $b/mtu $b/address $b/addr_assign_type $b/flags $b/bridge/* 2>/dev/null | grep -v '_timer:\|topology_change\|ageing_time' # which the kernel changes itself with the topology
	ls $b/brif | grep -v ^lct | sed "s/^/$b has /"
	ip -br address show dev $b
done`)
}

// refusesBridges: what would not work, or change a bridge, is told beforehand.
func refusesBridges(t *testing.T, file string) {
	jumbo := write(t, "jumbo.yaml", strings.Replace(onSite, "subnet: 10.9.2.0/24", "subnet: 10.9.2.0/24\n    mtu: 9000", 1))
	plainLink := write(t, "plain.yaml", strings.Replace(onSite, "bridge:br2", "bridge:foreign2", 1))
	for _, c := range []struct{ name, provoke, file, says, fix, after string }{
		{"a bridge that is down", "ip link set br1 down", file, "bridge br1 is down", "ip link set br1 up", "true"},
		{"an MTU of the file's", "true", jumbo, "br1 has an MTU of 1500, and the network one of 9000", "mtu: 1500", "true"},
		{"an MTU of the bridge's", "ip link set br2 mtu 1400", file, "br2 has an MTU of 1400, and the network one of 1500", "ip link set br2 mtu 1500", "ip link set br2 mtu 1500"},
		{"no bridge", "true", plainLink, "link foreign2 is no bridge", "br0, br1, br2", "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sh(t, c.provoke)
			fails(t, 4, []string{c.says, c.fix}, "plan", c.file)
			doctor(t, c.file).says(t, "bridges", "wrong", c.says, c.fix)
			if strings.HasPrefix(c.fix, "ip link set") { // it mends it
				sh(t, c.fix)
			}
			sh(t, c.after)
			must(t, "plan", file)
		})
	}
	t.Run("what spoils measurements", func(t *testing.T) {
		sh(t, "ip link set br1 type bridge mcast_snooping 1 stp_state 1")
		out := must(t, "plan", file)
		for _, want := range []string{
			"br1 speaks the spanning tree protocol", "br1 looks into multicast",
			"asked about each frame on br1 and br2 (bridge-nf-call-iptables, bridge-nf-call-ip6tables)",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("plan does not warn that %s:\n%s", want, out)
			}
		}
		doctor(t, file).says(t, "bridges", "warning", "spanning tree", "ip link set br1 type bridge stp_state 0")
		sh(t, "ip link set br1 type bridge mcast_snooping 0 stp_state 0")
	})
}

// reachesNeighbours: a neighbour on the bridge reaches a node by its own address, and back; so does the host.
func reachesNeighbours(t *testing.T) {
	if got := untilSh(t, `ip netns exec neighbour timeout 60 bash -c 'read -r line </dev/tcp/192.0.2.40/22 && echo "$line"'`); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("one's ssh says %q to the neighbour", got)
	}
	untilIn(t, "one", "ping -c1 -W20 192.0.2.9")
	if got := strings.TrimSpace(mustReach(t, "ssh", "two", "hostname")); got != "two" {
		t.Errorf("labctl ssh reaches %q", got)
	}
	if out := must(t, "plan", write(t, "site.yaml", onSite)); strings.Contains(out, "warning") {
		t.Errorf("on bridges as they should be plan warns:\n%s", out)
	}
}

// siteHeals: a node that is unplugged is plugged in again; of a bridge that is gone it is
// said that it is, and once it is back all is as before.
func siteHeals(t *testing.T, file string) {
	tap := status(t).Nodes[0].NICs[1].Link
	sh(t, "ip link set "+tap+" nomaster")
	if got := status(t).State; got != lab.Part {
		t.Errorf("with a node unplugged the lab is %s", got)
	}
	if r := labctl(t, "up", file); !strings.Contains(r.err, "complete machine/one") {
		r.check(t, 0, "complete machine/one")
	}
	sh(t, "ip link del br1")
	s := status(t)
	if s.State != lab.Part || s.Networks[1].Segments[0].State != "absent" {
		t.Errorf("with br1 gone the lab is %s, and its side %+v", s.State, s.Networks[1].Segments)
	}
	fails(t, 4, []string{"there is no bridge br1"}, "up", file)
	sh(t, uncable)
	sh(t, "n=1; ip link add br1 type bridge;"+quietly)
	sh(t, "ip link set br1 type bridge stp_state 1 forward_delay 400") // lets a new port pass frames after 8 s
	sh(t, cable)
	labctl(t, "up", file).check(t, 0, "complete machine/one", "speaks the spanning tree protocol", "its bridges pass its frames")
	sh(t, "ip link set br1 type bridge stp_state 0 forward_delay 1500")
}

// unreached: where the host has no address there the lab works all the same, and plan
// and doctor say what does not.
func unreached(t *testing.T, file string) {
	sh(t, "ip address del 192.0.2.1/24 dev br0")
	if out := must(t, "plan", file); !strings.Contains(out, "the host has no address in 192.0.2.0/24") {
		t.Errorf("plan does not say that the host is not there:\n%s", out)
	}
	doctor(t, file).says(t, "bridges", "warning", "no address in 192.0.2.0/24", "ip address add ADDRESS/24 dev br0")
	labctl(t, "up", file).check(t, 0, "the host has no address in 192.0.2.0/24")
	if got := in(t, "one", "hostname"); got != "one" {
		t.Errorf("exec reaches %q", got)
	}
	sh(t, "ip address add 192.0.2.1/24 dev br0")
}
