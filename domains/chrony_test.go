package domains

import (
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// chronyc 4.3 sent this for `makestep 0.0005 10`, but for its number, which was a random one.
const sentByChronyc = "06010000" + "0032" + "0000" + "00000000" + "0000000000000000" + "0000000a" + "ee83126f"

func TestMakestep(t *testing.T) {
	if got := hex.EncodeToString(makestep(stepFrom, stepFor)); got != sentByChronyc {
		t.Errorf("%s, want %s", got, sentByChronyc)
	}
}

func TestChronyFloat(t *testing.T) {
	for _, want := range []float64{1e-9, 0.0005, 0.1, 0.5, 1, 3, 86400} {
		got := chronyFloat(want)
		coefficient, exponent := int32(got<<7)>>7, int32(got)>>25
		if x := math.Ldexp(float64(coefficient), int(exponent)-25); math.Abs(x/want-1) > 1e-7 {
			t.Errorf("%g is %#x, which is %g", want, got, x)
		}
	}
}

func TestChronyDid(t *testing.T) {
	for answer, want := range map[string]string{
		"06020000003200010000000000000000000000070000000000000000": "", // chronyd 4.3
		"0602000000320001000b000000000000000000070000000000000000": "chronyd refuses",
		"0502000000320001000000":                                   "chronyd answered 0502",
		"060200000032000100":                                       "chronyd answered 0602",
		"":                                                         "chronyd answered",
		"\x1b[2J":                                                  "chronyd answered",
	} {
		err := chronyDid([]byte(answer))
		if want == "" {
			must(t, err)
			continue
		}
		says(t, err, want)
	}
}

// A worker asks a chronyd, which is not root, says what that answers, and leaves no socket of its own.
func TestWorkerAsksChronyd(t *testing.T) {
	dir, err := os.MkdirTemp("", "chrony") // its path is short, as a socket's must be
	must(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	// it waits for longer than in a node: this test may be slow to answer on a busy machine
	w, _ := perl(t, "/run/chrony", dir, "select $ready, undef, undef, 2 and", "select $ready, undef, undef, 25 and")
	ask := fmt.Sprintf("chronyd %x", makestep(stepFrom, stepFor))
	_, err = w.Ask(t.Context(), ask)
	says(t, err, "the node's worker: chronyd: No such file or directory")

	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "chronyd.sock"), Net: "unixgram"})
	must(t, err)
	defer func() { _ = c.Close() }()
	answered := make(chan error, 1)
	go func() {
		b := make([]byte, 100)
		n, from, err := c.ReadFromUnix(b)
		if err == nil && hex.EncodeToString(b[:n]) != sentByChronyc {
			err = fmt.Errorf("it asks %x", b[:n])
		}
		if err == nil {
			var i os.FileInfo
			if i, err = os.Stat(from.Name); err == nil && i.Mode().Perm() != 0o666 {
				err = fmt.Errorf("who is not root cannot answer: %v", i.Mode())
			}
		}
		if err == nil {
			_, err = c.WriteToUnix([]byte{6, 2, 0, 0}, from)
		}
		answered <- err
	}()
	said, err := w.Ask(t.Context(), ask)
	must(t, <-answered)
	must(t, err)
	if string(said) != "06020000" {
		t.Errorf("it says %q", said)
	}

	w, _ = perl(t, "/run/chrony", dir)
	_, err = w.Ask(t.Context(), ask) // and nobody answers
	says(t, err, "the node's worker: chronyd: it does not answer")
	if left, err := filepath.Glob(filepath.Join(dir, "labctl*")); err != nil || len(left) != 0 {
		t.Errorf("left are %q: %v", left, err)
	}
}
