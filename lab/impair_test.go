package lab

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// TestImpairmentThatCannotBeLookedAt is an error, and not one that is gone.
func TestImpairmentThatCannotBeLookedAt(t *testing.T) {
	unnamable := strings.Repeat("x", 200) // the kernel refuses to look for it
	i := Impairment{
		Build:     Build{On: &host.Host{}},
		Network:   topology.Network{Name: "test", MTU: 1500, Wire: &topology.Wire{Ends: [2]topology.WireEnd{{Side: "a", Link: unnamable}, {Side: "b"}}}},
		Direction: topology.Direction{From: "a", To: "b", Impair: topology.Impair{Rate: 1e6}},
	}
	if s, err := i.State(t.Context()); err == nil {
		t.Errorf("it is %s", s)
	}
	if err := i.Destroy(t.Context()); err == nil || !strings.Contains(err.Error(), unnamable) {
		t.Errorf("removing it says %v", err)
	}
	i.Network.Wire.Ends[0].Link = "none"
	if s, err := i.State(t.Context()); s != host.Absent || err != nil {
		t.Errorf("without the link it is %s, %v", s, err)
	}
	if err := i.Destroy(t.Context()); err != nil {
		t.Errorf("without the link: %v", err)
	}
}
