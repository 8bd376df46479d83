package probe

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }

// The values are those of R's prop.test(…, correct = FALSE).
func TestWilson(t *testing.T) {
	for _, c := range []struct{ count, n, z, low, high float64 }{
		{0, 10, 1.959964, 0, 0.2775328},
		{5, 10, 1.959964, 0.2365931, 0.7634069},
		{10, 10, 1.959964, 0.7224672, 1},
		{1, 100, 1.959964, 0.001767, 0.054486},
		{0, 10000, z99, 0, 0.000663},
		{0, 0, z99, 0, 1},
	} {
		low, high := wilson(c.count, c.n, c.z)
		if !near(low, c.low, 1e-6) || !near(high, c.high, 1e-6) {
			t.Errorf("%v of %v: %.7f to %.7f, want %v to %v", c.count, c.n, low, high, c.low, c.high)
		}
	}
}

func TestWilsonHoldsItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1e6).Draw(t, "n")
		count := rapid.IntRange(0, n).Draw(t, "count")
		e := percent(count, n, rapid.Float64Range(0.01, 1).Draw(t, "independent"))
		if !(0 <= e.Low && e.Low <= e.Value+1e-9 && e.Value <= e.High+1e-9 && e.High <= 100) || (count > 0) != (e.Low > 0) {
			t.Errorf("%d of %d: %+v", count, n, e)
		}
	})
}

func TestRuns(t *testing.T) {
	const o, x = false, true
	for _, c := range []struct {
		of   []bool
		want []int
	}{
		{nil, nil},
		{[]bool{o, o}, nil},
		{[]bool{x}, []int{1}},
		{[]bool{x, o, x, x, o, o, x, x, x}, []int{1, 2, 3}},
	} {
		if got := runs(c.of); !slices.Equal(got, c.want) {
			t.Errorf("runs of %v are %v, want %v", c.of, got, c.want)
		}
	}
}

func TestMeanRun(t *testing.T) {
	ones := meanRun(slices.Repeat([]int{1}, 50))
	if ones.Value != 1 || ones.Low != 1 || ones.High != 1 || ones.Doubt != "" {
		t.Errorf("single losses: %+v", ones)
	}
	mixed := meanRun(slices.Repeat([]int{2, 8}, 50))
	if half := z99 * math.Sqrt(5*4/100.0); mixed.Value != 5 || !near(mixed.Low, 5-half, 1e-9) || !near(mixed.High, 5+half, 1e-9) {
		t.Errorf("runs of 5: %+v", mixed)
	}
	for _, few := range [][]int{nil, {3, 3}} {
		if e := meanRun(few); e.Doubt == "" {
			t.Errorf("%v says %+v", few, e)
		}
	}
}

func TestIndependence(t *testing.T) {
	for _, c := range []struct{ share, burst, want float64 }{
		{0, 0, 1},
		{0.01, 1, 1},
		{0.5, 2, 1}, // by chance alone
		{0.01, 10, (1 - (0.9 - 0.1/99)) / (1 + (0.9 - 0.1/99))},
	} {
		if got := independence(c.share, c.burst); !near(got, c.want, 1e-9) {
			t.Errorf("%v in bursts of %v: %v, want %v", c.share, c.burst, got, c.want)
		}
	}
}

// Frames in bursts: the interval must hold the share about as often as it says.
func TestIntervalOfBursts(t *testing.T) {
	const share, burst, n, rounds = 0.02, 8.0, 20000, 300
	random := rand.New(rand.NewPCG(1, 2))
	missed := 0
	for range rounds {
		lost := make([]bool, n)
		bad := false
		for i := range lost {
			if bad {
				bad = random.Float64() >= 1/burst
			} else {
				bad = random.Float64() < share/(1-share)/burst
			}
			lost[i] = bad
		}
		count := 0
		for _, l := range runs(lost) {
			count += l
		}
		e := percent(count, n, independence(float64(count)/n, meanRun(runs(lost)).Value))
		if e.Low > 100*share || e.High < 100*share {
			missed++
		}
	}
	if missed > 12 { // 3 are expected; without the bursts' part it is half of them
		t.Errorf("%d of %d intervals do not hold the share", missed, rounds)
	}
}

func TestQuantile(t *testing.T) {
	var v []float64
	for i := range 1001 {
		v = append(v, float64(i))
	}
	half := z99 * math.Sqrt(1001) / 2
	if e := quantile(v, 0.5); e.Value != 500 || !near(e.Low, 500-half, 1e-6) || !near(e.High, 500+half, 1e-6) || e.Of != 1001 {
		t.Errorf("median: %+v", e)
	}
	if e := quantile(v[:2], 0.5); e.Value != 0.5 || e.Low != 0 || e.High != 1 {
		t.Errorf("median of two: %+v", e)
	}
	if e := quantile(nil, 0.5); e.Doubt == "" {
		t.Errorf("median of none: %+v", e)
	}
	if e := between(v); e.Value != 500 || e.Low >= 500 || e.High <= 500 {
		t.Errorf("quartiles: %+v", e)
	}
	if d := deviation([]float64{2, 4, 4, 4, 5, 5, 7, 9}); !near(d, math.Sqrt(32.0/7), 1e-9) {
		t.Errorf("deviation %v", d)
	}
}
