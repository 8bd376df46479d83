package probe

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

var (
	someMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	routerMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	clientAddr = netip.MustParseAddr("10.7.2.40")
	serverAddr = netip.MustParseAddr("10.7.3.41")
)

func routed(t *testing.T) Path {
	t.Helper()
	p, err := Routed("a", "b", someMAC, routerMAC, clientAddr, serverAddr)
	must(t, err)
	return p
}

// Whatever number a frame bears, its checksums are right and routers forward it.
func TestRoutedFrames(t *testing.T) {
	p := routed(t)
	offset := len(p.Head(payloadLeast))
	rapid.Check(t, func(t *rapid.T) {
		f := p.blank(rapid.IntRange(offset+payloadLeast, 1514).Draw(t, "size"))
		number(f, offset, rapid.Uint32().Draw(t, "mark"), rapid.Uint32().Draw(t, "number"))
		packet := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
		eth, _ := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp, _ := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if eth == nil || ip == nil || icmp == nil || packet.ErrorLayer() != nil {
			t.Fatalf("no echo reply: %v", packet)
		}
		if !bytes.Equal(eth.DstMAC, routerMAC) || !bytes.Equal(eth.SrcMAC, someMAC) || !ip.SrcIP.Equal(clientAddr.AsSlice()) || !ip.DstIP.Equal(serverAddr.AsSlice()) ||
			ip.TTL < 2 || int(ip.Length) != len(f)-14 || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoReply {
			t.Fatalf("%v", packet)
		}
		for _, part := range [][]byte{f[14:34], f[34:]} {
			if sum := internetSum(part); sum != 0xffff {
				t.Fatalf("checksum of % x adds up to %#x", part, sum)
			}
		}
	})
}

func internetSum(b []byte) int {
	sum := 0
	for i, v := range b {
		sum += int(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

func TestRoutedRefuses(t *testing.T) {
	for what, try := range map[string]func() (Path, error){
		"10.7.2.40": func() (Path, error) {
			return Routed("a", "b", someMAC, routerMAC, clientAddr, netip.MustParseAddr("fd00::1"))
		},
		"MACs": func() (Path, error) { return Routed("a", "b", someMAC, nil, clientAddr, serverAddr) },
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("says %v, want %s named", err, what)
		}
	}
}

// A frame is told by its number even where any one bit of it was changed; not by another mark.
func TestNumberSurvivesDamage(t *testing.T) {
	const offset = 14
	rapid.Check(t, func(t *rapid.T) {
		mark, n := rapid.Uint32().Draw(t, "mark"), rapid.Uint32().Draw(t, "number")
		f := make([]byte, least)
		number(f, offset, mark, n)
		bit := rapid.IntRange(0, 8*least-1).Draw(t, "bit")
		f[bit/8] ^= 1 << (bit % 8)
		if got, ok := numberOf(f, offset, mark); !ok || got != n {
			t.Fatalf("frame %d is taken for %d, %v", n, got, ok)
		}
		if _, ok := numberOf(f, offset, mark+2); ok {
			t.Fatal("another's frame is taken for ours")
		}
	})
	if _, ok := numberOf(make([]byte, offset+5), offset, 0); ok {
		t.Error("a frame without a record has a number")
	}
}
