//go:build bench

package e2e

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// figures are what a benchmark measures, one value an iteration of each.
type figures struct {
	b   *testing.B
	all []figure
}

type figure struct {
	name, target string
	values       []float64
}

// table holds the lines of the closing table, and load is what the machine did before the first of them.
var (
	table []string
	load  string
)

func init() { closing = printTable }

// measure begins a benchmark, on a private host only: labs are brought up on it.
func measure(b *testing.B) *figures {
	b.Helper()
	links, err := net.Interfaces()
	if err != nil {
		b.Fatal(err)
	}
	if len(links) != 1 {
		b.Fatalf("this host has %d links where a private one has its loopback alone: run make bench", len(links))
	}
	if load == "" {
		text, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			b.Fatal(err)
		}
		load, _, _ = strings.Cut(string(text), " ")
	}
	return &figures{b: b}
}

// add takes one value; target is what is aimed at, "" where nothing is.
func (f *figures) add(name, target string, value float64) {
	i := slices.IndexFunc(f.all, func(g figure) bool { return g.name == name })
	if i < 0 {
		i = len(f.all)
		f.all = append(f.all, figure{name: name, target: target})
	}
	f.all[i].values = append(f.all[i].values, value)
}

// report reports the median of each figure.
func (f *figures) report() {
	f.b.ReportMetric(0, "ns/op") // it holds what is not timed too
	name := strings.TrimPrefix(f.b.Name(), "Benchmark")
	for _, g := range f.all {
		slices.Sort(g.values)
		n := len(g.values)
		median := (g.values[(n-1)/2] + g.values[n/2]) / 2
		f.b.ReportMetric(median, g.name)
		table = append(table, fmt.Sprintf("%s\t%s\t%.4g\t%.4g – %.4g\t%d\t%s", name, g.name, median, g.values[0], g.values[n-1], n, g.target))
	}
}

// printTable closes all benchmarks with what a person wants to read.
func printTable() {
	if len(table) == 0 {
		return
	}
	fmt.Printf("\n%d CPUs, load average %s before\nratio: up without its proof to floor, the same QEMU command lines started by hand\n\n", runtime.NumCPU(), load)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "benchmark\tfigure\tmedian\tleast – most\truns\ttarget")
	for _, line := range table {
		fmt.Fprintln(t, line)
	}
	_ = t.Flush()
}
