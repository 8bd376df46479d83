package networks

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// kind is one of the two kinds of IP. A lab's rules are the same for both but for
// whose addresses they speak of, and the little that is below.
type kind struct {
	family  nftables.TableFamily
	is      func(netip.Addr) bool
	gateway func(topology.Network) netip.Addr // the host's own address there; the zero Addr where it has none
	subnet  func(topology.Segment) netip.Prefix
	subnets func(topology.Network) []netip.Prefix
	address func(topology.NIC) netip.Prefix

	loopback    netip.Prefix   // that nodes could reach where ports are published; the zero Prefix: the kernel sees to it
	neighbours  netip.Prefix   // where they ask each other from; the zero Prefix: not by IP
	unpublished []netip.Prefix // addresses of the host's own which lead to no node: the answer would not come back to them
}

var (
	ipv4 = kind{
		family:   nftables.TableFamilyIPv4,
		is:       netip.Addr.Is4,
		gateway:  func(n topology.Network) netip.Addr { return n.Gateway },
		subnet:   func(s topology.Segment) netip.Prefix { return s.Subnet },
		subnets:  topology.Network.Subnets,
		address:  func(c topology.NIC) netip.Prefix { return c.Address },
		loopback: netip.MustParsePrefix("127.0.0.0/8"),
	}
	ipv6 = kind{
		family:      nftables.TableFamilyIPv6,
		is:          netip.Addr.Is6,
		gateway:     func(n topology.Network) netip.Addr { return n.Gateway6 },
		subnet:      func(s topology.Segment) netip.Prefix { return s.Subnet6 },
		subnets:     topology.Network.Subnets6,
		address:     func(c topology.NIC) netip.Prefix { return c.Address6 },
		neighbours:  linkLocal6,
		unpublished: []netip.Prefix{netip.MustParsePrefix("::1/128"), linkLocal6},
	}
	linkLocal6 = netip.MustParsePrefix("fe80::/10")

	icmp6 = rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}}}
)
