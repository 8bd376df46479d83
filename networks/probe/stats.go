package probe

import (
	"math"
	"slices"
)

// Estimate is a value that was measured, and between what it is.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Of    int     `json:"of"`              // what it was taken from: frames, runs, stretches of time
	Doubt string  `json:"doubt,omitempty"` // why it says nothing
}

// z99 is how many standard deviations of a normal distribution 99 % of it lie within,
// and t95 those of Student's with stretches-1 degrees of freedom for 95 %.
const (
	z99 = 2.5758
	t95 = 2.2622
)

// wilson is the interval of a share of which so many of n were seen (E. B. Wilson,
// 1927): unlike the usual one it holds for few, and for none.
func wilson(count, n, z float64) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	p := count / n
	middle := (p + z*z/2/n) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/4/n/n)
	return max(0, middle-half), min(1, middle+half)
}

// percent is a share in percent with its 99 % interval. Where events come in bursts,
// fewer independent ones are behind the share: independent is their part.
func percent(count, n int, independent float64) Estimate {
	low, high := wilson(float64(count)*independent, float64(n)*independent, z99)
	if count == 0 {
		low = 0 // and not what rounding leaves
	}
	e := Estimate{Low: 100 * low, High: 100 * high, Of: n}
	if n > 0 {
		e.Value = 100 * float64(count) / float64(n)
	} else {
		e.Doubt = noneCame
	}
	return e
}

const noneCame = "no frame came"

// independence is the part of frames that count where losses of that share come in
// bursts of that mean length: those of a chain of two states are correlated from frame
// to frame by r, and the share of n of them varies as that of n(1-r)/(1+r) would.
func independence(share, burst float64) float64 {
	if share <= 0 || share >= 1 || burst <= 1 {
		return 1
	}
	r := 1 - 1/burst - share/(1-share)/burst
	r = min(max(r, 0), 0.999)
	return (1 - r) / (1 + r)
}

// runs are the lengths of what is true in a row.
func runs(of []bool) []int {
	var all []int
	length := 0
	for _, is := range append(slices.Clone(of), false) {
		if is {
			length++
		} else if length > 0 {
			all, length = append(all, length), 0
		}
	}
	return all
}

// meanRun is the mean length of runs with its 99 % interval, as if each went on by chance.
func meanRun(lengths []int) Estimate {
	e := Estimate{Of: len(lengths)}
	if e.Of == 0 {
		e.Doubt = "none was lost"
		return e
	}
	sum := 0
	for _, l := range lengths {
		sum += l
	}
	e.Value = float64(sum) / float64(e.Of)
	half := z99 * math.Sqrt(e.Value*(e.Value-1)/float64(e.Of))
	e.Low, e.High = max(1, e.Value-half), e.Value+half
	if e.Of < fewRuns {
		e.Doubt = "too few runs of lost frames"
	}
	return e
}

// fewRuns of lost frames say nothing of their mean length.
const fewRuns = 10

// quantile is that of sorted values, with its 99 % interval, whatever their distribution.
func quantile(sorted []float64, q float64) Estimate {
	n := len(sorted)
	if n == 0 {
		return Estimate{Doubt: noneCame}
	}
	at := func(rank float64) float64 {
		rank = min(max(rank, 0), float64(n-1))
		below := int(rank)
		above := min(below+1, n-1)
		return sorted[below] + (rank-float64(below))*(sorted[above]-sorted[below])
	}
	rank := q * float64(n-1)
	half := z99 * math.Sqrt(float64(n)*q*(1-q))
	return Estimate{Value: at(rank), Low: at(rank - half), High: at(rank + half), Of: n}
}

// between is the distance between the quartiles of sorted values, with an interval of 99 % at least.
func between(sorted []float64) Estimate {
	low, high := quantile(sorted, 0.25), quantile(sorted, 0.75)
	e := Estimate{Value: high.Value - low.Value, Of: low.Of, Doubt: low.Doubt}
	half := math.Hypot(max(low.High-low.Value, low.Value-low.Low), max(high.High-high.Value, high.Value-high.Low))
	e.Low, e.High = max(0, e.Value-half), e.Value+half
	return e
}

// deviation is the standard deviation.
func deviation(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	var mean, sum float64
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(values)-1))
}
