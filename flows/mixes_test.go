package flows

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:generate go test . -run ^TestMixes$ -update

// ready are the mixes in flows/mixes, which go generate writes.
var ready = []struct {
	name  string
	about string
	bits  float64 // that they offer at most, bit/s
}{
	{"smoke", "A small mix of every kind, for labs whose machines are emulated in software.", 12e6},
	{"load-50", "Half of what a link of 66 Mbit/s carries.", 0.50 * 66e6},
	{"load-75", "Three quarters of what a link of 66 Mbit/s carries.", 0.75 * 66e6},
	{"load-90", "Nine tenths of what a link of 66 Mbit/s carries.", 0.90 * 66e6},
}

// parts are the kinds of a ready mix: what part of it each has, about, and its first port.
var parts = []struct {
	kind string
	part float64
	port int
}{
	{"realtime-audio", 0.01, 5000},
	{"realtime-video", 0.05, 5100},
	{"scavenger", 0.10, 5200},
	{"greedy", 0.29, 5300},
	{"abr-video", 0.32, 5400},
	{"web-page", 0.23, 5500},
}

// instances are how many of each part come to a rate at most: one at least, and one
// more of what lacks most to its part and has room, as long as there is any.
func instances(bits float64) (counts []int, offers float64) {
	counts = make([]int, len(parts))
	for i, p := range parts {
		counts[i] = 1
		offers += kindOf(p.kind).bits()
	}
	for {
		next, most := -1, 0.0
		for i, p := range parts {
			each := kindOf(p.kind).bits()
			if lacks := p.part*bits - float64(counts[i])*each; lacks > most && offers+each <= bits {
				next, most = i, lacks
			}
		}
		if next < 0 {
			return counts, offers
		}
		counts[next]++
		offers += kindOf(parts[next].kind).bits()
	}
}

func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

// describe is the text of a mix description.
func describe(about string, bits float64) string {
	var b strings.Builder
	counts, offers := instances(bits)
	fmt.Fprintf(&b, "# %s\n# It offers %s on average, from server to client, for 60 s.\n", about, showRate(offers))
	b.WriteString("# Written by go generate ./flows; labctl flows check shows its flows.\n")
	fmt.Fprintf(&b, "total-bandwidth: %sKB # per second\ntotal-time: 60s\nreport-interval: 200ms\n\n", strconv.FormatFloat(bits/8/1000, 'f', -1, 64))
	b.WriteString("server: &server iperf-server\n\nflows:\n")
	for i, p := range parts {
		percent := math.Ceil(float64(counts[i])*kindOf(p.kind).bits()/bits*1e4) / 100
		fmt.Fprintf(&b, "  - kind: %s # %d\n    percent-bandwidth: %.2f%%\n    ports-range: %d-%d\n    props: {label: %s, server: *server}\n",
			p.kind, counts[i], percent, p.port, p.port+99, p.kind)
	}
	return b.String()
}

// TestMixes: the ready mixes are what the generator makes, and hold what they say.
func TestMixes(t *testing.T) {
	var names []string
	for _, r := range ready {
		file := filepath.Join("mixes", r.name+".yaml")
		names = append(names, file)
		golden(t, file, describe(r.about, r.bits))
		flows, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range Warnings(flows, Path{Down: 66e6}) {
			t.Errorf("%s: %s", r.name, w)
		}
		counts, _ := instances(r.bits)
		offered, got := 0.0, make([]int, len(parts))
		for _, f := range flows {
			offered += kindOf(f.Class).bits() * float64(f.Client.Parallel)
			for i, p := range parts {
				if p.kind == f.Class {
					got[i] += f.Client.Parallel
				}
			}
			for _, at := range f.Client.At {
				if at < 0 || at >= time.Minute {
					t.Errorf("%s: %s starts at %s", r.name, f.Label, at)
				}
			}
		}
		if !slices.Equal(counts, got) {
			t.Errorf("%s has %v instances, want %v", r.name, got, counts)
		}
		if offered > r.bits || offered < 0.95*r.bits {
			t.Errorf("%s offers %s, want up to %s and little less", r.name, showRate(offered), showRate(r.bits))
		}
	}
	there, err := filepath.Glob("mixes/*")
	slices.Sort(names)
	if err != nil || !slices.Equal(there, names) {
		t.Errorf("mixes has %v, the generator makes %v", there, names)
	}
}
