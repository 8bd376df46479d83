package report

import (
	"math"

	"github.com/mami-project/labctl/flows"
)

// How many bins a plot's width has at most: a point for every pixel or two.
const maxBins = 240

// binned is a metric of some starts over time, in bins of one length. A bin in
// which nothing was measured is NaN.
type binned struct {
	Width            float64 // of a bin (s)
	Value            []float64
	Least, Greatest  []float64 // of the single intervals that begin in it
	fine             bool      // a bin is hardly more than an interval: least and greatest say nothing
	amounts, weights []float64
}

// binWidth is how long a bin of a plot is: no shorter than a report interval, or bins
// between two intervals would be empty.
func binWidth(seconds float64, results []*flows.Result) float64 {
	longest := 0.0
	for _, r := range results {
		for _, i := range r.Series {
			if i.Seconds > longest*1.05 && i.Seconds < seconds/4 {
				longest = i.Seconds
			}
		}
	}
	width := nice(seconds / maxBins)
	if longest > width {
		width = longest
	}
	return width
}

// nice is the least of 1, 2 and 5 times a power of ten that is not below x.
func nice(x float64) float64 {
	if x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= x*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// bin puts a metric of results into bins from 0 to seconds. What an interval has is
// shared out among the bins that it touches, by time.
func bin(m metric, results []*flows.Result, seconds, width float64) binned {
	n := max(int(math.Ceil(seconds/width-1e-9)), 1)
	b := binned{
		Width: width, Value: make([]float64, n), Least: make([]float64, n), Greatest: make([]float64, n), fine: true,
		amounts: make([]float64, n), weights: make([]float64, n),
	}
	for k := range n {
		b.Value[k], b.Least[k], b.Greatest[k] = math.NaN(), math.NaN(), math.NaN()
	}
	first, last := n, -1
	for _, r := range results {
		if !m.has(r.Protocol) {
			continue
		}
		for _, i := range r.Series {
			amount, weight, _ := m.of(i)
			v, ok := m.value(i)
			if !ok || !(i.At >= 0 && i.At < float64(n)*width) {
				continue
			}
			b.fine = b.fine && i.Seconds > width*0.6
			from, to := b.add(i.At, i.Seconds, amount, weight)
			first, last = min(first, from), max(last, to)
			b.Least[from], b.Greatest[from] = fmin(b.Least[from], v), fmax(b.Greatest[from], v)
		}
	}
	for k := range n {
		switch {
		case m.rate && k >= first && k <= last:
			b.Value[k] = b.amounts[k] / min(width, seconds-float64(k)*width) // where nothing ran, nothing came
		case !m.rate && b.weights[k] > 0:
			b.Value[k] = b.amounts[k] / b.weights[k]
		}
	}
	return b
}

// add shares an interval out, and says which bins it touches.
func (b binned) add(at, seconds, amount, weight float64) (first, last int) {
	n := len(b.Value)
	end := at + max(seconds, 0)
	first = min(max(int(at/b.Width+1e-6), 0), n-1)
	last = min(max(int(math.Ceil(end/b.Width-1e-6))-1, first), n-1)
	if first == last || seconds <= 0 {
		b.amounts[first] += amount
		b.weights[first] += weight
		return first, first
	}
	for k := first; k <= last; k++ {
		share := (min(end, float64(k+1)*b.Width) - max(at, float64(k)*b.Width)) / seconds
		share = min(max(share, 0), 1)
		b.amounts[k] += amount * share
		b.weights[k] += weight * share
	}
	return first, last
}

// at is the middle of a bin.
func (b binned) at(k int) float64 { return (float64(k) + 0.5) * b.Width }

// fmin and fmax take NaN for nothing.
func fmin(a, b float64) float64 {
	if math.IsNaN(a) || b < a {
		return b
	}
	return a
}

func fmax(a, b float64) float64 {
	if math.IsNaN(a) || b > a {
		return b
	}
	return a
}
