package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func decided(t testing.TB, src string, inUse ...netip.Prefix) Lab {
	t.Helper()
	f, err := Load("lab.yaml", []byte(src), known)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Decide(f, inUse, Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func defaultLabDecided(t testing.TB) Lab {
	t.Helper()
	_, src := Default()
	return decided(t, string(src))
}

// describe is a lab, a line each thing.
func describe(l Lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lab %s accel %s\n", l.Name, l.Accel)
	for _, n := range l.Networks {
		segments, wire := n.Segments, n.Wire
		n.Segments, n.Wire = nil, nil
		fmt.Fprintf(&b, "\nnetwork %+v\n", n)
		for _, s := range segments {
			fmt.Fprintf(&b, "  segment %+v\n", s)
		}
		if wire != nil {
			fmt.Fprintf(&b, "  wire %+v\n", *wire)
		}
	}
	for _, n := range l.Nodes {
		nics, hosts := n.NICs, l.Hosts(n)
		n.NICs = nil
		fmt.Fprintf(&b, "\nnode %+v\n", n)
		for _, c := range nics {
			fmt.Fprintf(&b, "  nic %+v\n", c)
		}
		for _, h := range hosts {
			fmt.Fprintf(&b, "  %s %s\n", h.Address, strings.Join(h.Names, " "))
		}
	}
	return b.String()
}

func TestDefaultLab(t *testing.T) {
	golden(t, "testdata/default.txt", describe(defaultLabDecided(t)))
}

func prefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var ps []netip.Prefix
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

const openLab = `
name: open
networks:
  control:
  test: {sides: [client, server]}
nodes:
  a: {nics: [{network: control}, {network: test, side: client}]}
  b: {nics: [{network: control}, {network: test, side: server}]}
`

// TestDefaults: what a file leaves out is decided, and only then.
func TestDefaults(t *testing.T) {
	l := decided(t, openLab)
	a := l.Nodes[0]
	if l.Accel != "auto" || a.Image != "debian" || a.CPUs != 1 || a.MemoryMiB != 512 || a.DiskBytes != 5<<30 {
		t.Errorf("got %+v", a)
	}
	if n := l.Networks[0]; n.Uplink != "nat" || n.MTU != 1500 || !n.Segments[0].Chosen || n.Segments[0].Subnet.Bits() != 24 || n.Gateway != n.Segments[0].Subnet.Addr().Next() {
		t.Errorf("got %+v", n)
	}
	if n := l.Networks[1]; n.Uplink != "" || n.Gateway.IsValid() || n.Wire == nil {
		t.Errorf("got %+v", n)
	}
	if a.NICs[0].Gateway != l.Networks[0].Gateway || a.NICs[1].Gateway.IsValid() {
		t.Errorf("got gateways %s, %s", a.NICs[0].Gateway, a.NICs[1].Gateway)
	}
	if !a.NICs[0].Offloads || a.NICs[1].Offloads {
		t.Error("offloads belong to networks without sides only")
	}
	set := decided(t, `
name: set
image: debian-slim
accel: tcg
networks: {a: {uplink: none, mtu: 9000, subnet: 10.9.0.0/16}, b: , c: }
nodes:
  n: {image: debian, cpus: 3, memory: 2GiB, disk: 16TiB, nics: [{network: a}, {network: b}, {network: c}]}
  m: {nics: [{network: a}]}
`)
	n := set.Nodes[0]
	if set.Accel != "tcg" || n.Image != "debian" || set.Nodes[1].Image != "debian-slim" || n.CPUs != 3 || n.MemoryMiB != 2048 || n.DiskBytes != 16<<40 {
		t.Errorf("got %+v", n)
	}
	if a := set.Networks[0]; a.Uplink != "none" || a.MTU != 9000 || a.Segments[0].MTU != 9000 || n.NICs[0].MTU != 9000 || a.Segments[0].Chosen {
		t.Errorf("got %+v", a)
	}
	if n.NICs[0].Gateway.IsValid() || !n.NICs[1].Gateway.IsValid() || n.NICs[2].Gateway.IsValid() {
		t.Error("the default route is on the first network with uplink nat, and only there")
	}
}

// TestAddresses: those left out are the next free ones, in the file's order.
func TestAddresses(t *testing.T) {
	l := decided(t, `
name: addresses
networks: {plain: {subnet: 10.1.0.0/29}, test: {sides: [a, b], subnet: 10.2.0.0/30}}
nodes:
  one: {nics: [{network: plain}, {network: test, side: a}]}
  two: {nics: [{network: plain, address: 10.1.0.3}, {network: test, side: b}]}
  three: {nics: [{network: plain}]}
  four: {nics: [{network: plain, address: 10.1.0.2}]}
  five: {nics: [{network: plain}]}
`)
	var got []string
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			got = append(got, c.Address.String())
		}
	}
	want := []string{"10.1.0.4/29", "10.2.0.1/30", "10.1.0.3/29", "10.2.0.2/30", "10.1.0.5/29", "10.1.0.2/29", "10.1.0.6/29"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestChosenSubnetsStay: what the mark holds wins over what would be chosen now.
func TestChosenSubnetsStay(t *testing.T) {
	f, err := Load("lab.yaml", []byte(openLab), known)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Decide(f, nil, Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	chosen := Chosen{Subnets: map[string]netip.Prefix{}}
	var own []netip.Prefix
	for _, n := range first.Networks {
		chosen.Subnets[n.Name] = n.Segments[0].Subnet
		own = append(own, n.Segments[0].Subnet)
	}
	again, err := Decide(f, own, chosen)
	if err != nil {
		t.Fatal(err)
	}
	if diff := Differences(first, again); diff != nil {
		t.Error(diff)
	}
	other, err := Decide(f, own, Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range other.Networks {
		if p, overlaps := overlap(n.Segments[0].Subnet, own); overlaps {
			t.Errorf("%s overlaps %s, which is in use", n.Segments[0].Subnet, p)
		}
	}
	_, err = Decide(f, nil, Chosen{Subnets: map[string]netip.Prefix{"control": netip.MustParsePrefix("10.0.0.0/31")}})
	if want := "lab.yaml:4: network control needs 3 addresses: its subnet 10.0.0.0/31 has 0"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestNoSubnetLeft: a full private space is an error at the network's line.
func TestNoSubnetLeft(t *testing.T) {
	f, err := Load("lab.yaml", []byte(openLab), known)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Decide(f, prefixes(t, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), Chosen{})
	want := "lab.yaml:4: network control needs 3 addresses: no /24 is free in 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	l, err := Decide(f, prefixes(t, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18", "192.168.192.0/19", "192.168.224.0/20", "192.168.240.0/21", "192.168.248.0/22", "192.168.252.0/23"), Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{l.Networks[0].Segments[0].Subnet.String(), l.Networks[1].Segments[0].Subnet.String()}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"192.168.254.0/24", "192.168.255.0/24"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestChoose: a subnet has room, lies in private space and overlaps nothing,
// and there is one exactly when a search of all of them finds one.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taken := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			s := rapid.SampledFrom(space).Draw(t, "space")
			bits := rapid.IntRange(max(s.Bits()-1, 6), 32).Draw(t, "bits")
			host := rapid.Uint32().Draw(t, "address") >> s.Bits()
			return netip.PrefixFrom(address(number(s.Addr())|host), bits).Masked()
		}), 0, 40).Draw(t, "taken")
		addresses := rapid.SampledFrom([]int{1, 254, 255, 1000, 70_000, 1 << 20, 1<<24 - 2, 1 << 24}).Draw(t, "addresses")
		network := rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "network")
		p, err := choose("lab", network, addresses, taken)
		free := false
		bits := longest
		for room(bits) < addresses {
			bits--
		}
		for _, s := range space {
			for n := uint32(0); bits >= s.Bits() && n < 1<<(bits-s.Bits()) && !free; n++ {
				_, overlaps := overlap(netip.PrefixFrom(address(number(s.Addr())+n<<(32-bits)), bits), taken)
				free = !overlaps
			}
		}
		if (err == nil) != free {
			t.Fatalf("got %v, %v; free: %t", p, err, free)
		}
		if err != nil {
			return
		}
		if _, overlaps := overlap(p, taken); overlaps || p.Bits() != bits || p != p.Masked() {
			t.Fatalf("got %s, taken %s", p, taken)
		}
		if !slices.ContainsFunc(space, func(s netip.Prefix) bool { return s.Contains(p.Addr()) && s.Bits() <= p.Bits() }) {
			t.Fatalf("%s is not private", p)
		}
	})
}

// TestReaches: a node that captures logs into all others on that network, and no others do.
func TestReaches(t *testing.T) {
	check := func(l Lab, want map[string][]string) {
		t.Helper()
		for _, n := range l.Nodes {
			if !slices.Equal(n.Reaches, want[n.Name]) {
				t.Errorf("%s reaches %v, want %v", n.Name, n.Reaches, want[n.Name])
			}
		}
	}
	check(defaultLabDecided(t), map[string][]string{"tshark": {"iperf-client", "iperf-server"}})
	check(decided(t, openLab+"  c: {nics: [{network: test, side: server}, {mirror: a}]}\n  d: {nics: [{network: control}]}\n"), map[string][]string{"c": {"a", "b"}})
}

// TestPublish: what a node publishes is decided as it is written.
func TestPublish(t *testing.T) {
	for _, s := range []string{"2222:22", "192.0.2.1:80:8080", "5201:5201/udp", "192.0.2.1:53:53/udp"} {
		p, err := parsePublish(s)
		if err != nil || p.String() != s {
			t.Errorf("got %s, %v; want %s", p, err, s)
		}
	}
	if p, err := parsePublish("0.0.0.0:80:81/tcp"); err != nil || p != (Publish{HostPort: 80, Port: 81, Protocol: "tcp"}) {
		t.Errorf("got %+v, %v", p, err)
	}
}
