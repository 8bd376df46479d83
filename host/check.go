package host

import "context"

// Check is one thing that was looked at on the host, and what is wrong with it.
type Check struct {
	Name     string // "libvirt", "memory"
	Found    string // what there is, for those who read on
	Findings []Finding
}

// Finding is one thing that keeps labs from working, or makes them worse.
type Finding struct {
	Unfit
	Why   string // it matters
	Wrong bool   // the lab could not work; else it works, but worse
}

// The states of a Check.
const (
	OK      = "ok"
	Warning = "warning" // labs work, but worse
	Wrong   = "wrong"   // the lab could not work
)

// State is that of the worst finding.
func (f Finding) State() string {
	if f.Wrong {
		return Wrong
	}
	return Warning
}

// State is that of the worst finding.
func (c Check) State() string {
	state := OK
	for _, f := range c.Findings {
		if state = f.State(); state == Wrong {
			break
		}
	}
	return state
}

// Fault adds what keeps the lab from working: what is wrong, why it matters, and the command that
// fixes it.
func (c *Check) Fault(what, why, fix string) {
	c.Findings = append(c.Findings, Finding{Unfit{what, fix}, why, true})
}

// Warn adds what lets labs work, but worse.
func (c *Check) Warn(what, why, fix string) {
	c.Findings = append(c.Findings, Finding{Unfit{what, fix}, why, false})
}

// Unseen is a check that could not be made.
func Unseen(name string, err error) Check {
	c := Check{Name: name, Found: "could not be looked at"}
	c.Warn(err.Error(), "whether labs can work is not known", "mend that, and run labctl doctor again")
	return c
}

// Examine makes every check of the host, those of Preflight among them, past
// whatever is wrong. It changes nothing.
func Examine(ctx context.Context, h *Host, n Needs) []Check {
	var all []Check
	for _, observe := range observations {
		all = append(all, observe(ctx, h, n))
	}
	for _, p := range preflight {
		all = append(all, p.examine(ctx, h, n))
	}
	return all
}

// observations are the checks that up does not wait for: what they find costs
// time or truth, or up would meet it at once.
var observations = []func(context.Context, *Host, Needs) Check{
	seesLibvirt, seesQEMU, seesCapabilityCache, seesConfinement, seesClock,
}

// examine is the check with what it finds in words.
func (p preflightCheck) examine(ctx context.Context, h *Host, n Needs) Check {
	unfits, err := p.look(ctx, h, n)
	c := Check{Name: p.name, Found: p.found(h, n)}
	if err != nil {
		c.Fault(err.Error(), "labctl up looks at this first, and would end here", "mend that, and run labctl doctor again")
	}
	for _, u := range unfits {
		c.Fault(u.What, p.why, u.Fix)
	}
	if p.more != nil {
		p.more(&c, h, n)
	}
	return c
}
