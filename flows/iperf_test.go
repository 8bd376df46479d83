package flows

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var iperfVersions = []string{"3.9", "3.12", "3.18"}

// sample opens what iperf3 wrote, with what it told on stderr behind it.
func sample(t *testing.T, version, name string) io.Reader {
	t.Helper()
	out, err := os.ReadFile(filepath.Join("testdata", "iperf", version, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	told, _ := os.ReadFile(filepath.Join("testdata", "iperf", version, name+".err"))
	return strings.NewReader(string(out) + string(told))
}

func TestReadTestsOfAllVersions(t *testing.T) {
	for _, v := range iperfVersions {
		var b strings.Builder
		files, err := filepath.Glob(filepath.Join("testdata", "iperf", v, "*.json"))
		if err != nil || len(files) < 25 {
			t.Fatal(files, err)
		}
		slices.Sort(files)
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), ".json")
			tests, err := ReadTests(sample(t, v, name))
			fmt.Fprintf(&b, "%s: %d tests, error: %v\n", name, len(tests), err)
			for _, x := range tests {
				fmt.Fprintf(&b, "  cookie=%.4s server=%v %s reverse=%v streams=%d omit=%d whole=%v error=%q\n",
					x.Cookie, x.Server, x.Protocol, x.Reverse, x.Streams, x.Omit, x.Whole, x.Error)
				fmt.Fprintf(&b, "  sent %+v\n  received %+v\n", x.Sent, x.Received)
				for _, i := range x.Intervals {
					fmt.Fprintf(&b, "    %+v\n", i)
				}
			}
		}
		golden(t, filepath.Join("testdata", "iperf", v+".golden"), b.String())
	}
}

// flowOf is the flow that a sample was made with.
func flowOf(name string) Flow {
	reverse := !strings.Contains(name, "upload")
	f := Flow{Label: name}
	f.Client.Reverse, f.Client.UDP = &reverse, strings.HasPrefix(name, "udp")
	f.Client.ReportInterval, f.Server.ReportInterval = 0.5, 0.5
	switch {
	case name == "tcp-bytes":
		f.Client.Bytes = "1200K"
	case strings.Contains(name, "ed"):
		f.Client.Seconds = 4
	case f.Client.UDP && name != "udp-omit":
		f.Client.Seconds = 2
	default:
		f.Client.Seconds = 1
	}
	return f
}

// combined is what comes of a sample.
func combined(t *testing.T, version, name string) Result {
	t.Helper()
	client := ReadTest(sample(t, version, name+".client"))
	server, _ := ReadTests(sample(t, version, name+".server"))
	return Combine(flowOf(name), Start{After: 3 * time.Second}, 3.5, 6, &client, Match(client, server))
}

func TestBothEndsOfAllVersions(t *testing.T) {
	for _, v := range iperfVersions {
		for _, name := range []string{"tcp-reverse", "tcp-upload", "tcp-parallel", "tcp-omit", "tcp-bytes", "udp-reverse", "udp-upload", "udp-omit"} {
			if v == "3.9" && name == "tcp-bytes" {
				continue // it does not end with 3.9
			}
			r := combined(t, v, name)
			if r.Failed != "" {
				t.Errorf("%s %s failed: %s", v, name, r.Failed)
			}
			all := total(r.Series)
			if all.Bytes != r.Received || r.Received == 0 || r.Received > r.Sent && !strings.Contains(name, "omit") {
				t.Errorf("%s %s: %d bytes in the series, %d received, %d sent", v, name, all.Bytes, r.Received, r.Sent)
			}
			if all.Retransmits != r.Retransmits {
				t.Errorf("%s %s: %d retransmits in the series, %d in all", v, name, all.Retransmits, r.Retransmits)
			}
			if r.Protocol == TCP && (r.RTT == 0 || r.Series[0].Cwnd == 0 || r.Series[0].RTTVar == 0) {
				t.Errorf("%s %s has no RTT or window: %+v", v, name, r)
			}
			if r.Protocol == UDP && (r.Jitter == 0 || r.Packets == 0 || all.Lost != r.Lost) {
				t.Errorf("%s %s: %+v", v, name, r)
			}
			if r.Series[0].At != 3.5 {
				t.Errorf("%s %s begins at %g", v, name, r.Series[0].At)
			}
		}
	}
}

func TestFailuresOfAllVersions(t *testing.T) {
	var b strings.Builder
	for _, name := range []string{"client-ended", "client-killed", "server-ended", "server-killed"} {
		for _, v := range iperfVersions {
			fmt.Fprintf(&b, "%s, %s: %s\n", name, v, combined(t, v, name).Failed)
		}
	}
	for _, name := range []string{"refused", "busy", "bidir"} {
		for _, v := range iperfVersions {
			client := ReadTest(sample(t, v, name+".client"))
			fmt.Fprintf(&b, "%s, %s: %s\n", name, v, Combine(flowOf(name), Start{}, 0, 1, &client, nil).Failed)
		}
	}
	golden(t, "testdata/failures.golden", b.String())
}

func BenchmarkReadTests(b *testing.B) {
	src, err := os.ReadFile(filepath.Join("testdata", "iperf", "3.12", "tcp-parallel.server.json"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, err := ReadTests(strings.NewReader(string(src))); err != nil {
			b.Fatal(err)
		}
	}
}
