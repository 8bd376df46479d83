package topology

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// space are the private prefixes (RFC 1918) that omitted subnets are chosen from, in this order.
var space = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
}

// longest is the smallest subnet that is chosen.
const longest = 24

// choose is a subnet with room for so many addresses that overlaps none of
// those taken: the first free one from a place which the lab's and the
// network's names give.
func choose(lab, network string, addresses int, taken []netip.Prefix) (netip.Prefix, error) {
	bits := longest
	for bits > 0 && room(bits) < addresses {
		bits--
	}
	start := binary.BigEndian.Uint32(digest("subnet", "network", lab, network))
	for _, s := range space {
		if bits < s.Bits() {
			continue
		}
		slots := uint32(1) << (bits - s.Bits())
		base := number(s.Addr())
		for i := uint32(0); i < slots; {
			slot := (start%slots + i) % slots
			p := netip.PrefixFrom(address(base+slot<<(32-bits)), bits)
			t, overlaps := overlap(p, taken)
			if !overlaps {
				return p, nil
			}
			i++
			if t.Bits() < bits { // the rest of a larger prefix is taken too
				inside := uint32(1)<<(bits-max(t.Bits(), s.Bits())) - 1
				i += inside - slot&inside
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("no /%d is free in %s, %s and %s", bits, space[0], space[1], space[2])
}

// overlap is one of the prefixes that p overlaps.
func overlap(p netip.Prefix, ps []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range ps {
		if p.Overlaps(t) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// room is the number of hosts in a subnet: all but its own and the broadcast address.
func room(bits int) int { return 1<<(32-bits) - 2 }

// gateway is the first host of a subnet.
func gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// broadcast is the last address of a subnet.
func broadcast(p netip.Prefix) netip.Addr {
	return address(number(p.Masked().Addr()) | (1<<(32-p.Bits()) - 1))
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
