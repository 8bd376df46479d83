package lab

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

const testNonce = "00112233445566ff"

// datagram is a frame with a UDP datagram over IPv4 or IPv6; with bent, bytes of it are changed afterwards.
func datagram(t testing.TB, port int, payload string, bent func([]byte)) []byte {
	t.Helper()
	return frameOf(t, &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IPv4(10, 7, 2, 40).To4(), DstIP: net.IPv4(10, 7, 2, 41).To4(),
	}, layers.EthernetTypeIPv4, port, payload, bent)
}

func frameOf(t testing.TB, ip gopacket.NetworkLayer, kind layers.EthernetType, port int, payload string, bent func([]byte)) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: 4711, DstPort: layers.UDPPort(port)}
	must(t, udp.SetNetworkLayerForChecksum(ip))
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{
			SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: kind,
		},
		ip.(gopacket.SerializableLayer), udp, gopacket.Payload(payload)))
	frame := b.Bytes()
	if bent != nil {
		bent(frame)
	}
	return frame
}

// captured is a frame and the NIC it came in at.
type captured struct {
	nic   int
	frame []byte
}

// pcapng is a capture on as many NICs, as dumpcap writes it.
func pcapng(t testing.TB, nics int, frames ...captured) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	must(t, err)
	for range nics - 1 {
		_, err := w.AddInterface(pcapgo.NgInterface{Name: "eth", LinkType: layers.LinkTypeEthernet, SnapLength: 262144})
		must(t, err)
	}
	for _, f := range frames {
		must(t, w.WritePacket(gopacket.CaptureInfo{
			Timestamp: time.Unix(1, 0), CaptureLength: len(f.frame), Length: len(f.frame), InterfaceIndex: f.nic,
		}, f.frame))
	}
	must(t, w.Flush())
	return b.Bytes()
}

// marked is the payload of a marked datagram, filled up to a length.
func marked(m mark, nonce string, length int) string {
	text := m.text(nonce)
	return text + strings.Repeat(" ", max(0, length-len(text)))
}

func TestReadCapture(t *testing.T) {
	const (
		ipChecksum  = 14 + 10
		udpChecksum = 14 + 20 + 6
	)
	flip := func(at int) func([]byte) { return func(f []byte) { f[at] ^= 0xff } }
	good := marked(mark{1, 2}, testNonce, 100)
	ipv6 := frameOf(t, &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP,
		SrcIP: netip.MustParseAddr("fd00::1").AsSlice(), DstIP: netip.MustParseAddr("fd00::2").AsSlice(),
	}, layers.EthernetTypeIPv6, proofPort, good, nil)
	file := pcapng(
		t, 3,
		captured{0, datagram(t, proofPort, good, nil)},
		captured{2, datagram(t, proofPort, marked(mark{0, 0}, testNonce, 36), nil)},
		captured{1, datagram(t, proofPort, good, flip(udpChecksum))},
		captured{1, datagram(t, proofPort, good, flip(ipChecksum))},
		captured{1, datagram(t, proofPort, good, flip(14+20+8+50))}, // in the payload
		captured{1, ipv6},
		// not this proof's
		captured{0, datagram(t, proofPort+1, good, nil)},
		captured{0, datagram(t, proofPort, marked(mark{1, 2}, "ffff", 100), nil)},
		captured{0, datagram(t, proofPort, "labctl-proof", nil)},
		captured{0, datagram(t, proofPort, "labctl-proof "+testNonce+" one 2 ", nil)},
		captured{0, datagram(t, proofPort, "", nil)},
		captured{0, []byte{1, 2, 3}},
		captured{0, datagram(t, proofPort, good, nil)[:40]},
	)
	got, err := readCapture(file, testNonce)
	must(t, err)
	want := []seen{
		{mark{1, 2}, 0, 142, ""},
		{mark{0, 0}, 2, 78, ""},
		{mark{1, 2}, 1, 142, "the UDP checksum is wrong"},
		{mark{1, 2}, 1, 142, "the IPv4 checksum is wrong"},
		{mark{1, 2}, 1, 142, "the UDP checksum is wrong"},
		{mark{1, 2}, 1, 162, ""},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(seen{}, mark{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A capture comes out of a guest: whatever it holds, it is an error at the most.
func TestReadCaptureOfAnything(t *testing.T) {
	whole := pcapng(t, 2, captured{1, datagram(t, proofPort, marked(mark{0, 0}, testNonce, 100), nil)})
	for n := range len(whole) { // cut short anywhere
		if got, _ := readCapture(whole[:n], testNonce); len(got) > 0 {
			t.Errorf("%d of %d bytes hold a frame", n, len(whole))
		}
	}
	for name, file := range map[string]string{
		"nothing": "", "text": "dumpcap: no such device\n", "zeroes": strings.Repeat("\x00", 4096),
	} {
		if _, err := readCapture([]byte(file), testNonce); err == nil {
			t.Errorf("%s is a capture", name)
		}
	}
}

func FuzzReadCapture(f *testing.F) {
	f.Add(pcapng(f, 2, captured{1, datagram(f, proofPort, marked(mark{0, 0}, testNonce, 100), nil)}))
	f.Fuzz(func(_ *testing.T, file []byte) { _, _ = readCapture(file, testNonce) })
}

func FuzzReadFrame(f *testing.F) {
	f.Add(datagram(f, proofPort, marked(mark{0, 0}, testNonce, 100), nil))
	f.Fuzz(func(_ *testing.T, frame []byte) { _, _ = readFrame(frame, testNonce) })
}

func TestMarkRoundTrip(t *testing.T) {
	for _, m := range []mark{{0, 0}, {3, 1}, {120, 4}} {
		if got, ok := readMark([]byte(m.text(testNonce)), testNonce); !ok || got != m {
			t.Errorf("%v came back as %v, %v", m, got, ok)
		}
		if _, ok := readMark([]byte(m.text(testNonce)), "other"); ok {
			t.Errorf("%v is of another proof", m)
		}
	}
}

func TestJudge(t *testing.T) {
	v := view{nic: 1, named: "tshark's NIC 2", want: []mark{{0, 0}, {0, 1}, {1, 0}}, most: 1514}
	right := func(m mark) seen { return seen{m, 1, 1514, ""} }
	all := []seen{right(mark{0, 0}), right(mark{0, 1}), right(mark{1, 0})}
	with := func(s ...seen) []seen { return append(append([]seen{}, all...), s...) }
	for name, test := range map[string]struct {
		saw  []seen
		want string
	}{
		"all right":          {all, ""},
		"in any order":       {[]seen{all[2], all[0], all[1]}, ""},
		"other NICs' frames": {with(seen{mark{0, 0}, 0, 9000, "wrong"}, seen{mark{7, 7}, 2, 60, ""}), ""},
		"lost":               {all[1:], "tshark's NIC 2 saw\n    frame 1 of flow 1 0 times instead of once"},
		"twice":              {with(all[0]), "tshark's NIC 2 saw\n    frame 1 of flow 1 2 times instead of once"},
		"too long":           {[]seen{{mark{0, 0}, 1, 1515, ""}, all[1], all[2]}, "tshark's NIC 2 saw\n    frame 1 of flow 1 with 1515 bytes, more than the 1514 there can be"},
		"bad checksum":       {[]seen{all[0], {mark{0, 1}, 1, 100, "the UDP checksum is wrong"}, all[2]}, "tshark's NIC 2 saw\n    frame 2 of flow 1: the UDP checksum is wrong"},
		"foreign flow":       {with(right(mark{2, 0})), "tshark's NIC 2 saw\n    frame 1 of flow 3, which does not belong there"},
		"wrong NIC":          {[]seen{all[0], all[1], {mark{1, 0}, 0, 100, ""}}, "tshark's NIC 2 saw\n    frame 1 of flow 2 0 times instead of once"},
		"nothing": {nil, "tshark's NIC 2 saw\n    frame 1 of flow 1 0 times instead of once\n" +
			"    frame 2 of flow 1 0 times instead of once\n    frame 1 of flow 2 0 times instead of once"},
		"much at once": {
			[]seen{right(mark{9, 9}), all[0], all[0], {mark{0, 1}, 1, 2000, "bad"}},
			"tshark's NIC 2 saw\n    frame 10 of flow 10, which does not belong there\n    frame 2 of flow 1 with 2000 bytes, more than the 1514 there can be\n" +
				"    frame 1 of flow 1 2 times instead of once\n    frame 1 of flow 2 0 times instead of once",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := v.judge(test.saw); err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	none := view{named: "control", most: 1514}
	if err := none.judge(nil); err != nil {
		t.Errorf("a NIC that must see none, and did: %v", err)
	}
	if err := none.judge([]seen{{mark{0, 0}, 0, 100, ""}}); err == nil {
		t.Error("a marked frame on the control network is not told")
	}
	p := point{views: []view{v, none}, saw: []seen{{mark{0, 0}, 0, 100, ""}}}
	if err := p.judge(); err == nil || !strings.Contains(err.Error(), "tshark's NIC 2") || !strings.Contains(err.Error(), "control") {
		t.Errorf("%v; want both NICs' faults", err)
	}
}

// A guest may say that it saw any number of wrong frames.
func TestJudgementIsBounded(t *testing.T) {
	saw := make([]seen, 100_000)
	for i := range saw {
		saw[i] = seen{mark: mark{7, i}}
	}
	err := view{named: "a NIC"}.judge(saw)
	if err == nil || len(err.Error()) > 4096 || !strings.Contains(err.Error(), "and 99980 more") {
		t.Errorf("%.300v", err)
	}
}
