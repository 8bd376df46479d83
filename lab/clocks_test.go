package lab

import (
	"math"
	"slices"
	"strings"
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

var (
	serves = fakeClock{ahead: 3 * time.Second, stratum: 8, reference: [4]byte{127, 127, 1, 1}}
	served = fakeClock{ahead: 3 * time.Second, stratum: 9, reference: [4]byte{10, 9, 1, 10}}
)

func TestClocksOfNodes(t *testing.T) {
	b := prepare(t, newHost(t), plainLab+"  three: {nics: [{network: control, address: 10.9.1.12}]}\n")
	put(t, b)
	hasLoopback(t, "10.9.1.10/32", "10.9.1.11/32", "10.9.1.12/32")
	serves.serve(t, "10.9.1.10:123")
	far := served
	far.ahead = -5 * time.Second
	far.serve(t, "10.9.1.11:123")
	all := b.Clocks(t.Context())
	var text []string
	for i, o := range all {
		text = append(text, o.Node+": "+o.Source)
		if want := []float64{3000, -5000, 0}[i]; math.Abs(o.Milli-want) > o.Uncertainty || o.Uncertainty > 20 {
			t.Errorf("%+v, want %v ms", o, want)
		}
	}
	if diff := cmp.Diff([]string{"one: none", "two: chrony from one", "three: none"}, text); diff != "" {
		t.Error(diff)
	}
	if all[0].Failed+all[1].Failed != "" || all[2].Failed == "" { // libvirt's test driver has no agents
		t.Errorf("%+v", all)
	}
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

func TestClocksAgree(t *testing.T) {
	b := prepare(t, newHost(t), plainLab)
	hasLoopback(t, "10.9.1.10/32", "10.9.1.11/32")
	serves.serve(t, "10.9.1.10:123")
	late := served
	late.lie = func(a []byte, nth int) []byte {
		if nth <= clockReadings {
			a[1] = 0 // it has no time yet
		}
		return a
	}
	_, asked := late.serve(t, "10.9.1.11:123")
	tell, notes := told()
	all := b.waitClocks(t.Context(), time.Minute, tell)
	if len(all) != 2 || len(apart(all)) > 0 {
		t.Errorf("%+v", all)
	}
	if diff := cmp.Diff([]string{"node two's chronyd has not got the lab's time"}, notes()); diff != "" || asked.Load() != 2*clockReadings {
		t.Errorf("after %d questions: %s", asked.Load(), diff)
	}
}

func TestClocksThatDoNotAgree(t *testing.T) {
	b := prepare(t, newHost(t), plainLab)
	hasLoopback(t, "10.9.1.10/32", "10.9.1.11/32")
	serves.serve(t, "10.9.1.10:123")
	far := served
	far.ahead += 5 * time.Second
	far.serve(t, "10.9.1.11:123")
	tell, notes := told()
	b.waitClocks(t.Context(), time.Second, tell)
	said := notes()
	if last := said[len(said)-1]; !strings.HasPrefix(last, "!the clocks do not agree after 1s: the clocks of one and two are 5000.") && !strings.HasPrefix(last, "!the clocks do not agree after 1s: the clocks of one and two are 4999.") {
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
