package shape

import (
	"math"
	"sync"

	"github.com/mami-project/labctl/topology"
)

// netem draws a delay from a table of what a standard normal variable and the like come
// to, of which each is drawn alike often. That of tc-netem(8)'s distributions is made here:
// their quantiles, cut off where the kernel's numbers end, with the mean 0 and the
// standard deviation 1 that a jitter is told in.
const (
	tableSize  = 4096
	tableScale = 8192 // NETEM_DIST_SCALE: what 1 is written as
	// shape of the Pareto distribution that tc-netem(8) calls so.
	paretoShape = 3
)

var tables = sync.OnceValue(func() map[string][]int16 {
	normal := func(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }
	pareto := func(u float64) float64 {
		const mean, variance = paretoShape / (paretoShape - 1.0), paretoShape / (paretoShape - 1.0) / (paretoShape - 1.0) / (paretoShape - 2.0)
		return (math.Pow(1-u, -1.0/paretoShape) - mean) / math.Sqrt(variance)
	}
	return map[string][]int16{
		topology.SpreadNormal:       tabled(normal),
		topology.SpreadPareto:       tabled(pareto),
		topology.SpreadParetoNormal: tabled(func(u float64) float64 { return (normal(u) + 3*pareto(u)) / 4 }),
	}
})

// table is that of a distribution; nil for the uniform one, which netem has itself.
func table(distribution string) []int16 { return tables()[distribution] }

// tabled is the table of a distribution by its quantiles.
func tabled(quantile func(float64) float64) []int16 {
	const most = math.MaxInt16 / float64(tableScale)
	x := make([]float64, tableSize)
	for i := range x {
		x[i] = quantile((float64(i) + 0.5) / tableSize)
	}
	for range 100 { // what was cut off narrows it: widen it, until nothing is left to do
		var sum, squares float64
		for i := range x {
			x[i] = max(-most, min(x[i], most))
			sum += x[i]
			squares += x[i] * x[i]
		}
		mean := sum / tableSize
		deviation := math.Sqrt(squares/tableSize - mean*mean)
		for i := range x {
			x[i] = (x[i] - mean) / deviation
		}
	}
	t := make([]int16, tableSize)
	for i := range x {
		t[i] = int16(math.Round(max(-most, min(x[i], most)) * tableScale))
	}
	return t
}
