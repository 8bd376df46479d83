package flows

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/pcapgo"
)

// Capture is dumpcap at a node's capture NIC, into a file on the node's disk: nothing
// leaves the node while traffic is measured.
type Capture struct {
	Node    Guest
	MAC     net.HardwareAddr // of the NIC
	Filter  string           // in libpcap's language; "" for every frame
	Snaplen int              // bytes kept of a frame; 0 for all
	Most    int64            // bytes that are copied to the host: no more than the node's disk has
}

// Where a node keeps its capture, and what dumpcap says.
const (
	captureDir  = "/var/tmp/labctl-run-capture"
	capturePID  = "/run/labctl-run-capture"
	captureFile = captureDir + "/frames"
	captureSaid = captureDir + "/said"
)

// CaptureBuffer is the room between the kernel and dumpcap (MiB): a slow node falls behind for a while.
const CaptureBuffer = 64

// How long dumpcap may take to begin, and to end (s).
const captureTime = 60

// endCapture ends dumpcap, and waits until it has.
const endCapture = pause + `if [ -e ` + capturePID + ` ] && read -r pid <` + capturePID + `; then
	kill -INT "$pid" 2>/dev/null
	while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt %[1]d ]; do pause 0.05; done
	kill -KILL "$pid" 2>/dev/null
	rm -f ` + capturePID + `
fi
`

// drained waits until dumpcap has written what was on its way when the traffic ended:
// the file grows no more, or only by what never ends on a network.
const drained = `size=
for ((still = 0; still < 4 && SECONDS < 20; )); do
	pause 0.3
	now=$(stat -c %s ` + captureFile + `) || break
	if [ "$now" = "$size" ]; then still=$((still + 1)); else still=0 size=$now; fi
done
`

// Begin starts the capture, and returns once frames are being taken.
func (c Capture) Begin(ctx context.Context) error {
	options := ""
	if c.Filter != "" {
		options += " -f " + shell(c.Filter)
	}
	if c.Snaplen > 0 {
		options += fmt.Sprintf(" -s %d", c.Snaplen)
	}
	_, err := c.Node.Bash(ctx, fmt.Sprintf(endCapture, captureTime)+fmt.Sprintf(`rm -rf %[1]s; mkdir -p %[1]s && cd %[1]s || exit
for d in /sys/class/net/*; do read -r mac <"$d/address"; [ "$mac" = %[2]s ] && link=${d##*/}; done
[ "$link" ] || { echo "there is no NIC %[2]s" >&2; exit 1; }
setsid dumpcap -q -B %[3]d -i "$link"%[4]s -w %[5]s </dev/null >%[6]s 2>&1 &
echo $! >%[7]s
until read -rd '' said <%[6]s; [[ $said = *File:* ]]; do
	kill -0 $! 2>/dev/null && [ $SECONDS -lt %[8]d ] || { cat %[6]s >&2; exit 1; }
	pause 0.05
done`, captureDir, c.MAC, CaptureBuffer, options, captureFile, captureSaid, capturePID, captureTime))
	if err != nil {
		return fmt.Errorf("start the capture: %w", err)
	}
	return nil
}

// What dumpcap says when it ends.
var (
	dumpcapWrote = regexp.MustCompile(`Packets captured: (\d{1,18})`)
	diskFull     = regexp.MustCompile(`(?i)no space left|not enough space`)
	dumpcapTook  = regexp.MustCompile(`Packets received/dropped on interface [^:]*: (\d{1,18})/(\d{1,18}) \(pcap:(\d{1,18})/dumpcap:(\d{1,18})/`)
)

// End ends the capture and notes in a what dumpcap says that it dropped.
func (c Capture) End(ctx context.Context, a *Account) error {
	said, err := c.Node.Bash(ctx, pause+drained+fmt.Sprintf(endCapture, captureTime)+"tail -c 4000 "+captureSaid)
	if err != nil {
		return fmt.Errorf("end the capture: %w", err)
	}
	wrote, took := dumpcapWrote.FindSubmatch(said), dumpcapTook.FindSubmatch(said)
	if wrote == nil || took == nil {
		return fmt.Errorf("dumpcap did not come to its end: %s", strings.TrimSpace(string(said)))
	}
	a.Drops.Kernel, a.Drops.Dumpcap = digits(took[3]), digits(took[4])
	if diskFull.Match(said) {
		return errors.New("the capturing node's disk is full: what came after is not in the file")
	}
	return nil
}

func digits(text []byte) uint64 { n, _ := strconv.ParseUint(string(text), 10, 64); return n }

// Keep copies the capture, packed, to a file on the host, counts in a what is really
// in it.
func (c Capture) Keep(ctx context.Context, to string, a *Account) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) // others' talk
	if err != nil {
		return err
	}
	defer f.Close()
	packed, _ := gzip.NewWriterLevel(f, gzip.BestSpeed) // a level that there is
	// packed on the host: an emulated node takes longer to pack it than to send it whole
	sent := &sized{to: &bounded{packed, c.Most}}
	err = c.Node.Fetch(ctx, "stat -c %s "+captureFile+" && cat "+captureFile, sent)
	if err := errors.Join(err, packed.Close()); err != nil {
		return fmt.Errorf("fetch the capture: %w", err)
	}
	if err := sent.whole(); err != nil {
		return fmt.Errorf("fetch the capture: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a.Written, err = countFrames(f)
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return nil
}

// Forget ends the capture where it still runs, and removes it from the node.
func (c Capture) Forget(ctx context.Context) error {
	_, err := c.Node.Bash(ctx, fmt.Sprintf(endCapture, captureTime)+"rm -rf "+captureDir)
	return err
}

// countFrames counts the frames of a packed pcapng file, with their lengths on the wire.
func countFrames(packed io.Reader) (Frames, error) {
	unpacked, err := gzip.NewReader(bufio.NewReaderSize(packed, 1<<20))
	if err != nil {
		return Frames{}, err
	}
	plain := &watchful{Reader: unpacked}
	var n Frames
	r, err := pcapgo.NewNgReader(plain, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return n, err
	}
	for {
		_, info, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			return n, plain.err // NgReader takes any end for a good one
		}
		if err != nil {
			return n, err
		}
		n.Frames++
		n.Bytes += uint64(info.Length)
	}
}

// sized takes a line with a number of bytes, and passes on these, which follow.
type sized struct {
	to        io.Writer
	line      []byte
	said, got int64
	begun     bool // the line is read
}

func (s *sized) Write(p []byte) (int, error) {
	rest := p
	if !s.begun {
		const most = 20 // digits of the largest number, and its line's end
		var ends bool
		var line []byte
		line, rest, ends = bytes.Cut(p, []byte("\n"))
		if s.line = append(s.line, line...); len(s.line) > most {
			return 0, errors.New("the node does not say how much it sends")
		}
		if !ends {
			return len(p), nil
		}
		n, err := strconv.ParseInt(string(s.line), 10, 64)
		if err != nil {
			return 0, errors.New("the node does not say how much it sends")
		}
		s.said, s.begun = n, true
	}
	s.got += int64(len(rest))
	if n, err := s.to.Write(rest); err != nil {
		return len(p) - len(rest) + n, err
	}
	return len(p), nil
}

// whole is an error unless as much came as was said.
func (s *sized) whole() error {
	if !s.begun || s.got != s.said {
		return fmt.Errorf("%d of its %d bytes came: %w", s.got, s.said, io.ErrUnexpectedEOF)
	}
	return nil
}

// bounded takes so many bytes, and refuses more: a node may send without end.
type bounded struct {
	to   io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("the node sends more than its disk holds")
	}
	return b.to.Write(p)
}

// watchful remembers why reading ended, unless that was the end.
type watchful struct {
	io.Reader
	err error
}

func (w *watchful) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// NICCounts reads what a node's NIC counts: all frames both ways, those it took in,
// and those that its driver dropped.
func NICCounts(ctx context.Context, node Guest, mac net.HardwareAddr) (both, in Frames, dropped uint64, err error) {
	out, err := node.Bash(ctx, fmt.Sprintf(`for d in /sys/class/net/*; do
	read -r mac <"$d/address"; [ "$mac" = %s ] || continue
	cd "$d/statistics" && for f in rx_packets rx_bytes tx_packets tx_bytes rx_dropped; do read -r n <$f; echo -n "$n "; done
done`, mac))
	if err != nil {
		return both, in, 0, err
	}
	words := strings.Fields(string(out))
	if len(words) != 5 {
		return both, in, 0, fmt.Errorf("NIC %s tells %q", mac, out)
	}
	var n [5]uint64
	for i, w := range words {
		if n[i], err = strconv.ParseUint(w, 10, 64); err != nil {
			return both, in, 0, err
		}
	}
	return Frames{n[0] + n[2], n[1] + n[3]}, Frames{n[0], n[1]}, n[4], nil
}
