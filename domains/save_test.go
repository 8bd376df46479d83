package domains

import (
	"context"
	"strings"
	"testing"
)

// A machine that goes on from saved memory has shown what is of a boot.
func TestWaitForOneThatGoesOn(t *testing.T) {
	var met []string
	meet := func(what string, when func(Machine) phase, of func(Machine) bool) requirement {
		return requirement{what: what, when: when, of: of, met: func(context.Context, Machine) error {
			met = append(met, what)
			return nil
		}}
	}
	require(t, meet("agent", unlessItWorks, nil), meet("clock", always, goesOn), meet("booted", atBoot, nil), meet("services", inTheEnd, nil))
	for name, test := range map[string]struct {
		memory string
		works  bool
		want   string
	}{
		"it boots":              {"", false, "agent booted services proof"},
		"it goes on":            {"/saved", false, "agent clock proof services"},
		"it goes on, and works": {"/saved", true, "clock proof agent services"},
	} {
		met = nil
		m := waiting(t)
		m.Memory, m.Works = test.memory, test.works
		must(t, m.Wait(t.Context(), func(string) {}))
		met = append(met, "proof")
		must(t, m.WaitMeanwhile(t.Context(), func(string) {}))
		must(t, m.WaitInTheEnd(t.Context(), func(string) {}))
		if got := strings.Join(met, " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
