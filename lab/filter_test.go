package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
)

// A worker's sockets take what dumpcap's filter says, over both IPs.
func TestProgram(t *testing.T) {
	e := testExperiment(loadDefault(t))
	// no machine for filters but the kernel's knows of VLANs: domains' TestWorkerTakes shows that
	program := e.program()
	untagged := 0
	for i, in := range program {
		if in == (bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}) {
			program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: 0}
			untagged++
		}
	}
	if untagged != 2 {
		t.Errorf("tags are looked for at %d places", untagged)
	}
	vm, err := bpf.NewVM(program)
	must(t, err)

	good := marked(mark{1, 2}, testNonce, 100)
	ip := func(options int) []byte {
		return frameOf(t, &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 7, 2, 40).To4(), DstIP: net.IPv4(10, 7, 2, 41).To4(),
			Options: slices.Repeat([]layers.IPv4Option{{OptionType: 1, OptionLength: 1}}, options), // no operation
		}, layers.EthernetTypeIPv4, proofPort, good, nil)
	}
	ip6 := func(next layers.IPProtocol) []byte {
		return frameOf(t, &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: next,
			SrcIP: netip.MustParseAddr("fd00::1").AsSlice(), DstIP: netip.MustParseAddr("fd00::2").AsSlice(),
		}, layers.EthernetTypeIPv6, proofPort, good, nil)
	}
	set := func(at int, value byte) func([]byte) { return func(f []byte) { f[at] = value } }
	fragment := func(of uint16) func([]byte) {
		return func(f []byte) { binary.BigEndian.PutUint16(f[frameHeader+6:], of) }
	}
	other := "10112233445566ff"
	for name, test := range map[string]struct {
		frame []byte
		takes bool
	}{
		"a marked frame":                     {datagram(t, proofPort, good, nil), true},
		"one of another proof with its mark": {datagram(t, proofPort, marked(mark{1, 2}, testNonce[:4]+"000000000000", 100), nil), true},
		"the shortest":                       {datagram(t, proofPort, marked(mark{0, 0}, testNonce, fenceSize-ipUDPHeaders), nil), true},
		"with IP options":                    {ip(40), true},
		"of another prefix":                  {datagram(t, proofPort, marked(mark{1, 2}, other, 100), nil), false},
		"to another port":                    {datagram(t, proofPort+1, good, nil), false},
		"that is no UDP":                     {datagram(t, proofPort, good, set(frameHeader+9, 6)), false},
		"that is no IP":                      {datagram(t, proofPort, good, set(12, 0x88)), false},
		"a first fragment":                   {datagram(t, proofPort, good, fragment(0x2000)), true},
		"a later fragment":                   {datagram(t, proofPort, good, fragment(0x0001)), false},
		"cut short":                          {datagram(t, proofPort, good, nil)[:frameHeader+30], false},
		"over IPv6":                          {ip6(layers.IPProtocolUDP), true},
		"over IPv6, and no UDP":              {ip6(layers.IPProtocolTCP), false},
		"nothing":                            {nil, false},
	} {
		bytes, err := vm.Run(test.frame)
		must(t, err)
		if takes := bytes >= len(test.frame) && bytes > 0; takes != test.takes {
			t.Errorf("a frame %s: %v", name, takes)
		}
	}
}
