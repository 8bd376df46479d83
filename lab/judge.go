package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// proofPort is where marked frames are sent: discard (RFC 863), so that nothing answers for real.
const proofPort = 9

// mark is what a marked frame carries: the proof's own word, which flow it
// belongs to, and its number in the flow.
type mark struct {
	flow, number int
}

func (m mark) String() string { return fmt.Sprintf("frame %d of flow %d", m.number+1, m.flow+1) }

// markBase has a mark fit into the shortest frame, however many flows there are.
const markBase = 36

// text is the beginning of a marked datagram.
func (m mark) text(nonce string) string {
	return fmt.Sprintf("labctl-proof %s %s %s ", nonce, strconv.FormatInt(int64(m.flow), markBase), strconv.FormatInt(int64(m.number), markBase))
}

// readMark reads a datagram's mark; false where it bears none of this proof's.
func readMark(payload []byte, nonce string) (mark, bool) {
	words := strings.SplitN(string(payload), " ", 5)
	if len(words) < 5 || words[0] != "labctl-proof" || words[1] != nonce {
		return mark{}, false
	}
	flow, ferr := strconv.ParseInt(words[2], markBase, 32)
	number, nerr := strconv.ParseInt(words[3], markBase, 32)
	return mark{int(flow), int(number)}, ferr == nil && nerr == nil
}

// sent is a marked frame as it is sent.
type sent struct {
	mark
	bytes int    // of the frame, from its destination address to its payload's end
	way   string // its IP addresses, "10.7.2.40 to 10.7.2.41"
}

func wayOf(src, dst netip.Addr) string { return src.String() + " to " + dst.String() }

// seen is a marked frame as a point of observation saw it.
type seen struct {
	sent
	nic   int // which of the point's NICs, in the order they were named
	wrong string
}

// interfacesIn is the number of interfaces that a pcapng file tells of.
func interfacesIn(file []byte) int {
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return 0
	}
	_, _, _ = r.ReadPacketData() // which comes after them
	return r.NInterfaces()
}

// readCapture reads the marked frames in a pcapng file; where it is cut short, those before.
func readCapture(file []byte, nonce string) ([]seen, error) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return nil, fmt.Errorf("read the capture: %w", err)
	}
	var all []seen
	for {
		frame, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("read the capture: %w", err)
		}
		if s, marked := readFrame(frame, nonce); marked {
			s.nic, s.bytes = info.InterfaceIndex, info.Length
			all = append(all, s)
		}
	}
}

// readFrame reads an Ethernet frame that bears the proof's mark.
func readFrame(frame []byte, nonce string) (seen, bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || udp.DstPort != proofPort {
		return seen{}, false
	}
	m, marked := readMark(udp.Payload, nonce)
	if !marked {
		return seen{}, false
	}
	s := seen{sent: sent{mark: m, way: wayText(p)}}
	if err := udp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		s.wrong = err.Error()
		return s, true
	}
	err, mismatches := p.VerifyChecksums()
	switch {
	case err != nil:
		s.wrong = err.Error()
	case len(mismatches) > 0:
		s.wrong = fmt.Sprintf("the %s checksum is wrong", mismatches[0].Layer.LayerType())
	}
	return s, true
}

// wayText are the addresses of a packet's outermost IP header.
func wayText(p gopacket.Packet) string {
	src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
	from, _ := netip.AddrFromSlice(src.Raw())
	to, _ := netip.AddrFromSlice(dst.Raw())
	return wayOf(from, to)
}

// view is what one NIC of a point must see, and what it saw.
type view struct {
	nic   int    // its place among the point's NICs
	named string // "tshark's NIC 2 (copy of iperf-client's on test)"
	want  []sent

	corrupted bool // the network under test changes bits of frames
}

// wrongMost is how much of what is wrong with a view is told: the capture is a guest's word.
const wrongMost = 20

// judge says what is wrong with what the point saw on this NIC; nil where each
// wanted frame was there exactly once, whole and right, and no other.
func (v view) judge(saw []seen) error {
	times := v.times(saw)
	wrong := v.faults(saw)
	for _, m := range v.want {
		if n := times[m.mark]; n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s %d times instead of once", m.mark, n))
		}
	}
	return v.fault(wrong)
}

// times is how often each frame was seen on this NIC.
func (v view) times(saw []seen) map[mark]int {
	times := map[mark]int{}
	for _, s := range saw {
		if s.nic == v.nic {
			times[s.mark]++
		}
	}
	return times
}

// faults are what is wrong with single frames that were seen on this NIC.
func (v view) faults(saw []seen) []string {
	var wrong []string
	for _, s := range saw {
		if s.nic != v.nic {
			continue
		}
		k := slices.IndexFunc(v.want, func(w sent) bool { return w.mark == s.mark })
		switch {
		case k < 0:
			wrong = append(wrong, fmt.Sprintf("%s, which does not belong there", s.mark))
		case s.bytes != v.want[k].bytes:
			wrong = append(wrong, fmt.Sprintf("%s with %d bytes instead of %d", s.mark, s.bytes, v.want[k].bytes))
		case v.corrupted:
		case s.wrong != "":
			wrong = append(wrong, fmt.Sprintf("%s: %s", s.mark, s.wrong))
		case s.way != v.want[k].way:
			wrong = append(wrong, fmt.Sprintf("%s from %s instead of from %s", s.mark, s.way, v.want[k].way))
		}
	}
	return wrong
}

// fault is what is wrong with this NIC's view; nil where nothing is.
func (v view) fault(wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	if more := len(wrong) - wrongMost; more > 0 {
		wrong = append(wrong[:wrongMost], fmt.Sprintf("and %d more of the kind", more))
	}
	return fmt.Errorf("%s saw\n    %s", v.named, strings.Join(wrong, "\n    "))
}
