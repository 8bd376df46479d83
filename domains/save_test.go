package domains

import (
	"context"
	"slices"
	"testing"
)

// A machine that goes on from saved memory has shown what is of a boot.
func TestWaitForOneThatGoesOn(t *testing.T) {
	var met []string
	meet := func(what string, boot bool, of func(Machine) bool) requirement {
		return requirement{what: what, boot: boot, of: of, met: func(context.Context, Machine) error {
			met = append(met, what)
			return nil
		}}
	}
	require(t, meet("agent", false, nil), meet("clock", false, goesOn), meet("booted", true, nil))
	for memory, want := range map[string][]string{"": {"agent", "booted"}, "/saved": {"agent", "clock"}} {
		met = nil
		m := waiting(t)
		m.Memory = memory
		must(t, m.Wait(t.Context(), func(string) {}))
		if !slices.Equal(met, want) {
			t.Errorf("from memory %q: %q, want %q", memory, met, want)
		}
	}
}
