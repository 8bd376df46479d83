package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mami-project/labctl/topology"
)

// growing is a file that grows by a piece each time it is read.
type growing struct {
	pieces [][]byte
	read   int
}

func (g *growing) Read(context.Context) ([]byte, error) {
	g.read++
	if g.read > len(g.pieces) {
		return nil, nil
	}
	return g.pieces[g.read-1], nil
}

// serverCapture is what iperf-server's dumpcap writes of the built-in lab's proof: the
// file's beginning, then the frames of its measurement NIC one by one, and then that
// one on its control NIC.
func serverCapture(t *testing.T, e experiment) (*point, [][]byte) {
	t.Helper()
	points := e.points()
	p := at(t, points, "iperf-server")
	var frames []captured
	for _, m := range p.views[1].want {
		frames = append(frames, captured{1, datagram(t, proofPort, marked(m.mark, e.nonce, m.bytes-frameHeader-ipUDPHeaders), nil)})
	}
	frames = append(frames, captured{0, datagram(t, proofPort, marked(mark{0, 0}, e.nonce, 100), nil)})
	pieces := [][]byte{append([]byte("4711\n"), pcapng(t, 2)...)}
	for n := range frames {
		pieces = append(pieces, pcapng(t, 2, frames[:n+1]...)[len(pcapng(t, 2, frames[:n]...)):])
	}
	return p, pieces
}

// What arrives until the buffers of all NICs were read is looked at, also when all that is wanted is there.
func TestAwait(t *testing.T) {
	const long = time.Minute
	e := testExperiment(loadDefault(t))
	for name, test := range map[string]struct {
		drop              int // this many pieces are not written
		settled, deadline time.Duration
		saw               int
		wrong             string
	}{
		"all that is wanted":                  {1, 0, long, 10, ""},
		"and whatever comes meanwhile":        {0, 20 * capturePoll, long, 11, ""},
		"at the deadline what is there":       {3, 0, 15 * capturePoll, 8, ""},
		"at the deadline not even its header": {12, 0, 2 * capturePoll, 0, "read the capture"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, pieces := serverCapture(t, e)
				f := &growing{pieces: pieces[:len(pieces)-test.drop]}
				now := time.Now()
				err := e.await(t.Context(), p, f, now.Add(test.settled), now.Add(test.deadline))
				if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
					t.Fatalf("got %v; want %q", err, test.wrong)
				}
				if len(p.saw) != test.saw {
					t.Errorf("saw %d frames, want %d", len(p.saw), test.saw)
				}
				if took := time.Since(now); took < test.settled || took > long/2 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// How many frames come through an impaired network nobody knows: all that come in time are looked at.
func TestAwaitImpaired(t *testing.T) {
	e := impairedExperiment(t, topology.Impair{Loss: 0.1})
	synctest.Test(t, func(t *testing.T) {
		p, pieces := serverCapture(t, e)
		const within = 20 * capturePoll
		now := time.Now()
		must(t, e.await(t.Context(), p, &growing{pieces: pieces}, now, now.Add(within)))
		if len(p.saw) != 11 || time.Since(now) < within {
			t.Errorf("saw %d frames in %v", len(p.saw), time.Since(now))
		}
	})
}

// Where a network only holds frames, all of them come: when they have, and no second one of any can be under way, it ends.
func TestAwaitDelayed(t *testing.T) {
	e := impairedExperiment(t, topology.Impair{Delay: time.Second})
	synctest.Test(t, func(t *testing.T) {
		p, pieces := serverCapture(t, e)
		const settled = 20 * capturePoll
		now := time.Now()
		must(t, e.await(t.Context(), p, &growing{pieces: pieces}, now.Add(settled), now.Add(time.Minute)))
		if took := time.Since(now); len(p.saw) != 11 || took < settled || took > time.Minute/2 {
			t.Errorf("saw %d frames in %v", len(p.saw), took)
		}
	})
}

// A guest may write without end.
func TestAwaitIsBounded(t *testing.T) {
	e := testExperiment(loadDefault(t))
	p, pieces := serverCapture(t, e)
	pieces = append(pieces[:1], slices.Repeat([][]byte{make([]byte, captureMost/4)}, 10)...)
	f := &growing{pieces: pieces}
	err := e.await(t.Context(), p, f, time.Now(), time.Now().Add(time.Hour))
	if err == nil || !strings.Contains(err.Error(), "longer than") || f.read > 6 {
		t.Errorf("after %d: %v", f.read, err)
	}
}

// A capture is begun once its file tells of all NICs, and of which process it is.
func TestCaptureBegins(t *testing.T) {
	whole := append([]byte("4711\n"), pcapng(t, 3)...)
	for n := range len(whole) + 1 {
		c := capture{whole[:n]}
		began, by := c.by()
		if want := n >= len("4711\n"); began != want || began && by != "4711" {
			t.Errorf("of %d bytes: %v, by %q", n, began, by)
		}
		if got := c.nics(); got == 3 != (n == len(whole)) {
			t.Errorf("%d of %d bytes tell of %d NICs", n, len(whole), got)
		}
	}
}

// The script that starts a capture ends those of other proofs and their files, and nobody else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	process := func(name string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sleep", "3600")
		cmd.Args[0] = name
		must(t, cmd.Start())
		return cmd
	}
	old, foreign := process(captureName), process("sleep")
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	write(captureName+".0001", pid(old)+"\n\x0a\x0d\x0d\x0a")
	write(captureName+".0002", pid(foreign)+"\n") // of a process that had its number before
	write(captureName+".0002.frame", "labctl-proof 0002\n")
	write(captureName+".0003", "")
	write("other", pid(foreign)+"\n")
	out, err := exec.CommandContext(t.Context(), "bash", "-c", "cd "+dir+"\n"+sweep(captureName+".*")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if err := old.Wait(); err == nil {
		t.Error("the old capture goes on")
	}
	must(t, foreign.Process.Signal(os.Kill)) // which an ended one cannot be sent
	if err := foreign.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("another process has ended: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if len(left) != 1 || filepath.Base(left[0]) != "other" {
		t.Errorf("left are %q", left)
	}
}

func TestPrefixes(t *testing.T) {
	b := Build{Lab: decided(t, plainLab)}
	for _, bad := range []string{"", "123", "12345", "12g4", "ABCD", "12 4", "$(x)"} {
		if _, err := b.ProveArmed(t.Context(), bad, inNone, deaf); err == nil {
			t.Errorf("%q is a prefix", bad)
		}
		if err := b.Arm(t.Context(), bad, nil, deaf); err == nil {
			t.Errorf("%q is a prefix", bad)
		}
	}
	must(t, b.Arm(t.Context(), "12ab", nil, func(e Event) { t.Errorf("told %v", e) })) // there is nothing to prove
	one, err := b.newExperiment("12ab")
	must(t, err)
	two, err := b.newExperiment("12ab")
	must(t, err)
	if len(one.nonce) != len(testNonce) || one.nonce == two.nonce || one.prefix() != "12ab" || two.prefix() != "12ab" {
		t.Errorf("%s, %s", one.nonce, two.nonce)
	}
}

func pid(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }
