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
	cmd.Stdout, cmd.Stderr = out, &words
	if err := cmd.Start(); err != nil {
		return Account{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
		askToEnd(ctx, agent, pidFile) // dumpcap may not know yet that its reader has gone
	case <-ctx.Done():
		askToEnd(ctx, agent, pidFile)
		select {
		case err = <-ended:
		case <-time.After(captureEnd):
			_ = cmd.Process.Kill()
			err = <-ended
		}
	}
	a, spoke := readAccount(words.String())
	switch {
	case spoke:
	case errors.Is(err, syscall.EPIPE):
		return Account{}, nil // whoever read it has seen enough
	default:
		return Account{}, fmt.Errorf("capture in %s: %w: %s", node.Name, err, host.Excerpt(words.Bytes()))
	}
	after, err := m.Counters()
	if err != nil {
		return a, fmt.Errorf("%s: %w", m, err)
	}
	a.addMirror(before, after)
	return a, nil
}

// addMirror adds what the mirror's counters have gone up by.
func (a *Account) addMirror(before, after networks.Counters) {
	a.Mirrored = rise(before.Sent.Frames, after.Sent.Frames) + rise(before.Received.Frames, after.Received.Frames)
	a.NotCopied = rise(before.Sent.Failed, after.Sent.Failed) + rise(before.Received.Failed, after.Received.Failed)
	a.TapDrops = after.Dropped - before.Dropped
}

// rise is how far a counter of the kernel's that counts modulo 2³² has gone up.
func rise(before, after uint64) uint64 { return uint64(uint32(after) - uint32(before)) }

// askToEnd interrupts dumpcap, where it still runs: it then says its last words.
func askToEnd(ctx context.Context, agent domains.Agent, pidFile string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), captureEnd)
	defer cancel()
	// a node that does not answer has no dumpcap to end
	_, _ = agent.Bash(ctx, fmt.Sprintf("read -r pid <%s && kill -INT \"$pid\"; rm -f %[1]s", pidFile))
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
	return fmt.Sprintf(`for d in /sys/class/net/*; do read -r mac <"$d/address"; [ "$mac" = %s ] && link=${d##*/}; done
echo $$ >%s; exec dumpcap -q -P -i "$link"%s -w -`, nic.MAC, pidFile, options.String())
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
