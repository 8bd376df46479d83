//go:build e2e

package domains

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host/hosttest"
)

// experimental is an EtherType that nobody uses (IEEE 802, clause 9.2.3).
const experimental = 0x88b5

// untaggedOnes takes frames with that EtherType and without a VLAN's tag.
var untaggedOnes = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 3},
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: experimental, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 18},
	bpf.RetConstant{Val: 0},
}

// testFrame is a frame between two addresses that nobody has.
func testFrame(kind uint16, text string) []byte {
	return append([]byte{2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2, byte(kind >> 8), byte(kind)}, text...)
}

func tagged(frame []byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0, 0, 7}, frame[12:])
}

// sendFrame sends a frame at a NIC, as it is.
func sendFrame(t *testing.T, nic netlink.Link, frame []byte) {
	t.Helper()
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	must(t, err)
	defer func() { _ = unix.Close(s) }()
	must(t, unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Ifindex: nic.Attrs().Index}))
}

// framesIn are the frames in what a worker has taken, each with the number of its NIC.
func framesIn(t *testing.T, taken []byte) (all []string) {
	t.Helper()
	process, file, _ := strings.Cut(string(taken), "\n")
	if process == "" || strings.Trim(process, "0123456789") != "" {
		t.Errorf("its process is %q", process)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader([]byte(file)), pcapgo.DefaultNgReaderOptions)
	must(t, err)
	for {
		frame, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if info.Length != len(frame) {
			t.Errorf("a frame of %d bytes is said to have %d", len(frame), info.Length)
		}
		all = append(all, fmt.Sprintf("%d %s", info.InterfaceIndex, frame[14:]))
	}
}

// readFrames reads what a worker has taken, beyond what was read, until there are so many frames in all and no more: a busy
// kernel delivers them by and by.
func readFrames(t *testing.T, w *Worker, taken []byte, want int) []byte {
	t.Helper()
	for end := time.Now().Add(longWait); ; time.Sleep(10 * time.Millisecond) {
		part, err := w.Read(t.Context())
		must(t, err)
		taken = append(taken, part...)
		if time.Now().After(end) || len(part) == 0 && len(framesIn(t, taken)) >= want {
			return taken
		}
	}
}

// A worker takes what passes a NIC either way, whoever it is for, as the filter says.
func TestWorkerTakes(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		var pairs [2][2]netlink.Link
		for i := range pairs {
			name := fmt.Sprintf("take%d", i)
			must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: name + "p", PeerMTU: 9000}))
			for k, n := range []string{name, name + "p"} {
				l, err := netlink.LinkByName(n)
				must(t, err)
				must(t, netlink.LinkSetUp(l))
				pairs[i][k] = l
			}
		}
		w, _ := perl(t)
		filter, err := bpf.Assemble(untaggedOnes)
		must(t, err)
		macs := []net.HardwareAddr{pairs[1][0].Attrs().HardwareAddr, pairs[0][0].Attrs().HardwareAddr}
		must(t, w.Take(t.Context(), filter, macs))
		for _, pair := range pairs { // a NIC filters by itself what is not for it
			out, err := exec.CommandContext(t.Context(), "ip", "-d", "link", "show", "dev", pair[0].Attrs().Name).Output()
			must(t, err)
			if !strings.Contains(string(out), "promiscuity 1") {
				t.Errorf("it does not let pass what is not for it:\n%s", out)
			}
		}

		long := strings.Repeat("long", 2000)
		sendFrame(t, pairs[1][1], testFrame(experimental, "comes in"))
		sendFrame(t, pairs[1][0], testFrame(experimental, "goes out"))
		sendFrame(t, pairs[0][1], testFrame(experimental, long))
		sendFrame(t, pairs[0][1], testFrame(experimental+1, "of another kind"))
		sendFrame(t, pairs[0][1], tagged(testFrame(experimental, "has a tag")))
		sendFrame(t, pairs[0][1], testFrame(experimental, "odd"))
		taken := readFrames(t, w, nil, 4)
		if got, want := framesIn(t, taken), []string{"0 comes in", "0 goes out", "1 " + long, "1 odd"}; !slices.Equal(got, want) {
			t.Errorf("taken are %q", got)
		}

		sendFrame(t, pairs[0][1], testFrame(experimental, "more"))
		taken = readFrames(t, w, taken, 5)
		if got := framesIn(t, taken); len(got) != 5 || got[4] != "1 more" {
			t.Errorf("taken are %q", got)
		}
		nothing, err := w.Read(t.Context())
		must(t, err)
		if len(nothing) > 0 {
			t.Errorf("of nothing there are %d bytes", len(nothing))
		}

		const many = 400 // as many as wait for a worker that is not asked, of the longest
		for range many {
			sendFrame(t, pairs[0][1], testFrame(experimental, long))
		}
		must(t, w.Take(t.Context(), filter, macs[1:])) // anew
		for range many {
			sendFrame(t, pairs[0][1], testFrame(experimental, long))
		}
		if got := framesIn(t, readFrames(t, w, nil, many)); len(got) != many {
			t.Errorf("%d frames of %d are there", len(got), many)
		}
		says(t, w.Take(t.Context(), filter, []net.HardwareAddr{{2, 0, 0, 0, 0, 9}}), "no NIC has the address 02:00:00:00:00:09")
	})
}
