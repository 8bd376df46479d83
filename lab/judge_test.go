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
		captured{0, datagram(t, proofPort, "labctl-proof "+testNonce+" one! 2 ", nil)},
		captured{0, datagram(t, proofPort, "", nil)},
		captured{0, []byte{1, 2, 3}},
		captured{0, datagram(t, proofPort, good, nil)[:40]},
	)
	got, err := readCapture(file, testNonce)
	must(t, err)
	const way, way6 = "10.7.2.40 to 10.7.2.41", "fd00::1 to fd00::2"
	want := []seen{
		{sent{mark{1, 2}, 142, way}, 0, ""},
		{sent{mark{0, 0}, 78, way}, 2, ""},
		{sent{mark{1, 2}, 142, way}, 1, "the UDP checksum is wrong"},
		{sent{mark{1, 2}, 142, way}, 1, "the IPv4 checksum is wrong"},
		{sent{mark{1, 2}, 142, way}, 1, "the UDP checksum is wrong"},
		{sent{mark{1, 2}, 162, way6}, 1, ""},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(seen{}, sent{}, mark{})); d != "" {
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
	for _, m := range []mark{{0, 0}, {3, 1}, {120, 4}, {1295, 99}} {
		if got, ok := readMark([]byte(m.text(testNonce)), testNonce); !ok || got != m {
			t.Errorf("%v came back as %v, %v", m, got, ok)
		}
		if _, ok := readMark([]byte(m.text(testNonce)), "other"); ok {
			t.Errorf("%v is of another proof", m)
		}
	}
}

// on is a frame of 1514 bytes as that NIC saw it.
func on(nic int, m mark) seen { return seen{sent: sent{m, 1514, "here to there"}, nic: nic} }

func TestJudge(t *testing.T) {
	all := []seen{on(1, mark{0, 0}), on(1, mark{0, 1}), on(1, mark{1, 0})}
	v := view{nic: 1, named: "tshark's NIC 2", want: []sent{all[0].sent, all[1].sent, all[2].sent}}
	with := func(s ...seen) []seen { return append(append([]seen{}, all...), s...) }
	but := func(change func(*seen)) []seen {
		s := with()
		change(&s[1])
		return s
	}
	for name, test := range map[string]struct {
		saw  []seen
		want string
	}{
		"all right":          {all, ""},
		"in any order":       {[]seen{all[2], all[0], all[1]}, ""},
		"other NICs' frames": {with(on(0, mark{0, 0}), on(2, mark{7, 7})), ""},
		"lost":               {all[1:], "tshark's NIC 2 saw\n    frame 1 of flow 1 0 times instead of once"},
		"twice":              {with(all[0]), "tshark's NIC 2 saw\n    frame 1 of flow 1 2 times instead of once"},
		"too long":           {but(func(s *seen) { s.bytes = 1515 }), "tshark's NIC 2 saw\n    frame 2 of flow 1 with 1515 bytes instead of 1514"},
		"cut":                {but(func(s *seen) { s.bytes = 1024 }), "tshark's NIC 2 saw\n    frame 2 of flow 1 with 1024 bytes instead of 1514"},
		"bad checksum":       {but(func(s *seen) { s.wrong = "the UDP checksum is wrong" }), "tshark's NIC 2 saw\n    frame 2 of flow 1: the UDP checksum is wrong"},
		"from another address": {
			but(func(s *seen) { s.way = "10.0.0.1 to 10.0.0.2" }),
			"tshark's NIC 2 saw\n    frame 2 of flow 1 from 10.0.0.1 to 10.0.0.2 instead of from here to there",
		},
		"foreign flow": {with(on(1, mark{2, 0})), "tshark's NIC 2 saw\n    frame 1 of flow 3, which does not belong there"},
		"wrong NIC":    {[]seen{all[0], all[1], on(0, mark{1, 0})}, "tshark's NIC 2 saw\n    frame 1 of flow 2 0 times instead of once"},
		"nothing": {nil, "tshark's NIC 2 saw\n    frame 1 of flow 1 0 times instead of once\n" +
			"    frame 2 of flow 1 0 times instead of once\n    frame 1 of flow 2 0 times instead of once"},
		"much at once": {
			[]seen{on(1, mark{9, 9}), all[0], all[0], {sent: sent{mark{0, 1}, 2000, "here to there"}, nic: 1, wrong: "bad"}},
			"tshark's NIC 2 saw\n    frame 10 of flow 10, which does not belong there\n    frame 2 of flow 1 with 2000 bytes instead of 1514\n" +
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
	none := view{named: "control"}
	if err := none.judge(nil); err != nil {
		t.Errorf("a NIC that must see none, and did: %v", err)
	}
	if err := none.judge([]seen{on(0, mark{0, 0})}); err == nil {
		t.Error("a marked frame on the control network is not told")
	}
	p := point{views: []view{v, none}, saw: []seen{on(0, mark{0, 0})}}
	if err := p.judge(); err == nil || !strings.Contains(err.Error(), "tshark's NIC 2") || !strings.Contains(err.Error(), "control") {
		t.Errorf("%v; want both NICs' faults", err)
	}
}

// A guest may say that it saw any number of wrong frames.
func TestJudgementIsBounded(t *testing.T) {
	saw := make([]seen, 100_000)
	for i := range saw {
		saw[i] = on(0, mark{7, i})
	}
	err := view{named: "a NIC"}.judge(saw)
	if err == nil || len(err.Error()) > 4096 || !strings.Contains(err.Error(), "and 99980 more") {
		t.Errorf("%.300v", err)
	}
}
