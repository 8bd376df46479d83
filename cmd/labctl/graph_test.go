package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/lab/graph"
	"github.com/mami-project/labctl/networks"
)

// TestLiveOf: a drawing of what is up has what a status tells.
func TestLiveOf(t *testing.T) {
	s := aLab(true, 12, 3400)
	s.Nodes = append(s.Nodes, lab.NodeStatus{Name: "tshark", State: "partial", NICs: []lab.NICStatus{{Network: "test", Mirror: "client", HostState: "absent"}}},
		lab.NodeStatus{Name: "server", State: "present"}, lab.NodeStatus{Name: "lost", State: "absent"})
	s.Networks = []lab.NetworkStatus{{Name: "test", Segments: []lab.SegmentStatus{{Side: "a", State: "present"}, {Side: "b", State: "partial"}}}}
	s.Mirror[0].Counters.Dropped = 3
	s.Mirror = append(s.Mirror, lab.MirrorStatus{From: "server", To: "lost", State: "absent"})
	s.Impairments = []lab.ImpairmentStatus{{Network: "test", Direction: "a->b", Now: "rate 2mbit"}, {Network: "test", Direction: "b->a", Failed: "it does not answer"}}
	want := &graph.Live{
		State: "whole",
		Nodes: map[string]string{"client": "ready", "tshark": "off", "server": "not ready", "lost": "absent"},
		NICs: map[graph.Place]graph.NICLive{
			{Node: "client", Network: "test", Side: "a"}:  {State: "up", Counted: true, Sent: 12},
			{Node: "tshark", Network: "test", Copy: true}: {State: "absent"},
		},
		Segments: map[graph.Place]string{{Network: "test", Side: "b"}: "partial"},
		Mirrors:  map[string]graph.Mirrored{"client": {Counted: true, Copied: 12, Dropped: 3}, "server": {State: "absent"}},

		Impairments: map[string]string{"test/a->b": "rate 2mbit"},
	}
	if d := cmp.Diff(want, liveOf(s)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n := lost(networks.Counters{Dropped: 1, Sent: networks.Copied{Failed: 2}, Received: networks.Copied{Failed: 4}}); n != 7 {
		t.Errorf("%d frames lost of 7", n)
	}
}
