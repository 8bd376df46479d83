package networks

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"

	"github.com/mami-project/labctl/host"
)

// What the firewall does with bridged frames, as it was measured with real machines.
func TestJudgeBridged(t *testing.T) {
	open := forwarding{}
	docker := forwarding{calls: true, drops: true}
	with := func(change func(*forwarding)) forwarding {
		f := docker
		change(&f)
		return f
	}
	uncalled := with(func(f *forwarding) { f.calls = false })
	for name, test := range map[string]struct {
		v4, v6        forwarding
		jumps, routed bool
		state         string
		what, fix     string
	}{
		"nothing drops":                 {open, open, true, true, host.OK, "", ""},
		"asked, and accepts":            {forwarding{calls: true}, forwarding{calls: true}, false, true, host.OK, "", ""},
		"libvirt's rules come first":    {with(func(f *forwarding) { f.libvirt = true }), open, false, true, host.OK, "", ""},
		"and will, with its networks":   {docker, open, true, true, host.OK, "", ""},
		"they did, and were flushed":    {with(func(f *forwarding) { f.flushed = true }), open, true, false, host.Wrong, "IPv4 frames", "iptables -I FORWARD -i lcb+ -j ACCEPT"},
		"they stand in another table":   {docker, open, false, false, host.Wrong, "IPv4 frames", "iptables -I FORWARD -o lcb+ -j ACCEPT"},
		"a rule for labs":               {with(func(f *forwarding) { f.labs = true }), open, false, true, host.OK, "", ""},
		"not asked, and nothing routed": {uncalled, open, false, false, host.OK, "", ""},
		"not asked, and routed":         {uncalled, open, false, true, host.Warning, "policy of FORWARD is DROP", "iptables -I FORWARD -o lcb+ -j ACCEPT"},
		"IPv6":                          {open, docker, true, true, host.Warning, "IPv6 frames", "ip6tables -I FORWARD -i lcb+ -o lcb+ -j ACCEPT"},
		"IPv6, a rule for labs":         {open, with(func(f *forwarding) { f.labs = true }), true, true, host.OK, "", ""},
		"IPv6, not asked":               {open, uncalled, true, true, host.OK, "", ""},
	} {
		c := judgeBridged(test.v4, test.v6, test.jumps, test.routed)
		if c.State() != test.state || c.Found == "" {
			t.Errorf("%s: %s, found %q", name, c.State(), c.Found)
		}
		if test.state == host.OK {
			continue
		}
		if f := c.Findings[0]; len(c.Findings) != 1 || !strings.Contains(f.What, test.what) || !strings.Contains(f.Fix, test.fix) || f.Why == "" {
			t.Errorf("%s: %+v", name, c.Findings)
		}
	}
}

func TestAcceptsLabs(t *testing.T) {
	beginsWith := func(name string) rule {
		return rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(name)}}
	}
	not := rule{&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte("lcb")}}
	jump := rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: libvirtAccepts}}
	for name, test := range map[string]struct {
		rule []rule
		want bool
	}{
		"labs' bridges":     {[]rule{beginsWith("lcb"), accept}, true},
		"others' bridges":   {[]rule{beginsWith("virbr"), accept}, false},
		"all but labs'":     {[]rule{not, accept}, false},
		"labs' are dropped": {[]rule{beginsWith("lcb"), drop}, false},
		"a jump":            {[]rule{beginsWith("lcb"), jump}, false},
	} {
		var c chain
		c.add(test.rule...)
		if got := acceptsLabs(c.rules[0]); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !jumpsTo(jump, libvirtAccepts) || jumpsTo(jump, "DOCKER-USER") || jumpsTo(accept, libvirtAccepts) {
		t.Error("a jump to libvirt's chain is not told from others")
	}
}

// Of bridges of the host's own libvirt's rules do not know.
func TestJudgeSite(t *testing.T) {
	l := demo("red", "10.7")
	l.Networks[0].Segments[0].Bridge, l.Networks[0].Segments[0].Existing = "br0", true
	rules := func(rs ...rule) (f forwarding) {
		f.calls, f.drops, f.libvirt = true, true, true
		for _, r := range rs {
			f.accepts(r)
		}
		return f
	}
	named := func(op expr.CmpOp, name string) rule { return linkName(expr.MetaKeyIIFNAME, op, name) }
	for name, test := range map[string]struct {
		v4, v6 forwarding
		want   string
	}{
		"nothing drops":       {forwarding{calls: true}, forwarding{}, host.OK},
		"not asked":           {forwarding{drops: true}, forwarding{}, host.OK},
		"dropped":             {rules(), forwarding{}, host.Wrong},
		"IPv6 is dropped":     {forwarding{}, rules(), host.Warning},
		"accepted":            {rules(slices.Concat(named(expr.CmpOpEq, "br0"), accept)), forwarding{}, host.OK},
		"another is accepted": {rules(slices.Concat(named(expr.CmpOpEq, "br01"), accept)), forwarding{}, host.Wrong},
		"all but it":          {rules(slices.Concat(named(expr.CmpOpNeq, "br0"), accept)), forwarding{}, host.Wrong},
		"what is bridged":     {rules(slices.Concat(rule{&expr.Match{Name: "physdev"}}, accept)), forwarding{}, host.OK},
		"it is dropped":       {rules(slices.Concat(named(expr.CmpOpEq, "br0"), drop)), forwarding{}, host.Wrong},
	} {
		var c host.Check
		judgeSite(&c, test.v4, test.v6, l)
		if c.State() != test.want {
			t.Errorf("%s: %s, want %s", name, c.State(), test.want)
		}
		for _, f := range c.Findings {
			if !strings.Contains(f.Fix, "tables -I FORWARD -i br0 -o br0 -j ACCEPT") {
				t.Errorf("%s: the way out is %q", name, f.Fix)
			}
		}
	}
	var c host.Check
	if judgeSite(&c, rules(), rules(), demo("red", "10.7")); len(c.Findings) > 0 {
		t.Errorf("of a lab on no bridge of the host's: %+v", c.Findings)
	}
}
