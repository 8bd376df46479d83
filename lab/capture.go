package lab

import (
	"bytes"
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

// How long dumpcap may take to end once it is asked to.
const captureEnd = 30 * time.Second

// Capture streams what a capture NIC receives to out as pcap, until what is
// wanted is reached, out takes no more, or ctx is interrupted: all three are a
// good end.
func (b Build) Capture(ctx context.Context, w CaptureWanted, out io.Writer) (Account, error) {
	node, nic, err := b.capturing(w.Node)
	if err != nil {
		return Account{}, err
	}
	m := b.mirrorInto(nic)
	before, err := m.Counters()
	if err != nil {
		return Account{}, fmt.Errorf("%s: %w", m, err)
	}
	begins := func() { // the file's header is written when frames are taken
		if now, err := m.Counters(); err == nil {
			before = now
		}
	}
	login, err := Login(node)
	if err != nil {
		return Account{}, err
	}
	pidFile := fmt.Sprintf("/run/labctl-capture-%d", time.Now().UnixNano())
	agent := domains.Agent{On: b.On, Node: node}
	// not bound to ctx, and in a group of its own: an interrupt ends dumpcap, whose
	// last words are wanted, and not the way to it
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(b.SSHOptions(node), login, "--", captureScript(nic, w, pidFile))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var words bytes.Buffer
	written := &sink{to: out, begins: begins, failed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = written, &words
	if err := cmd.Start(); err != nil {
		return Account{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = end(ctx, agent, pidFile, cmd, ended)
	case <-written.failed:
		err = end(ctx, agent, pidFile, cmd, ended)
	}
	a, spoke := readAccount(words.String())
	if !spoke {
		return Account{}, fmt.Errorf("capture in %s: %w: %s", node.Name, err, host.Excerpt(words.Bytes()))
	}
	after, err := m.Counters()
	if err != nil {
		return a, fmt.Errorf("%s: %w", m, err)
	}
	a.addMirror(before, after)
	if written.err != nil && !errors.Is(written.err, syscall.EPIPE) { // a reader that has seen enough is no error
		return a, fmt.Errorf("write the capture: %w", written.err)
	}
	return a, nil
}

// sink passes on what is written to it until that fails, which it tells, and
// takes the rest for nothing: dumpcap gets to its last words all the same.
type sink struct {
	to     io.Writer
	begins func()        // called before the first byte
	failed chan struct{} // closed when err is set
	err    error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.begins != nil {
		s.begins()
		s.begins = nil
	}
	if s.err == nil {
		if _, s.err = s.to.Write(b); s.err != nil {
			close(s.failed)
		}
	}
	return len(b), nil
}

// addMirror adds what the mirror's counters have gone up by.
func (a *Account) addMirror(before, after networks.Counters) {
	a.Mirrored = rise(before.Sent.Frames, after.Sent.Frames) + rise(before.Received.Frames, after.Received.Frames)
	a.NotCopied = rise(before.Sent.Failed, after.Sent.Failed) + rise(before.Received.Failed, after.Received.Failed)
	a.TapDrops = after.Dropped - before.Dropped
}

// rise is how far a counter of the kernel's that counts modulo 2³² has gone up.
func rise(before, after uint64) uint64 { return uint64(uint32(after) - uint32(before)) }

// end interrupts dumpcap, which then says its last words, and waits for them.
func end(ctx context.Context, agent domains.Agent, pidFile string, cmd *exec.Cmd, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), captureEnd)
	defer cancel()
	// where the node does not answer, the time limit ends it
	_, _ = agent.Bash(ctx, fmt.Sprintf("read -r pid <%s && kill -INT \"$pid\"", pidFile))
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return <-ended
	}
}

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
	for _, m := range b.mirrors() {
		if m.To == nic.Link {
			return m
		}
	}
	return networks.Mirror{}
}

// captureScript finds the NIC by its MAC and becomes dumpcap.
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
dumpcap -q -P -i "$link"%[3]s -w - & echo $! >%[2]s; wait; rm %[2]s`, nic.MAC, pidFile, options.String())
}

// quote makes text one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// What dumpcap says when it ends.
var (
	writtenLine  = regexp.MustCompile(`Packets captured: (\d+)`)
	receivedLine = regexp.MustCompile(`Packets received/dropped on interface [^:]*: (\d+)/(\d+)`)
)

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
