//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// TestRun measures in the built-in lab, on the smaller image, and has things go wrong
// meanwhile.
func TestRun(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		_, text := topology.Default()
		file := write(t, "lab.yaml", strings.Replace(string(text), "image: debian ", "image: debian-slim ", 1))
		must(t, "up", file)
		for _, c := range []struct {
			name  string
			holds func(*testing.T)
		}{
			{"all kinds of flows", allKindsOfFlows},
			{"expectations", expectationsAreJudged},
			{"trafic's own way", traficsOwnWay},
			{"a flow is killed", flowIsKilled},
			{"the run is interrupted", runIsInterrupted},
			{"InfluxDB is away for a while", influxIsAwayForAWhile},
			{"InfluxDB stays away", influxStaysAway},
			{"the capturing node stands still", captureStandsStill},
			{"the capturing node's disk is full", captureDiskIsFull},
			{"a node is lost", nodeIsLost},
		} {
			t.Run(c.name, c.holds)
		}
		must(t, "down")
		isClean()
	})
}

// TestQuickRun runs some seconds of flows in the built-in lab, and opens its report as people do.
func TestQuickRun(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t) // as in TestVerify
		isClean := clean(t)
		upShared(t, "trafic")
		junit := filepath.Join(t.TempDir(), "junit.xml")
		r := steadyRun(t, "--junit", junit, quickFlows(t))
		runHolds(t, r, junit)
		if len(r.Results) != 4 {
			t.Errorf("there are %d results", len(r.Results))
		}
		page := untilSh(t, "../flows/report/testdata/chromium --headless --disable-gpu --virtual-time-budget=10000 --dump-dom file://"+filepath.Join(r.Dir, flows.ReportFile)+" 2>/dev/null")
		for _, want := range []string{r.Manifest.ID, "<svg", "bulk", "audio", "up"} {
			if !strings.Contains(page, want) {
				t.Errorf("the report has no %q in a browser:\n%.3000s", want, page)
			}
		}
		must(t, "down")
		isClean()
	})
}

// quick are flows of some seconds of both protocols and directions.
const quick = `
label: bulk
client: {at: [0s], config: {server-address: iperf-server, server-port: 5200, time-s: 6, target-bitrate: 2M, title: bulk, report-interval-s: 0.5}}
server: {at: [0s], config: {server-port: 5200, report-interval-s: 0.5}}
---
label: audio
client: {at: [0s, 10s], config: {server-address: iperf-server, server-port: 5000, time-s: 3, udp: true, target-bitrate: 64K, length: "126", tos: 184, report-interval-s: 0.5}}
server: {at: [0s], config: {server-port: 5000, report-interval-s: 0.5}}
---
label: up
client: {at: [1s], config: {server-address: iperf-server, server-port: 5201, time-s: 4, target-bitrate: 1M, reverse: false, parallel: 2, report-interval-s: 0.5}}
server: {at: [0s], config: {server-port: 5201, report-interval-s: 0.5}}
`

// quickFlows are their files.
func quickFlows(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range strings.Split(quick, "---\n") {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// steadyRun runs flows in which nothing may go wrong, and again where all that did is what a node does to flows of seconds that
// stands still for seconds: labctl is right to tell of that.
func steadyRun(t *testing.T, words ...string) flows.Run {
	t.Helper()
	for left := 5; ; left-- {
		runs := t.TempDir()
		end := labctl(t, slices.Concat([]string{"run", "--runs", runs}, words)...)
		if r := ran(t, runs); left == 1 || !stoodStill(r, end.out) {
			end.check(t, 0)
			return r
		}
	}
}

// pauses are in what labctl says of flows that a pause of a node has cut short, of what follows from it, and of a clock that did
// not answer meanwhile.
var pauses = []string{
	"intervals of", "may be under way at the end", "server is busy", "'s clock is not known",
	"NOT met: flow bulk: throughput", "nothing was measured: no start went through",
}

// stoodStill says whether something went wrong in a run, and all of it as in a pause of a node.
func stoodStill(r flows.Run, said string) bool {
	wrong := slices.Clone(r.Manifest.Wrong)
	for _, s := range r.Results {
		wrong = append(wrong, s.Failed)
	}
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "NOT met: ") {
			wrong = append(wrong, line)
		}
	}
	wrong = slices.DeleteFunc(wrong, func(why string) bool { // which does not count, or only sums up
		return why == "" || strings.HasPrefix(why, "the clocks of") || strings.HasSuffix(why, "starts of flows failed")
	})
	another := func(why string) bool {
		return !slices.ContainsFunc(pauses, func(p string) bool { return strings.Contains(why, p) })
	}
	return len(wrong) > 0 && !slices.ContainsFunc(wrong, another)
}

// ran reads the one run in a folder of runs.
func ran(t *testing.T, runs string) flows.Run {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(runs, "*-*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("runs are %q, %v", dirs, err)
	}
	r, err := flows.ReadRun(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// iperfSums are what an end's own JSON says of each of its tests (bytes).
func iperfSums(t *testing.T, file string) (sent, received []int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var test struct {
			End struct {
				Sent     struct{ Bytes int64 } `json:"sum_sent"`
				Received struct{ Bytes int64 } `json:"sum_received"`
			}
		}
		if err := d.Decode(&test); err != nil {
			t.Fatal(err)
		}
		sent, received = append(sent, test.End.Sent.Bytes), append(received, test.End.Received.Bytes)
	}
	return sent, received
}

// allKindsOfFlows runs the mix that is made for emulated machines, and compares what
// each witness says.
func allKindsOfFlows(t *testing.T) {
	runs := t.TempDir()
	junit := filepath.Join(runs, "junit.xml")
	mix, err := filepath.Abs("../flows/mixes/smoke.yaml")
	if err != nil {
		t.Fatal(err)
	}
	labctl(t, "run", "--runs", runs, "--junit", junit, mix).check(t, 0)
	r := ran(t, runs)
	runHolds(t, r, junit)
	var late []float64 // s
	classes := map[string]bool{}
	for _, s := range r.Results {
		late = append(late, s.Started-s.Planned)
		classes[s.Class] = true
	}
	slices.Sort(late)
	t.Logf("starts were late by %.4f s (median), %.4f s (most); %d frames in the capture", late[len(late)/2], late[len(late)-1], r.Manifest.Captures[0].Written.Frames)
	if len(classes) != 6 {
		t.Errorf("the mix has classes %v", classes)
	}
	standsOn(t, r.Manifest)
}

// runHolds compares what each witness says of a run in which all went well.
func runHolds(t *testing.T, r flows.Run, junit string) {
	t.Helper()
	wrong := slices.DeleteFunc(r.Manifest.Wrong, func(why string) bool { return strings.HasPrefix(why, "the clocks of") }) // a busy machine's
	if r.Manifest.State != flows.Done || !r.Manifest.Trusted || len(wrong) > 0 {
		t.Errorf("the run is %s, trusted %v: %q", r.Manifest.State, r.Manifest.Trusted, r.Manifest.Wrong)
	}
	protocols := map[string]bool{}
	total := int64(0)
	byFlow := map[string]int64{}
	for _, s := range r.Results {
		if s.Started < s.Planned {
			t.Errorf("%s began at %g s, before its time, %g s", s.Label, s.Started, s.Planned)
		}
		protocols[s.Protocol] = true
		series := int64(0)
		for _, i := range s.Series {
			series += i.Bytes
		}
		byFlow[s.Label] += series
		total += s.Received
		if s.Failed != "" || s.Received == 0 || s.Sent < s.Received || len(s.Series) == 0 || series > s.Received || s.Received-series > s.Received/5 {
			t.Errorf("%s: sent %d, received %d, in %d intervals %d: %s", s.Label, s.Sent, s.Received, len(s.Series), series, s.Failed)
		}
	}
	if len(protocols) != 2 {
		t.Errorf("the flows have protocols %v", protocols)
	}
	if stored := influxBytes(t, r.Manifest.ID); fmt.Sprint(stored) != fmt.Sprint(byFlow) {
		t.Errorf("InfluxDB has bytes\n%v\nthe series have\n%v", stored, byFlow)
	}
	if s := r.Manifest.Stored; s == nil || s.Points == 0 || s.Counted != s.Points {
		t.Errorf("InfluxDB's points are %+v", s)
	}
	c := r.Manifest.Captures
	if len(c) != 1 || c[0].Missing() != 0 || c[0].Written.Frames == 0 || c[0].Written.Bytes < uint64(total) || c[0].Mirrored.Frames > c[0].Written.Frames {
		t.Errorf("the capture is %+v, and %d bytes were received", c, total)
	}
	for _, o := range slices.Concat(r.Manifest.Before, r.Manifest.After) {
		if o.Failed != "" || o.Uncertainty <= 0 {
			t.Errorf("clock %+v", o)
		}
	}
	for _, name := range []string{flows.ReportFile, flows.SummaryFile, flows.SeriesFile, flows.PointsFile, "capture/tshark.pcapng.gz"} {
		if i, err := os.Stat(filepath.Join(r.Dir, name)); err != nil || i.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, err := os.ReadFile(junit); err != nil || !strings.Contains(string(text), "<testsuite") {
		t.Errorf("JUnit's file is %q, %v", text, err)
	}
	for _, node := range nodes {
		eventually(t, "nothing is left in "+node, func() bool { // what was told to end may take a moment
			return in(t, node, "ls -d /var/tmp/labctl-run* /run/labctl-run* 2>/dev/null; pgrep -a 'iperf3|dumpcap' || :") == ""
		})
	}
}

// standsOn looks for what the run's numbers stand on.
func standsOn(t *testing.T, m flows.Manifest) {
	t.Helper()
	var s lab.Status
	if err := json.Unmarshal(m.Provenance, &s); err != nil {
		t.Fatal(err)
	}
	p := s.Provenance
	if p.Labctl == "" || p.Libvirt == "" || p.QEMU == "" || p.HostKernel == "" || p.Accelerator != "tcg" || p.Start == nil || p.Start.How != lab.Cold {
		t.Errorf("the provenance is %+v", p)
	}
	if i := p.Images["debian-slim"]; len(i.Digest) != 64 || len(i.Disk) != 64 || i.Kernel == "" {
		t.Errorf("the image is %+v", i)
	}
	if len(s.Nodes) != len(nodes) || len(s.Impairments) == 0 || len(s.Impairments[0].Mirrors) == 0 {
		t.Errorf("there are %d nodes, and impairments are %+v", len(s.Nodes), s.Impairments)
	}
	if m.Versions["iperf-client/iperf3"] == "" {
		t.Errorf("versions are %v", m.Versions)
	}
}

// influxBytes are the bytes that the lab's InfluxDB has of a run, by flow, asked for
// in its own language.
func influxBytes(t *testing.T, run string) map[string]int64 {
	t.Helper()
	var answer struct {
		Results []struct {
			Series []struct {
				Tags   map[string]string
				Values [][]any
			}
		}
	}
	query := fmt.Sprintf(`SELECT sum(bytes) FROM /.*/ WHERE run = '%s' GROUP BY flow`, run)
	r, err := http.Get("http://10.7.1.43:8086/query?db=trafic&q=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	sums := map[string]int64{}
	for _, result := range answer.Results {
		for _, s := range result.Series {
			sums[s.Tags["flow"]] += int64(s.Values[0][1].(float64))
		}
	}
	return sums
}

func expectationsAreJudged(t *testing.T) {
	runs := t.TempDir()
	expect := write(t, "expect.yaml", "flow:\n  bulk: {throughput: '>= 100mbit'}\n")
	r := labctl(t, "run", "--runs", runs, "--expect", expect, quickFlows(t))
	r.check(t, 1)
	if !strings.Contains(r.out, "throughput") {
		t.Errorf("it says %s", r.out)
	}
	if !ran(t, runs).Manifest.Trusted {
		t.Error("a run that does not meet expectations is not trusted")
	}
	// both ends of each flow, and the addresses of the network under test
	dir := filepath.Join(ran(t, runs).Dir, "iperf3")
	csent, creceived := iperfSums(t, filepath.Join(dir, "bulk.0.client.json"))
	ssent, _ := iperfSums(t, filepath.Join(dir, "bulk.server.json"))
	if len(csent) != 1 || len(ssent) != 1 || creceived[0] == 0 || ssent[0] < creceived[0] {
		t.Errorf("the client's JSON has %d, %d; the server's %d", csent, creceived, ssent)
	}
}

// meanwhile runs quick flows, and does something when their clients run.
func meanwhile(t *testing.T, runs string, do func(), words ...string) result {
	t.Helper()
	words = append(append([]string{"run", "--runs", runs}, words...), quickFlows(t))
	return finish(t, command(t, words...), func(stderr string) bool {
		if !strings.Contains(stderr, "flows run") {
			return false
		}
		eventually(t, "the flows run", func() bool {
			return in(t, "iperf-client", "cat /var/tmp/labctl-run/began 2>/dev/null || :") != ""
		})
		do()
		return true
	})
}

func flowIsKilled(t *testing.T) {
	runs := t.TempDir()
	r := meanwhile(t, runs, func() {
		in(t, "iperf-client", "until pid=$(sed -n 's/^1\\.1 [^ ]* //p' /var/tmp/labctl-run/began) && [ \"$pid\" ]; do sleep 0.05; done; kill -9 $pid")
	})
	r.check(t, 1)
	run := ran(t, runs)
	if run.Manifest.State != flows.Failed || run.Manifest.Trusted {
		t.Errorf("the run is %s, trusted %v", run.Manifest.State, run.Manifest.Trusted)
	}
	failed := ""
	for _, s := range run.Results {
		if s.Failed != "" {
			failed += fmt.Sprintf("%s.%d ", s.Label, s.Nth)
		} else if s.Received == 0 {
			t.Errorf("%s.%d received nothing, and did not fail", s.Label, s.Nth)
		}
	}
	if failed == "" || strings.Contains(failed, "bulk") || strings.Contains(failed, "up") {
		t.Errorf("failed are %q", failed)
	}
}

func runIsInterrupted(t *testing.T) {
	runs := t.TempDir()
	cmd := command(t, "run", "--runs", runs, quickFlows(t))
	finish(t, cmd, func(stderr string) bool {
		if !strings.Contains(stderr, "flows run") {
			return false
		}
		eventually(t, "the flows run", func() bool {
			return in(t, "iperf-client", "cat /var/tmp/labctl-run/began 2>/dev/null || :") != ""
		})
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		return true
	}).check(t, 130)
	if run := ran(t, runs); run.Manifest.State != flows.Interrupted || run.Manifest.Trusted || len(run.Results) == 0 {
		t.Errorf("the run is %s, trusted %v", run.Manifest.State, run.Manifest.Trusted)
	}
}

func influxIsAwayForAWhile(t *testing.T) {
	runs := t.TempDir()
	stopped := false
	finish(t, command(t, "run", "--runs", runs, quickFlows(t)), func(stderr string) bool {
		if !stopped && strings.Contains(stderr, "flows run") {
			stopped = true
			in(t, "influxdb", "systemctl stop influxdb")
		}
		if !strings.Contains(stderr, "points are written") {
			return false
		}
		in(t, "influxdb", "systemctl start influxdb")
		return true
	}).check(t, 0)
	if s := ran(t, runs).Manifest.Stored; s == nil || s.Counted != s.Points || s.Points == 0 {
		t.Errorf("stored are %+v", s)
	}
}

func influxStaysAway(t *testing.T) {
	runs := t.TempDir()
	in(t, "influxdb", "systemctl stop influxdb")
	labctl(t, "run", "--runs", runs, quickFlows(t)).check(t, 0)
	in(t, "influxdb", "systemctl start influxdb")
	run := ran(t, runs)
	s := run.Manifest.Stored
	if s == nil || s.Counted != 0 || s.Points == 0 || !run.Manifest.Trusted {
		t.Fatalf("stored are %+v", s)
	}
	_, curl, told := strings.Cut(s.Failed, "written once it serves by: ")
	if !told {
		t.Fatalf("it says %q", s.Failed)
	}
	eventually(t, "InfluxDB takes the points", func() bool { return trySh(t, curl) })
	sum := int64(0)
	for _, n := range influxBytes(t, run.Manifest.ID) {
		sum += n
	}
	if sum == 0 {
		t.Error("it has nothing of the run")
	}
}

// captureStandsStill has the machine that captures take nothing for a while: what it
// missed is seen and accounted for.
func captureStandsStill(t *testing.T) {
	runs := t.TempDir()
	const tshark = "virsh -c qemu:///system -q %s labctl.trafic.tshark"
	tap := sh(t, fmt.Sprintf(tshark, "domiflist")+" | awk 'END {print $1}'")
	if n := sh(t, "cat /sys/class/net/"+tap+"/tx_queue_len"); n != "16384" {
		t.Errorf("%s frames wait for the capturing node at the most", n)
	}
	sh(t, "ip link set "+tap+" txqueuelen 100") // or these flows would not fill it
	defer sh(t, "ip link set "+tap+" txqueuelen 16384")
	dropped := func() int {
		n, err := strconv.Atoi(sh(t, "cat /sys/class/net/"+tap+"/statistics/tx_dropped"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	meanwhile(t, runs, func() {
		before := dropped() // its boot, or an earlier run, may have lost some
		sh(t, fmt.Sprintf(tshark, "suspend"))
		eventually(t, "frames are lost", func() bool { return dropped() > before })
		sh(t, fmt.Sprintf(tshark, "resume"))
	}).check(t, 1)
	run := ran(t, runs)
	c := run.Manifest.Captures
	if run.Manifest.State != flows.Done || run.Manifest.Trusted || len(c) != 1 || c[0].Drops.Tap == 0 || c[0].Missing() < c[0].Drops.Tap {
		t.Errorf("the run is %s, trusted %v, its capture %+v", run.Manifest.State, run.Manifest.Trusted, c)
	}
	if lost, known := c[0].Missing(), c[0].Drops.Sum(); lost > known+5 || known > lost+5 {
		t.Errorf("%d frames are missing, %d are known to be lost", lost, known)
	}
}

func captureDiskIsFull(t *testing.T) {
	runs := t.TempDir()
	// all but less than the capture takes
	in(t, "tshark", `cd /var/tmp && fallocate -l $(($(stat -fc '%f * %S' .) - (64 << 20))) filler && { dd if=/dev/zero of=rest bs=64k 2>/dev/null || truncate -s -1M rest; }`)
	r := labctl(t, "run", "--runs", runs, quickFlows(t))
	in(t, "tshark", "rm /var/tmp/filler /var/tmp/rest")
	r.check(t, 1)
	run := ran(t, runs)
	c := run.Manifest.Captures
	if run.Manifest.State != flows.Failed || len(c) != 1 || !strings.Contains(c[0].Failed, "full") {
		t.Errorf("the run is %s, its capture %+v", run.Manifest.State, c)
	}
}

func nodeIsLost(t *testing.T) {
	runs := t.TempDir()
	start := time.Now()
	meanwhile(t, runs, func() { sh(t, "virsh -c qemu:///system -q destroy labctl.trafic.iperf-client") }).check(t, 1)
	run := ran(t, runs)
	if run.Manifest.State != flows.Failed || len(run.Results) == 0 {
		t.Errorf("the run is %s with %d results", run.Manifest.State, len(run.Results))
	}
	t.Logf("told after %s", time.Since(start))
}
