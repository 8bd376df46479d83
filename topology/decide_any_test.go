package topology

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// labs draws a lab file without mistakes.
func labs() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		fmt.Fprintf(&b, "name: %s\nnetworks:\n", rapid.StringMatching(`[a-z][a-z0-9]{0,8}`).Draw(t, "lab"))
		networks := rapid.IntRange(1, 5).Draw(t, "networks")
		sided := make([]bool, networks)
		for i := range networks {
			sided[i] = rapid.Bool().Draw(t, "sided")
			least, six := 576, rapid.Bool().Draw(t, "IPv6")
			if six {
				least = leastMTU6
			}
			keys := []string{fmt.Sprintf("mtu: %d", rapid.IntRange(least, 9216).Draw(t, "mtu"))}
			if six {
				keys = append(keys, fmt.Sprintf(`subnet6: "fd00:%x::/%d"`, i, rapid.SampledFrom([]int{48, 64, 96, 112, 122}).Draw(t, "bits of IPv6"))) // with room for all
			}
			if rapid.Bool().Draw(t, "subnet given") {
				keys = append(keys, fmt.Sprintf("subnet: 10.%d.0.0/%d", i, rapid.IntRange(16, 26).Draw(t, "bits")))
			}
			if sided[i] {
				keys = append(keys, "sides: [left, right]")
			} else {
				keys = append(keys, "uplink: "+rapid.SampledFrom([]string{"nat", "none"}).Draw(t, "uplink"))
			}
			fmt.Fprintf(&b, "  net%d: {%s}\n", i, strings.Join(keys, ", "))
		}
		b.WriteString("nodes:\n")
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			fmt.Fprintf(&b, "  n%d:\n    nics:\n", i)
			on := rapid.SliceOfNDistinct(rapid.IntRange(0, networks-1), 1, networks, rapid.ID).Draw(t, "on")
			measured := 0
			for _, k := range on {
				side := ""
				if sided[k] {
					side = ", side: " + rapid.SampledFrom([]string{"left", "right"}).Draw(t, "side")
					measured++
				}
				fmt.Fprintf(&b, "      - {network: net%d%s}\n", k, side)
			}
			if measured == 1 && rapid.Bool().Draw(t, "mirrored") {
				captures := rapid.SampledFrom([]string{"", fmt.Sprintf("{network: net%d, side: left}, ", slices.IndexFunc(sided, func(s bool) bool { return s }))}).Draw(t, "captures")
				fmt.Fprintf(&b, "  m%d: {nics: [%s{mirror: n%d}]}\n", i, captures, i)
			}
		}
		return b.String()
	})
}

// TestDecide: every lab has its own names and addresses, wherever it lies, and always the same.
func TestDecide(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		src := labs().Draw(rt, "lab")
		inUse := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			return netip.PrefixFrom(address(10<<24|rapid.Uint32().Draw(t, "address")>>8), rapid.IntRange(9, 30).Draw(t, "bits")).Masked()
		})).Draw(rt, "in use")
		l := decided(t, src, inUse...)
		if again := decided(t, src, inUse...); !reflect.DeepEqual(l, again) {
			rt.Fatal("the same file gives another lab")
		}
		seen := map[string]bool{}
		once := func(id fmt.Stringer) {
			if seen[id.String()] {
				rt.Fatalf("%s is there twice", id)
			}
			seen[id.String()] = true
		}
		for i, n := range l.Networks {
			for k, subnet := range n.Subnets() {
				if _, overlaps := overlap(subnet, inUse); n.Segments[k].Chosen && overlaps {
					rt.Fatalf("%s is in use", subnet)
				}
				for _, other := range l.Networks[:i] {
					if _, overlaps := overlap(subnet, other.Subnets()); overlaps {
						rt.Fatalf("%s overlaps one of %s", subnet, other.Subnets())
					}
				}
			}
			for _, s := range n.Segments {
				once(text(s.Bridge))
				once(text(s.UUID))
				once(text("network " + s.Object))
				once(s.MAC)
			}
			if n.Gateway.IsValid() {
				once(n.Gateway)
			}
			if n.Gateway6.IsValid() {
				once(n.Gateway6)
			}
			if n.Wire != nil {
				for _, e := range n.Wire.Ends {
					once(text(e.Link))
					once(e.MAC)
				}
			}
		}
		for _, n := range l.Nodes {
			once(text(n.UUID))
			once(text("domain " + n.Object))
			for _, c := range n.NICs {
				once(text(c.Link))
				once(c.MAC)
				if c.Mirror != "" {
					continue
				}
				once(c.Address.Addr())
				network, _ := l.Network(c.Network)
				on, _ := network.Segment(c.Side)
				if subnet := on.Subnet; !subnet.Contains(c.Address.Addr()) || c.Address.Addr() == broadcast(subnet) || c.Address.Addr() == subnet.Addr() {
					rt.Fatalf("%s is no host of %s", c.Address, subnet)
				}
				if c.Address6.IsValid() != on.Subnet6.IsValid() {
					rt.Fatalf("%s on %s, whose subnet is %s", c.Address6, on.Network, on.Subnet6)
				}
				if !c.Address6.IsValid() {
					continue
				}
				once(c.Address6.Addr())
				if a := c.Address6.Addr(); !on.Subnet6.Contains(a) || a == on.Subnet6.Addr() {
					rt.Fatalf("%s is no host of %s", c.Address6, on.Subnet6)
				}
			}
		}
	})
}

type text string

func (s text) String() string { return string(s) }

// manyNodes is a file of so many nodes, half of them on each side of a wire.
func manyNodes(nodes int) []byte {
	var b strings.Builder
	b.WriteString("name: big\nnetworks: {control: , test: {sides: [client, server]}}\nnodes:\n")
	for i := range nodes {
		fmt.Fprintf(&b, "  node-%d:\n    memory: 1GiB\n    nics:\n      - {network: control}\n      - {network: test, side: %s}\n", i, []string{"client", "server"}[i%2])
	}
	return []byte(b.String())
}

func TestManyNodes(t *testing.T) {
	l := decided(t, string(manyNodes(2_000)))
	if got := l.Networks[0].Segments[0].Subnet.Bits(); got != 21 {
		t.Errorf("2,001 addresses got a /%d", got)
	}
}

func BenchmarkLoadDecide(b *testing.B) {
	for _, nodes := range []int{10, 100, 1_000, 10_000} {
		src := manyNodes(nodes)
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for b.Loop() {
				decided(b, string(src))
			}
		})
	}
}

func BenchmarkHosts(b *testing.B) {
	for _, nodes := range []int{10, 100, 1_000} {
		l := decided(b, string(manyNodes(nodes)))
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for b.Loop() {
				for _, n := range l.Nodes {
					l.Hosts(n)
				}
			}
		})
	}
}
