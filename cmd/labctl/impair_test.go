package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks/probe"
)

// TestPrintImpairments: what is set, what the file says where that differs, what waits, where mirrors are, what was measured.
func TestPrintImpairments(t *testing.T) {
	c := &lab.Calibration{Direction: "a->b", At: time.Unix(1, 0), Verdict: probe.Verdict{Direction: "a->b", Values: []probe.Value{
		{Name: "rate_mbit_per_s", Set: 2, Measured: 1.99, Result: probe.OK}, {Name: "delay_ms", Set: 0, Measured: 7, Result: probe.Off},
	}}}
	var b strings.Builder
	err := printImpairments(&b, []lab.ImpairmentStatus{
		{Network: "wire", Direction: "a->b", File: "rate 5mbit", Now: "rate 2mbit", At: "lcw1", Limits: "32768 bytes for the rate", Mirrors: []lab.MirrorPlace{{Node: "client", At: lab.PlaceBefore}}, Measured: c},
		{Network: "wire", Direction: "b->a", File: "none", Now: "none", As: true, At: "lcw2", Mirrors: []lab.MirrorPlace{{Node: "client", At: lab.PlaceAfter}}},
		{Network: "far", Direction: "a->b", File: "delay 1ms", Failed: "the guest agent does not answer", At: "node mid"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `wire a->b  rate 2mbit  (lcw1)
           the lab's file says rate 5mbit
           queues hold 32768 bytes for the rate
           the mirror of client copies its frames before that
           measured: rate 1.99 of 2 mbit/s, delay 7 of 0 ms (off)
wire b->a  none  (lcw2)
           the mirror of client copies its frames after that
far a->b   not known: the guest agent does not answer  (node mid)
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
