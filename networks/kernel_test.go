package networks

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// A kernel that lacks something is told with the module's name, past what else it lacks.
func TestProbesThatFail(t *testing.T) {
	failing := slices.Clone(probes)
	for i := range failing {
		failing[i].try = func(*probed) error { return unix.ENOENT }
	}
	var c host.Check
	if err := probeAll(&c, demo("red", "10.7"), failing); err != nil || len(c.Findings) != len(probes) {
		t.Fatalf("%d findings of %d probes, %v", len(c.Findings), len(probes), err)
	}
	for i, f := range c.Findings {
		if f.Wrong == probes[i].optional || !strings.Contains(f.What, probes[i].name) || f.Why == "" ||
			!strings.Contains(f.Fix, "modprobe "+probes[i].module) {
			t.Errorf("%+v", f)
		}
	}
}

// impaired is the demo with an impairment of its test network.
func impaired(under string, i topology.Impair) topology.Lab {
	l := demo("red", "10.7")
	l.Networks[2].Under, l.Networks[2].Impair = under, map[string]topology.Impair{"server->client": i}
	return l
}

// What an impairment takes of the host is tried, and needed, where the file has such a
// one on a wire; netem is tried without, and wished for.
func TestProbesOfImpairments(t *testing.T) {
	slow := topology.Impair{Rate: 1e6, Queue: 1 << 16, AQM: topology.AQMFqCoDel}
	late := slow
	late.Delay, late.AQM = time.Second, topology.AQMPIE
	for name, c := range map[string]struct {
		lab   topology.Lab
		tried map[string]bool // and whether it is needed
	}{
		"none":      {demo("red", "10.7"), map[string]bool{"netem": false}},
		"in a node": {impaired(topology.UnderNode, late), map[string]bool{"netem": false}},
		"a rate":    {impaired(topology.UnderWire, slow), map[string]bool{"netem": false, "tbf": true, "fq_codel": true}},
		"a delay":   {impaired(topology.UnderWire, late), map[string]bool{"netem": true, "tbf": true, "pie": true}},
	} {
		tried := map[string]bool{}
		for _, p := range probes {
			if strings.HasPrefix(p.module, "sch_") && p.name != "clsact" && !errors.Is(p.try(&probed{lab: c.lab}), errUnasked) {
				if _, twice := tried[p.name]; twice {
					t.Errorf("%s: %s is tried twice", name, p.name)
				}
				tried[p.name] = !p.optional
			}
		}
		if !maps.Equal(tried, c.tried) {
			t.Errorf("%s: tried %v, want %v", name, tried, c.tried)
		}
	}
}
