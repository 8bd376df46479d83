package shape

import (
	"math"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// TestTables: a table has the mean 0 and the deviation 1 that a jitter is told in, and
// its distribution's shape.
func TestTables(t *testing.T) {
	// tail: the share beyond 2 deviations; by median and quartiles networks/probe reads a jitter
	for name, c := range map[string]struct{ median, quartiles, tail, skew float64 }{
		topology.SpreadNormal:       {0, 1.349, 0.0455, 0},
		topology.SpreadPareto:       {-0.361, 0.861, 0.055, 2.2},
		topology.SpreadParetoNormal: {-0.247, 1.029, 0.05, 1.7},
	} {
		x := table(name)
		if len(x) != 4096 {
			t.Errorf("%s has %d entries", name, len(x))
			continue
		}
		var mean, deviation, skew, tail float64
		for i, v := range x {
			if i > 0 && v < x[i-1] {
				t.Errorf("%s falls at %d", name, i)
			}
			mean += float64(v) / tableScale / float64(len(x))
		}
		for _, v := range x {
			d := float64(v)/tableScale - mean
			deviation += d * d / float64(len(x))
			skew += d * d * d / float64(len(x))
			if math.Abs(d) > 2 {
				tail += 1 / float64(len(x))
			}
		}
		median := float64(x[len(x)/2]) / tableScale
		t.Logf("%s: mean %.5f, deviation %.5f, skew %.3f, median %.4f, beyond two deviations %.4f, from %d to %d",
			name, mean, math.Sqrt(deviation), skew, median, tail, x[0], x[len(x)-1])
		for what, v := range map[string][3]float64{
			"mean":      {mean, 0, 0.001},
			"deviation": {math.Sqrt(deviation), 1, 0.001},
			"median":    {median, c.median, 0.001},
			"quartiles": {float64(x[len(x)*3/4]-x[len(x)/4]) / tableScale, c.quartiles, 0.001},
			"tail":      {tail, c.tail, 0.005},
			"skew":      {skew, c.skew, 0.1},
		} {
			if math.Abs(v[0]-v[1]) > v[2] {
				t.Errorf("%s: the %s is %g, want %g", name, what, v[0], v[1])
			}
		}
	}
	if table(topology.SpreadUniform) != nil || table("") != nil {
		t.Error("netem's own distribution has a table")
	}
}
