package domains

import (
	"context"
	"slices"
	"testing"
)

// A machine that goes on from saved memory has shown what is of a boot.
func TestWaitForOneThatGoesOn(t *testing.T) {
	var met []string
	meet := func(what string, when when, of func(Machine) bool) requirement {
		return requirement{what: what, when: when, of: of, met: func(context.Context, Machine) error {
			met = append(met, what)
			return nil
		}}
	}
	require(t, meet("agent", always, nil), meet("clock", always, goesOn), meet("booted", atBoot, nil), meet("services", inTheEnd, nil))
	for memory, want := range map[string][]string{
		"":       {"agent", "booted", "services", "proof"},
		"/saved": {"agent", "clock", "proof", "services"},
	} {
		met = nil
		m := waiting(t)
		m.Memory = memory
		must(t, m.Wait(t.Context(), func(string) {}))
		met = append(met, "proof")
		must(t, m.WaitInTheEnd(t.Context(), func(string) {}))
		if !slices.Equal(met, want) {
			t.Errorf("from memory %q: %q, want %q", memory, met, want)
		}
	}
}
