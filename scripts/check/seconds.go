package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// secondsFile has how long each test on real machines takes on a quiet machine of two cores: a line "SECONDS TEST" each.
// Each run writes such a file into its results; a run of everything gives the next one.
const secondsFile = "scripts/check/seconds"

// defaultSeconds is for a test that has not been timed.
const defaultSeconds = 60

func readSeconds(path string) (map[string]float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all := map[string]float64{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var s float64
		var name string
		if _, err := fmt.Sscan(lines.Text(), &s, &name); err != nil {
			return nil, fmt.Errorf("%s:%d: %w: want SECONDS TEST", path, n, err)
		}
		all[name] = s
	}
	return all, lines.Err()
}

// writeSeconds notes what tests took, beside what the others are expected to.
func writeSeconds(dir string, all []test, outcomes []outcome) error {
	took := map[string]float64{}
	for _, t := range all {
		if t.real {
			took[t.name()] = t.seconds
		}
	}
	for _, o := range outcomes {
		if o.passed {
			took[o.name()] = o.took.Seconds()
		}
	}
	var lines []string
	for name, s := range took {
		lines = append(lines, fmt.Sprintf("%.0f %s\n", max(s, 1), name))
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
	return os.WriteFile(filepath.Join(dir, "seconds"), []byte(strings.Join(lines, "")), 0o644)
}

// longestFirst is the order in which two lanes end at about the same time.
func longestFirst(tests []test) []test {
	return slices.SortedStableFunc(slices.Values(tests), func(a, b test) int { return cmp.Compare(b.seconds, a.seconds) })
}

// partition deals tests into n parts that take about as long as one another, the same way each time.
func partition(tests []test, n int) [][]test {
	parts, sums := make([][]test, n), make([]float64, n)
	for _, t := range longestFirst(tests) {
		least := slices.Index(sums, slices.Min(sums))
		parts[least] = append(parts[least], t)
		sums[least] += t.seconds
	}
	return parts
}
