package flows

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestScheduleIsWhole: each start of each flow is there once, at its instant, in order.
func TestScheduleIsWhole(t *testing.T) {
	instants := rapid.Map(rapid.SliceOfN(rapid.Int64Range(0, 20), 0, 8), func(ns []int64) []time.Duration {
		at := make([]time.Duration, len(ns))
		for i, n := range ns {
			at[i] = time.Duration(n) * time.Second
		}
		slices.Sort(at)
		return at
	})
	rapid.Check(t, func(t *rapid.T) {
		flows := make([]Flow, rapid.IntRange(0, 6).Draw(t, "flows"))
		starts := 0
		for i := range flows {
			flows[i].Client.At = instants.Draw(t, "at")
			starts += len(flows[i].Client.At)
		}
		schedule := Schedule(flows)
		if len(schedule) != starts {
			t.Errorf("%d starts of %d", len(schedule), starts)
		}
		if !slices.IsSortedFunc(schedule, func(a, b Start) int {
			return cmp.Or(cmp.Compare(a.After, b.After), cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.Nth, b.Nth))
		}) {
			t.Errorf("not sorted: %v", schedule)
		}
		seen := make(map[[2]int]bool)
		for _, s := range schedule {
			seen[[2]int{s.Flow, s.Nth}] = true
			if flows[s.Flow].Client.At[s.Nth] != s.After {
				t.Errorf("%v is not when its flow says", s)
			}
		}
		if len(seen) != starts {
			t.Errorf("%d starts are told apart of %d", len(seen), starts)
		}
	})
}

func TestLasts(t *testing.T) {
	const unknown = -1
	for name, c := range map[string]struct {
		config ClientConfig
		want   time.Duration
	}{
		"nothing said":          {ClientConfig{}, 10 * time.Second},
		"time":                  {ClientConfig{Seconds: 60}, time.Minute},
		"time and omit":         {ClientConfig{Seconds: 60, Omit: 2}, 62 * time.Second},
		"time at a rate":        {ClientConfig{Seconds: 5, Bitrate: "1M", UDP: true}, 5 * time.Second},
		"bytes":                 {ClientConfig{Bytes: "1M"}, unknown},
		"bytes at no limit":     {ClientConfig{Bytes: "1M", Bitrate: "0"}, unknown},
		"bytes at a rate":       {ClientConfig{Bytes: "1000", Bitrate: "8K"}, time.Second},
		"K is 1024 bytes":       {ClientConfig{Bytes: "1K", Bitrate: "8K"}, 1024 * time.Millisecond},
		"streams share":         {ClientConfig{Bytes: "1000", Bitrate: "8K", Parallel: 4}, 250 * time.Millisecond},
		"paced":                 {ClientConfig{Bytes: "1000", Bitrate: "1M", FQRate: "8K", Omit: 1}, 2 * time.Second},
		"UDP has a rate":        {ClientConfig{Bytes: "125000", UDP: true}, time.Second},
		"blocks of TCP":         {ClientConfig{Blocks: "2", Bitrate: "2097152"}, time.Second},
		"blocks of UDP":         {ClientConfig{Blocks: "10", UDP: true}, unknown},
		"blocks of some length": {ClientConfig{Blocks: "10", Length: "12500", UDP: true}, time.Second},
		"for ever":              {ClientConfig{Bytes: "900T", Bitrate: "1"}, 365 * 24 * time.Hour},
	} {
		got, known := Flow{Client: Client{ClientConfig: c.config}}.Lasts()
		if !known {
			got = unknown
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "126": 126, "1K": 1024, "1k": 1024, "1.5M": 1.5 * 1024 * 1024, "2G": 2 << 30, "1T": 1 << 40} {
		if got, err := parseAmount(text, binary); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "K", "-1", "+1", "1e3", "1 K", "1KB", ".5", "1.", "0x10", "1000000T", "1234567890123456", "nan"} {
		if got, err := parseAmount(bad, binary); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
	for bits, want := range map[float64]string{64e3: "64 kbit/s", 1e6: "1 Mbit/s", 49.444e6: "49.44 Mbit/s", 2.5e9: "2.5 Gbit/s", 12: "12 bit/s"} {
		if got := showRate(bits); got != want {
			t.Errorf("%v is %s, want %s", bits, got, want)
		}
	}
}
