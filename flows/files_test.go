package flows

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ran is a small run with a flow of each protocol.
func ran(t *testing.T) Run {
	t.Helper()
	tcp, udp := combined(t, "3.12", "tcp-parallel"), combined(t, "3.12", "udp-reverse")
	tcp.Class, udp.Class, udp.TOS = "greedy", "audio", 184
	broken := combined(t, "3.12", "server-ended")
	for _, r := range []*Result{&tcp, &udp, &broken} {
		for i := range r.Series { // as a file has them
			s := &r.Series[i]
			s.At, s.Seconds = rounded(s.At, 1e6), rounded(s.Seconds, 1e6)
			s.RTT, s.RTTVar, s.Jitter = rounded(s.RTT, 1e3), rounded(s.RTTVar, 1e3), rounded(s.Jitter, 1e3)
		}
	}
	return Run{
		Dir: filepath.Join(t.TempDir(), "runs", "demo-20260102T030405Z"),
		Manifest: Manifest{
			Format: Format, ID: "demo-20260102T030405Z", Lab: "demo", Began: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Seconds: 6,
			State: Failed, Wrong: []string{"1 of 3 starts failed"}, Trusted: true, Flows: 3,
			Versions: map[string]string{"client/iperf3": "3.12"}, Provenance: json.RawMessage(`{}`),
		},
		Results: []Result{tcp, udp, broken},
	}
}

func rounded(f, to float64) float64 { return math.Round(f*to) / to }

func TestRunIsReadAsWritten(t *testing.T) {
	r := ran(t)
	for range 2 { // the second over the first
		if err := r.Write(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadRun(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	got.Manifest.Provenance = json.RawMessage(strings.TrimSpace(string(got.Manifest.Provenance)))
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("(-written +read)\n%s", d)
	}
	files, err := os.ReadDir(r.Dir)
	if err != nil || len(files) != 4 {
		t.Errorf("the folder has %v, %v", files, err)
	}
	for _, name := range []string{SummaryFile, SeriesFile} {
		text, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name), string(text))
	}
}

func TestRunThatCannotBeRead(t *testing.T) {
	write := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
	}
	for _, c := range []struct {
		name     string
		damage   func(dir string) error
		expected string
	}{
		{"no folder", os.RemoveAll, "is not a run's folder"},
		{"no manifest", func(dir string) error { return os.Remove(filepath.Join(dir, ManifestFile)) }, "is not a run's folder"},
		{"newer", write(ManifestFile, `{"format": 2}`), "has format 2, expected 1"},
		{"half a manifest", write(ManifestFile, `{"format": 1`), "is damaged"},
		{"half the results", write(ResultsFile, `[{`), "is damaged"},
		{"no series", func(dir string) error { return os.Remove(filepath.Join(dir, SeriesFile)) }, "is incomplete"},
		{"other columns", write(SeriesFile, "flow\n"), "expected the columns"},
		{"a word", write(SeriesFile, strings.Join(seriesColumns, ",")+"\ntcp-parallel,0,x,1,1,1,1,1,1,1,1,1,1\n"), `series.csv:2 is damaged: at_s is "x"`},
		{"NaN", write(SeriesFile, strings.Join(seriesColumns, ",")+"\ntcp-parallel,0,NaN,1,1,1,1,1,1,1,1,1,1\n"), "at_s is"},
		{"a row cut short", write(SeriesFile, strings.Join(seriesColumns, ",")+"\ntcp-parallel,0,1\n"), "wrong number of fields"},
		{"another flow", write(SeriesFile, strings.Join(seriesColumns, ",")+"\nx,0,1,1,1,1,1,1,1,1,1,1,1\n"), "which results.json does not have"},
	} {
		r := ran(t)
		if err := r.Write(); err != nil {
			t.Fatal(err)
		}
		if err := c.damage(r.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRun(r.Dir); err == nil || !strings.Contains(err.Error(), c.expected) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.expected)
		}
	}
}

func TestRunBrokenOffIsRead(t *testing.T) {
	r := ran(t)
	r.Manifest.State = Running
	if err := r.Write(); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(r.Dir, SeriesFile))
	got, err := ReadRun(r.Dir)
	if err != nil || got.Manifest.State != Running || len(got.Results) != 3 {
		t.Errorf("%v with %d results, %v", got.Manifest.State, len(got.Results), err)
	}
	os.Remove(filepath.Join(r.Dir, ResultsFile))
	if got, err = ReadRun(r.Dir); err != nil || got.Manifest.State != Running {
		t.Errorf("%v, %v", got.Manifest.State, err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	r := ran(t)
	r.Manifest.Provenance = json.RawMessage("{") // cannot be written
	if err := r.Write(); err == nil {
		t.Fatal("a manifest that is not JSON was written")
	}
	files, _ := filepath.Glob(filepath.Join(r.Dir, ".*"))
	if len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

// large is a run of 100 flows over 10 minutes with a report each 0.2 s.
func large(dir string) Run {
	r := Run{Dir: dir, Manifest: Manifest{Format: Format, State: Done, Began: time.Unix(1_800_000_000, 0)}}
	for f := range 100 {
		x := Result{Label: fmt.Sprintf("greedy-%d", f), Protocol: TCP}
		for i := range 3000 {
			x.Series = append(x.Series, Interval{
				At: float64(i) * 0.200013, Seconds: 0.200013, Bytes: int64(125_000 + i), Retransmits: int64(i % 3),
				Cwnd: 1_448_000, RTT: 12.345, RTTVar: 1.234,
			})
		}
		r.Results = append(r.Results, x)
	}
	return r
}

func BenchmarkReadRun(b *testing.B) {
	r := large(b.TempDir())
	if err := r.Write(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		got, err := ReadRun(r.Dir)
		if err != nil || len(got.Results[99].Series) != 3000 {
			b.Fatal(err)
		}
	}
}
