package report

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/mami-project/labctl/flows"
)

// BenchmarkReport renders a run of 100 flows of 10 minutes, in 300,000 intervals.
func BenchmarkReport(b *testing.B) {
	run := sample("demo-20261124T201500Z", 100, 600, 0.2, 1)
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if err := Write(&out, []flows.Run{run}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(out.Len())/1e6, "MB")
}

func written(t *testing.T, runs ...flows.Run) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, runs); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A report is one file: nothing in it leads elsewhere.
func TestSelfContained(t *testing.T) {
	for _, page := range []string{
		written(t, sample("a", 12, 60, 0.2, 1)), written(t, broken("b")), written(t, sample("a", 12, 60, 0.2, 1), broken("b")),
	} {
		for _, elsewhere := range []string{"http:", "https:", "//cdn", "@import", "src=", "<link rel=\"stylesheet"} {
			if strings.Contains(page, elsewhere) {
				t.Errorf("the report has %q", elsewhere)
			}
		}
		if found := regexp.MustCompile(`(?:href="|url\()[^#d]`).FindString(page); found != "" {
			t.Errorf("the report refers to %q", found)
		}
	}
}

// A long run of many flows makes a file that mail and browsers take.
func TestLargeIsSmall(t *testing.T) {
	if n := len(written(t, sample("a", 100, 600, 0.2, 1))); n > 5e6 {
		t.Errorf("%d bytes", n)
	}
}

// What flow files, guests and manifests say is text, wherever it stands.
func TestEscapes(t *testing.T) {
	const evil = `"'><script>alert(1)</script><!--&`
	run := broken(evil)
	m := &run.Manifest
	m.Lab, m.State, m.Wrong, m.Client, m.Server = evil, evil, []string{evil}, evil, evil
	m.Versions = map[string]string{evil: evil}
	m.Stored = &flows.Stored{Database: evil, Failed: evil}
	m.Captures = []flows.Account{{Node: evil, Of: evil, Filter: evil, Failed: evil}}
	m.Before, m.After = []flows.Offset{{Node: evil, Source: evil, Failed: evil}}, []flows.Offset{{Node: evil, Failed: evil}}
	m.Provenance = []byte(strings.ReplaceAll(labSample, `"client"`, `"\"'><script>alert(1)</script><!--&"`))
	for k := range run.Results {
		r := &run.Results[k]
		r.Label, r.Class, r.Failed = evil+r.Label, evil+r.Class, evil
	}
	for name, page := range map[string]string{"one": written(t, run), "several": written(t, run, sample("a", 3, 10, 0.2, 1))} {
		if n := strings.Count(page, "<script>"); n != 1 {
			t.Errorf("%s: %d scripts, want our own", name, n)
		}
		if strings.Contains(page, "<!--&") || strings.Contains(page, `"'>`) {
			t.Errorf("%s: a text is not escaped", name)
		}
	}
}

// Numbers as no run has them, and what is not there, are no reason to give nothing.
func TestOddRuns(t *testing.T) {
	odd := sample("odd", 6, 10, 0.2, 1)
	for k := range odd.Results {
		odd.Results[k].Series = []flows.Interval{
			{At: math.NaN(), Seconds: 1},
			{At: -5, Seconds: 1, Bytes: 1},
			{At: 1, Seconds: math.Inf(1), Bytes: 5, RTT: math.NaN()},
			{At: 1e300, Seconds: 1},
			{At: 2, Seconds: 0, Bytes: 5, Packets: 1},
			{At: 3, Seconds: -1},
			{At: 4, Seconds: 1, RTT: math.Inf(1)},
		}
	}
	for name, run := range map[string]flows.Run{
		"odd": odd, "empty": {}, "no results": {Manifest: flows.Manifest{ID: "x", State: flows.Failed, Provenance: []byte(`{"nodes": 5}`)}},
		"one start that never started": {Results: []flows.Result{{Label: "a", Protocol: flows.UDP, Started: -1, Ended: -1, Failed: "busy"}}},
	} {
		page := written(t, run)
		if found := regexp.MustCompile(`.{20}(NaN|Inf\b|Infinity).{5}`).FindString(page); found != "" {
			t.Errorf("%s: %q in the report", name, found)
		}
	}
	if err := Write(&bytes.Buffer{}, nil); err == nil {
		t.Error("a report of no run")
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		state   string
		trusted bool
		want    string
		good    bool
	}{
		{flows.Done, true, "Trusted", true},
		{flows.Done, false, "Not to be trusted", false},
		{flows.Failed, true, "Failed in part", false},
		{flows.Interrupted, true, "Interrupted", false},
		{flows.Interrupted, false, "Not to be trusted", false},
		{flows.Running, true, "Still running", false},
	} {
		got, good := verdict(flows.Manifest{State: c.state, Trusted: c.trusted})
		if !strings.HasPrefix(got, c.want) || good != c.good {
			t.Errorf("%s, %v: %q, %v", c.state, c.trusted, got, good)
		}
	}
}

// What went wrong is on the page: why, what failed and where frames were lost.
func TestTellsWhatIsWrong(t *testing.T) {
	page := written(t, broken("b"))
	for _, want := range []string{
		"Not to be trusted", "interrupted by a user after 41.3 s", "control socket has closed unexpectedly", "port 5206: &lt;busy&gt;",
		"1\u202f802 dropped by its kernel", "no space left on device", "9 of them nobody counted", "more than 1 ms off",
		"InfluxDB stopped answering", "the run was interrupted", "× a start failed", "never started",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if failed, good := strings.Index(page, `<tr class="failed"><th scope="row">greedy-00`), strings.Index(page, `<tr><th scope="row">realtime-audio-00 `); failed < 0 || good < failed {
		t.Error("failed starts do not stand first")
	}
}

func TestComparison(t *testing.T) {
	one, other := sample("one", 6, 30, 0.2, 1), sample("other", 6, 30, 0.2, 2)
	other.Manifest.Provenance = []byte(strings.Replace(labSample, "95ba55a87412aaaa", "1111", 1))
	for k := range other.Results {
		for i := range other.Results[k].Series {
			other.Results[k].Series[i].RTT = 2 * one.Results[0].RTT
		}
	}
	other.Manifest.Versions["client/iperf3"] = "3.18"
	d := differences([]flows.Run{one, other})
	if len(d) != 2 || d[0].Name != "provenance.images.debian.digest" || d[1].Name != "version of client/iperf3" || d[1].Values[1] != "3.18" {
		t.Errorf("what differs: %+v", d)
	}
	if same := differences([]flows.Run{one, one}); len(same) > 0 {
		t.Errorf("a run differs from itself: %+v", same)
	}
	page := written(t, one, other)
	if !strings.Contains(page, "one: mean ") || !strings.Contains(page, "; other: mean ") {
		t.Error("plots do not have both runs")
	}
}
