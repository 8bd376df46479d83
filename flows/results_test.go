package flows

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lay copies an end's sample to where Gather would put it.
func lay(t *testing.T, from, to string) {
	t.Helper()
	text, err := io.ReadAll(sample(t, "3.12", from))
	must(t, err)
	must(t, os.WriteFile(to, text, 0o644))
}

func TestResults(t *testing.T) {
	dir := t.TempDir()
	good, silent, refused, unread := flowOf("tcp-reverse"), flowOf("tcp-parallel"), flowOf("udp-upload"), flowOf("tcp-upload")
	good.Client.At = []time.Duration{0, 5 * time.Second}
	fs := []Flow{good, silent, refused, unread}
	for i := range fs[1:] {
		fs[i+1].Client.At = []time.Duration{time.Second}
	}
	lay(t, "tcp-reverse.client", ClientFile(dir, good, 0))
	lay(t, "tcp-reverse.server", ServerFile(dir, good))
	lay(t, "tcp-parallel.client", ClientFile(dir, silent, 0))
	lay(t, "refused.client", ClientFile(dir, refused, 0))
	must(t, os.WriteFile(strings.TrimSuffix(ClientFile(dir, unread, 0), "json")+"err", []byte("iperf3: error - unable to connect\n"), 0o644))
	times := Times{"0.0": {Began: 0.01, Ended: 1.1}, "1.0": {Began: 1, Ended: 2}, "2.0": {Began: 1, Ended: -1}, "3.0": {Began: 1, Ended: 1.2, Code: 1}}
	got := Results(dir, fs, times)
	for i, want := range []struct{ label, says string }{
		{"tcp-reverse", ""},
		{"tcp-parallel", "its view is missing (the server's output: open"},
		{"udp-upload", "iperf3's client: "},
		{"tcp-upload", "unable to connect"},
		{"tcp-reverse", "it never began"},
	} {
		r := got[i]
		if r.Label != want.label || !strings.Contains(r.Failed, want.says) || (r.Failed == "") != (want.says == "") {
			t.Errorf("%d: %s failed with %q, want %s, %q", i, r.Label, r.Failed, want.label, want.says)
		}
	}
	if r := got[0]; r.Received == 0 || r.Started != 0.01 || len(r.Series) == 0 || r.Series[0].At < 0.01 {
		t.Errorf("%+v", r)
	}
	if r := got[4]; r.Nth != 1 || r.Started != -1 {
		t.Errorf("%+v", r)
	}
}

// An end that was lost in the midst of its flows, or lied, has failed starts only.
func TestResultsOfWords(t *testing.T) {
	dir := t.TempDir()
	f := flowOf("tcp-reverse")
	f.Client.At = []time.Duration{0}
	must(t, os.WriteFile(ClientFile(dir, f, 0), []byte("\x1b]0;x\x07"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, f.Label+".server.json"), []byte("{"), 0o644))
	got := Results(dir, []Flow{f}, Times{"0.0": {Began: 0, Ended: 1}})
	if len(got) != 1 || got[0].Failed == "" || strings.ContainsAny(got[0].Failed, "\x1b\x07") {
		t.Errorf("%+v", got)
	}
}
