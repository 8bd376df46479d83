package report

import (
	"bytes"
	"testing"

	"github.com/mami-project/labctl/flows"
)

// BenchmarkReport renders a run of 100 flows of 10 minutes, in 300,000 intervals.
func BenchmarkReport(b *testing.B) {
	run := sample("demo-20261124T201500Z", 100, 600, 0.2, 1)
	for b.Loop() {
		var out bytes.Buffer
		if err := Write(&out, []flows.Run{run}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Len())/1e6, "MB")
	}
}
