package shape

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// TestScript: what a node's bash and tc are told.
func TestScript(t *testing.T) {
	all := map[string]topology.Impair{"none": {}}
	for name, i := range impairs {
		all[name] = i
	}
	for name, i := range all {
		t.Run(name, func(t *testing.T) {
			script, err := Script(i, 1500)
			if err != nil {
				t.Fatal(err)
			}
			check := exec.CommandContext(t.Context(), "bash", "-n")
			check.Stdin = strings.NewReader(script)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("bash: %v\n%s", err, out)
			}
			if numbered := table(i.Distribution); numbered != nil {
				want := numbers(numbered)
				if strings.Count(script, want) != 1 || len(strings.Fields(want)) != tableSize {
					t.Error("its table is not there")
				}
				script = strings.Replace(script, want, "(the table)\n", 1)
			}
			golden(t, name+".sh", script)
		})
	}
}

// TestPercent: tc makes of it the chance that the kernel is told otherwise.
func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{0.00025: "0.025%", 1: "100%", 1. / 3: "33.33333333%", 0.01 / 0.99 / 5: "0.2020202%", 1e-9: "0.0000001%"} {
		if got := percent(share); got != want {
			t.Errorf("%g is %s, want %s", share, got, want)
		}
	}
}
