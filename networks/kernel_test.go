package networks

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// A kernel that lacks something is told with the module's name, past what else it lacks.
func TestProbesThatFail(t *testing.T) {
	before := slices.Clone(probes)
	t.Cleanup(func() { probes = before })
	probes = slices.Clone(before)
	for i := range probes {
		probes[i].try = func(*probed) error { return unix.ENOENT }
	}
	var c host.Check
	if err := probeAll(&c, demo("red", "10.7")); err != nil || len(c.Findings) != len(probes) {
		t.Fatalf("%d findings of %d probes, %v", len(c.Findings), len(probes), err)
	}
	for i, f := range c.Findings {
		if f.Wrong == probes[i].optional || !strings.Contains(f.What, probes[i].name) || f.Why == "" ||
			!strings.Contains(f.Fix, "modprobe "+probes[i].module) {
			t.Errorf("%+v", f)
		}
	}
}
