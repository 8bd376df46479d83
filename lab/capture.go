package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// CaptureWanted is what to capture.
type CaptureWanted struct {
	Node     string        // that captures; "" where there is only one
	Filter   string        // in libpcap's language; "" for every frame
	Count    uint          // end after so many frames; 0 for no end
	Duration time.Duration // whole seconds; 0 for no end
}

// Account is where the frames of a capture went, from the mirror to the file.
// Frames that passed while the capture began or ended may stand on one line and not on the next.
type Account struct {
	Mirrored  uint64 `json:"mirrored"`  // copied by the mirror, both directions
	NotCopied uint64 `json:"notCopied"` // seen by the mirror and not copied
	TapDrops  uint64 `json:"tapDrops"`  // copied, and not taken by the capturing machine
	Received  uint64 `json:"received"`  // by the capturing machine's kernel, after the filter
	Dropped   uint64 `json:"dropped"`   // there, or by dumpcap
	Written   uint64 `json:"written"`   // to the file
}

func (a Account) String() string {
	return fmt.Sprintf("%d frames written; mirrored %d, not copied %d, dropped before the capturing node %d, received there %d, dropped there %d",
		a.Written, a.Mirrored, a.NotCopied, a.TapDrops, a.Received, a.Dropped)
}

// JSON is the account on one line.
func (a Account) JSON() string {
	b, _ := json.Marshal(a) // numbers only
	return string(b)
}

// Capture streams what a capture NIC receives to out as pcap, until what is
// wanted is reached, out is a pipe that nobody reads any more, or ctx is
// interrupted: all three are a good end. Nothing is written to out before the
// capture has begun. The account is nil where there is none; there may be one
// beside an error.
func (b Build) Capture(ctx context.Context, w CaptureWanted, out io.Writer) (*Account, error) {
	node, nic, err := b.capturing(w.Node)
	if err != nil {
		return nil, err
	}
	m := b.mirrorInto(nic)
	before, err := m.Counters()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m, err)
	}
	begins := func() { // the file's header is written when frames are taken
		if now, err := m.Counters(); err == nil {
			before = now
		}
	}
	login, err := Login(node)
	if err != nil {
		return nil, err
	}
	if w.Duration > 0 { // the node's dumpcap ends by itself, unless the node lies
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.Duration+captureLate)
		defer cancel()
	}
	pidFile := fmt.Sprintf("/run/labctl-capture-%d", time.Now().UnixNano())
	agent := domains.Agent{On: b.On, Node: node}
	// not bound to ctx, and in a group of its own: an interrupt ends dumpcap, whose
	// last words are wanted, and not the way to it
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(b.SSHOptions(node), login, "--", captureScript(nic, w, pidFile))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	written := newSink(out, begins)
	words, err := stream(ctx, cmd, written, func(ctx context.Context) {
		// where the node does not answer, the time limit ends it
		_, _ = agent.Bash(ctx, fmt.Sprintf("read -r pid <%s && kill -INT \"$pid\"", pidFile))
	})
	a, err := account(words, err)
	if err != nil {
		err = fmt.Errorf("capture in %s: %w", node.Name, err)
	}
	if a != nil {
		after, cerr := m.Counters()
		if cerr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", m, cerr))
		} else {
			a.addMirror(before, after)
		}
	}
	return a, errors.Join(err, written.failure())
}

// addMirror adds what the mirror's counters have gone up by.
func (a *Account) addMirror(before, after networks.Counters) {
	a.Mirrored = seenBy(before, after)
	a.NotCopied, a.TapDrops = lostAt(before, after)
}

// seenBy is how many frames a mirror saw, both directions.
func seenBy(before, after networks.Counters) uint64 {
	return rise(before.Sent.Frames, after.Sent.Frames) + rise(before.Received.Frames, after.Received.Frames)
}

// lostAt is how many frames a mirror did not copy, and how many it did that the
// capture NIC had no room for: the kernel counts the latter at both places.
func lostAt(before, after networks.Counters) (notCopied, dropped uint64) {
	failed := rise(before.Sent.Failed, after.Sent.Failed) + rise(before.Received.Failed, after.Received.Failed)
	dropped = after.Dropped - before.Dropped
	return failed - min(failed, dropped), dropped
}

// rise is how far a counter of the kernel's that counts modulo 2³² has gone up.
func rise(before, after uint64) uint64 { return uint64(uint32(after) - uint32(before)) }

// capturing is the node that captures, and its capture NIC.
func (b Build) capturing(name string) (topology.Node, topology.NIC, error) {
	var found []topology.Node
	for _, n := range b.Lab.Nodes {
		if _, ok := n.Capture(); ok && (name == "" || n.Name == name) {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return topology.Node{}, topology.NIC{}, fmt.Errorf("lab %s has %d nodes with a capture NIC of that name; say which with --node", b.Lab.Name, len(found))
	}
	nic, _ := found[0].Capture()
	return found[0], nic, nil
}

func (b Build) mirrorInto(nic topology.NIC) networks.Mirror {
	for _, m := range b.Mirrors() {
		if m.To == nic.Link {
			return m
		}
	}
	return networks.Mirror{}
}

// captureScript finds the NIC by its MAC and runs dumpcap, whose exit status is its own.
func captureScript(nic topology.NIC, w CaptureWanted, pidFile string) string {
	var options strings.Builder
	if w.Filter != "" {
		fmt.Fprintf(&options, " -f %s", quote(w.Filter))
	}
	if w.Count > 0 {
		fmt.Fprintf(&options, " -c %d", w.Count)
	}
	if w.Duration > 0 {
		fmt.Fprintf(&options, " -a duration:%d", int(w.Duration/time.Second))
	}
	return fmt.Sprintf(`for d in /sys/class/net/*; do read -r mac <"$d/address"; [ "$mac" = %[1]s ] && link=${d##*/}; done
dumpcap -q -P -B %[4]d -i "$link"%[3]s -w - & echo $! >%[2]s; wait $!; s=$?; rm %[2]s; exit $s`, nic.MAC, pidFile, options.String(), flows.CaptureBuffer)
}

// quote makes text one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// What dumpcap says when it ends.
var (
	writtenLine  = regexp.MustCompile(`Packets captured: (\d+)`)
	receivedLine = regexp.MustCompile(`Packets received/dropped on interface [^:]*: (\d+)/(\d+)`)
)

// account is what dumpcap's last words tell, if it got to them, and why it
// failed, if it did: err is how it ended.
func account(words []byte, err error) (*Account, error) {
	a, spoke := readAccount(string(words))
	if !spoke && err == nil {
		err = errors.New("dumpcap ended without its account")
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, host.Excerpt(words))
	}
	if !spoke {
		return nil, err
	}
	return &a, err
}

// readAccount reads dumpcap's last words; false where it did not get to them.
func readAccount(words string) (Account, bool) {
	w := writtenLine.FindStringSubmatch(words)
	r := receivedLine.FindStringSubmatch(words)
	if w == nil || r == nil {
		return Account{}, false
	}
	number := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n } // digits only
	return Account{Written: number(w[1]), Received: number(r[1]), Dropped: number(r[2])}, true
}
