package report

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mami-project/labctl/flows"
)

// stat is one number about some starts.
type stat struct {
	Name  string
	value float64 // NaN where there is none
	unit  string
}

// stats are what tables tell of some starts of one class or flow.
func stats(results []*flows.Result) []stat {
	var retransmits, packets, lost int64
	protocols := map[string]bool{}
	for _, r := range results {
		protocols[r.Protocol] = true
		retransmits += r.Retransmits
		packets += r.Packets
		lost += r.Lost
	}
	all := append([]stat{{"Received", received(results), "B"}}, quantiles(throughput, results, 0.05, 0.5, 0.95)...)
	if protocols[flows.TCP] {
		all = append(all, quantiles(rtt, results, 0.5, 0.95, 0.99)...)
		all = append(all, stat{"Retransmissions", float64(retransmits), ""})
	}
	if protocols[flows.UDP] {
		all = append(all, quantiles(jitter, results, 0.5, 0.95)...)
		share := math.NaN()
		if packets > 0 {
			share = float64(lost) / float64(packets) * 100
		}
		all = append(all, stat{loss.Name, share, loss.Unit})
	}
	return all
}

func received(results []*flows.Result) float64 {
	sum := 0.0
	for _, r := range results {
		sum += float64(r.Received)
	}
	return sum
}

// quantiles are of the single report intervals of each flow.
func quantiles(m metric, results []*flows.Result, at ...float64) []stat {
	n := 0
	for _, r := range results {
		n += len(r.Series)
	}
	values := make([]float64, 0, n)
	for _, r := range results {
		if !m.has(r.Protocol) {
			continue
		}
		for _, i := range r.Series {
			if v, ok := m.value(i); ok {
				values = append(values, v)
			}
		}
	}
	slices.Sort(values)
	var all []stat
	for _, q := range at {
		name := m.short() + ", p" + strconv.Itoa(int(math.Round(q*100)))
		if q == 0.5 {
			name = m.short() + ", median"
		}
		all = append(all, stat{name, quantile(values, q), m.Unit})
	}
	return all
}

// quantile is that of sorted values, by the nearest rank.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Text is the number as people read it.
func (s stat) Text() string {
	switch {
	case math.IsNaN(s.value) || math.IsInf(s.value, 0):
		return "–"
	case s.unit == throughput.Unit:
		factor, unit := prefixed(s.value)
		return number(s.value*factor) + " " + unit
	case s.unit == "B":
		return bytesText(s.value)
	case s.unit == "":
		return count(int64(s.value))
	}
	return number(s.value) + " " + s.unit
}

// number has three significant digits, or all those before the point.
func number(x float64) string {
	size := math.Abs(x)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case x == 0:
		return "0"
	case size >= 1000:
		return count(int64(math.Round(x)))
	case size >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case size >= 0.9995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	default:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
}

// count groups digits by narrow spaces.
func count[N int | int64 | uint64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	var out strings.Builder
	for k, digit := range text {
		if k > 0 && (len(text)-k)%3 == 0 && text[k-1] != '-' {
			out.WriteRune('\u202f')
		}
		out.WriteRune(digit)
	}
	return out.String()
}

func bytesText(b float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if b >= unit.size {
			return number(b/unit.size) + " " + unit.name
		}
	}
	return number(b) + " B"
}

// change is how far b is from a, in percent; "" where that says nothing.
func change(a, b float64) string {
	switch {
	case math.IsNaN(a) || math.IsNaN(b) || a == 0 && b != 0:
		return ""
	case a == b:
		return "±0 %"
	}
	percent := (b - a) / math.Abs(a) * 100
	sign := "+"
	if percent < 0 {
		sign = "−"
	}
	return sign + number(math.Abs(percent)) + " %"
}
