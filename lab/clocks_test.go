package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/flows"
)

// told is a Tell and the notes that it has been told, warnings with a ! before them.
func told() (Tell, func() []string) {
	var mu sync.Mutex
	var all []string
	return func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if note := e.Note; e.Phase == Warns {
				all = append(all, "!"+note)
			} else {
				all = append(all, note)
			}
		}, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
}

func TestClocksOfNodes(t *testing.T) {
	b := prepare(t, newHost(t), plainLab+"  three: {nics: [{network: control, address: 10.9.1.12}]}\n")
	put(t, b)
	hasLoopback(t, "10.9.1.10/32", "10.9.1.11/32", "10.9.1.12/32")
	fakeClock{stratum: 8, reference: [4]byte{127, 127, 1, 1}}.serve(t, "10.9.1.10:123")
	// it believes that it should be elsewhere than the clock is, by a day and something
	fakeClock{ahead: 24*time.Hour + 300*time.Millisecond, stratum: 9, reference: [4]byte{10, 9, 1, 10}}.serve(t, "10.9.1.11:123")
	eventually(t, func() error {
		all := b.Clocks(t.Context())
		var text []string
		for i, o := range all {
			text = append(text, o.Node+": "+o.Source)
			want := []float64{0, 86400_000, 0}[i]
			off := math.Abs(o.Milli - want)
			if i != 1 && off > o.Uncertainty { // the other's kernel may not have been heard, only its chronyd
				t.Errorf("%+v, want %v ms", o, want)
			}
			if off > o.Uncertainty || o.Uncertainty > 20 {
				return fmt.Errorf("%+v, want %v ms", o, want)
			}
		}
		if diff := cmp.Diff([]string{"one: none", "two: chrony from one", "three: none"}, text); diff != "" {
			return errors.New(diff)
		}
		if all[0].Failed+all[1].Failed != "" || all[2].Failed == "" { // libvirt's test driver has no agents
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

func TestSource(t *testing.T) {
	l := decided(t, plainLab)
	for _, test := range []struct {
		stratum   uint8
		reference uint32
		from      string
		kept      bool
	}{
		{0, 0, "none", false},
		{16, 0x0a09010a, "none", false},
		{1, 0x4b564d00, "ptp_kvm", true},
		{8, 0x7f7f0101, "none", true},
		{9, 0x0a09010a, "chrony from one", true},
		{2, 0xc0000201, "chrony from 192.0.2.1", true},
	} {
		if from, kept := source(l, test.stratum, test.reference); from != test.from || kept != test.kept {
			t.Errorf("stratum %d of %x: %q, %v", test.stratum, test.reference, from, kept)
		}
	}
}

// TestClocksAgree has clocks come to one time, step by step.
func TestClocksAgree(t *testing.T) {
	at := func(node string, ms float64, answers, kept bool) clock {
		return clock{flows.Offset{Node: node, Milli: ms, Uncertainty: 0.1}, answers, kept}
	}
	one, bare := at("one", 300, true, true), at("bare", 9000, false, false)
	jumps := at("two", 0, true, true)
	jumps.Failed = "it jumps"
	steps := [][]clock{
		{one, at("two", 900, false, false), bare},
		{one, at("two", 900, true, false), bare},
		{one, jumps, bare},
		{one, at("two", 305, true, true), bare},
		{one, at("two", 300.5, true, true), bare},
	}
	lacks := func(_ context.Context, node string) bool { return node == "bare" }
	step := -1
	tell, notes := told()
	all := waitClocks(t.Context(), func(context.Context) []clock { step++; return steps[step] }, lacks, time.Minute, tell)
	if diff := cmp.Diff(offsets(steps[4]), all); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"waiting for the clocks: node two's chronyd does not answer",
		"waiting for the clocks: node two's chronyd has not got the lab's time",
		"waiting for the clocks: node two's clock is not known: it jumps",
		"waiting for the clocks: the clocks of one and two are 5.000 ms apart (± 0.200 ms): more than 1 ms",
	}, notes()); diff != "" {
		t.Error(diff)
	}
}

func TestClocksThatDoNotAgree(t *testing.T) {
	never := func(context.Context) []clock {
		return []clock{
			{flows.Offset{Node: "one", Uncertainty: 0.1}, true, true},
			{flows.Offset{Node: "two", Milli: -5000, Uncertainty: 0.1}, true, true},
		}
	}
	tell, notes := told()
	if all := waitClocks(t.Context(), never, nil, time.Millisecond, tell); len(all) != 2 {
		t.Errorf("%+v", all)
	}
	said := notes()
	if want := "!the clocks do not agree after 1ms: the clocks of one and two are 5000.000 ms apart (± 0.200 ms): more than 1 ms"; said[len(said)-1] != want {
		t.Errorf("%q", said)
	}
}

func TestWhatIsToldOfOffsets(t *testing.T) {
	at := func(node string, ms, uncertain float64) flows.Offset {
		return flows.Offset{Node: node, Milli: ms, Uncertainty: uncertain}
	}
	for name, test := range map[string]struct {
		all             []flows.Offset
		apart, fromHost []string
	}{
		"none":     {},
		"together": {all: []flows.Offset{at("a", 0.3, 0.1), at("b", -0.3, 0.1)}},
		"uncertain": {
			all:   []flows.Offset{at("a", 0, 0.4), at("b", 0.8, 0.4)},
			apart: []string{"the clocks of a and b are 0.800 ms apart (± 0.800 ms): whether that is more than 1 ms cannot be told"},
		},
		"one is off": {
			all:      []flows.Offset{at("a", 0, 0.1), at("b", 5000, 0.1), at("c", 0.1, 0.1)},
			apart:    []string{"the clocks of a and b are 5000.000 ms apart (± 0.200 ms): more than 1 ms (the worst of 2 pairs of nodes)"},
			fromHost: []string{"clocks are more than 1 ms from the host's: b +5000.000 ms (± 0.100 ms)"},
		},
		"one is not known": {
			all:   []flows.Offset{at("a", 0, 0.1), {Node: "x", Failed: "it is off"}},
			apart: []string{"node x's clock is not known: it is off"},
		},
		"all are off the host's": {
			all:      []flows.Offset{at("a", -300, 0.1), at("b", -300.2, 0.1)},
			fromHost: []string{"clocks are more than 1 ms from the host's: a -300.000 ms (± 0.100 ms), b -300.200 ms (± 0.100 ms)"},
		},
	} {
		if diff := cmp.Diff(test.apart, Apart(test.all)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(test.fromHost, FromHost(test.all)); diff != "" {
			t.Errorf("%s, from the host: %s", name, diff)
		}
	}
}
