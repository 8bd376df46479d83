//go:build bench

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mami-project/labctl/flows"
)

// BenchmarkRun times a run of the mix that is made for emulated machines: how late its
// flows start, and what it takes beyond the time that they were given.
func BenchmarkRun(b *testing.B) {
	f := measure(b)
	mix, err := filepath.Abs("../flows/mixes/smoke.yaml")
	if err != nil {
		b.Fatal(err)
	}
	file := builtIn(b, "debian-slim")
	labctlRun(b, "up", file)
	var late []float64 // of all runs
	for b.Loop() {
		r, took := measured(b, mix)
		for _, s := range r.Results {
			late = append(late, 1000*(s.Started-s.Planned))
		}
		var end float64 // of the last flow, as planned and as measured
		for _, s := range r.Results {
			end = max(end, s.Planned+s.Seconds)
		}
		f.add("run-s", "", took)
		f.add("overhead-s", "", took-end)
		f.add("missing-frames", "0", float64(r.Manifest.Captures[0].Missing()))
	}
	slices.Sort(late)
	f.add("late-median-ms", "", late[len(late)/2])
	f.add("late-p99-ms", "", late[len(late)*99/100])
	labctlRun(b, "down", file)
	f.report()
}

// BenchmarkCapture offers datagrams of 200 bytes, ever more a second, and counts those
// that pass the mirrored NIC and those that the capture lacks.
func BenchmarkCapture(b *testing.B) {
	f := measure(b)
	file := builtIn(b, "debian-slim")
	labctlRun(b, "up", file)
	for b.Loop() {
		for _, offered := range []int{1_000, 2_500, 5_000, 10_000, 20_000} {
			const ip, seconds = 200, 10 // bytes with headers
			flow := write(b, "flow.yaml", fmt.Sprintf(`label: frames
client: {at: [0s], config: {server-address: iperf-server, server-port: 5200, udp: true, time-s: %[3]d, target-bitrate: %[1]d, length: "%[2]d", report-interval-s: 1}}
server: {at: [0s], config: {server-port: 5200, report-interval-s: 1}}
`, offered*(ip-28)*8, ip-28, seconds))
			r, _ := measured(b, flow)
			c := r.Manifest.Captures[0]
			f.add(fmt.Sprintf("frames/s-of-%d", offered), "", float64(c.Mirrored.Frames)/r.Results[0].Seconds)
			f.add(fmt.Sprintf("missing-%%-of-%d", offered), "", 100*float64(c.Missing())/float64(max(1, c.Mirrored.Frames)))
		}
	}
	labctlRun(b, "down", file)
	f.report()
}

// measured runs flows, whatever share of their frames the capture lacks, and reads the run; took is in seconds.
func measured(b *testing.B, file string) (r flows.Run, took float64) {
	b.Helper()
	runs := b.TempDir()
	took = labctlRun(b, "run", "--runs", runs, "--missing", "100", file).took().Seconds()
	dirs, err := filepath.Glob(filepath.Join(runs, "trafic-*"))
	if err != nil || len(dirs) != 1 {
		b.Fatalf("runs are %q, %v", dirs, err)
	}
	if r, err = flows.ReadRun(dirs[0]); err != nil {
		b.Fatal(err)
	}
	return r, took
}
