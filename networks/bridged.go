package networks

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// bridgeKind is how the names of labs' bridges begin.
const bridgeKind = "lcb"

// libvirtAccepts is the chain in which libvirt lets pass what stays on one of its bridges.
const libvirtAccepts = "LIBVIRT_FWX"

// withNFTBackend is the version of libvirt since which its rules may stand in a
// table of their own, where another table's policy does not see them.
const withNFTBackend = 10004000

// forwarding is what a host's firewall does with what it forwards, of one family.
type forwarding struct {
	calls   bool            // bridged frames are asked about too (br_netfilter)
	drops   bool            // what no rule accepts is dropped, as Docker has it
	libvirt bool            // libvirt's rules are asked first
	flushed bool            // libvirt's rules are there, and not asked any more
	labs    bool            // a rule accepts what passes a lab's bridges
	passes  map[string]bool // the links that rules accept by their whole name
	bridged bool            // a rule accepts what a bridge passes on, of any (physdev)
}

// Bridged looks whether the host's firewall eats the frames on a lab's bridges.
// Measured: where a policy of DROP stands and br_netfilter is on, libvirt's own
// rules save IPv4 while they stand before it; IPv6 they do not know, and it is lost.
func Bridged(h *host.Host, l topology.Lab) host.Check {
	const name = "bridged frames"
	v4, err := forwards(nftables.TableFamilyIPv4, "iptables")
	if err != nil {
		return host.Unseen(name, err)
	}
	v6, err := forwards(nftables.TableFamilyIPv6, "ip6tables")
	if err != nil {
		return host.Unseen(name, err)
	}
	c := judgeBridged(v4, v6, libvirtJumps(h), routed(l))
	judgeSite(&c, v4, v6, l)
	return c
}

// libvirtJumps says whether this libvirt puts its rules where iptables has its own.
func libvirtJumps(h *host.Host) bool {
	if h.Silent() != nil {
		return true
	}
	v, err := h.GetLibVersion()
	return err != nil || v < withNFTBackend || h.Setting("etc/libvirt/network.conf", "firewall_backend") == "iptables"
}

// routed says whether a network of the lab is routed by the host.
func routed(l topology.Lab) bool {
	for _, n := range l.Networks {
		if n.Uplink == topology.UplinkNAT {
			return true
		}
	}
	return false
}

// judgeBridged judges both families: jumps is whether libvirt will put its rules
// before the policy, once it has a network; routed, whether the lab needs more than bridges.
func judgeBridged(v4, v6 forwarding, jumps, routed bool) host.Check {
	c := host.Check{Name: "bridged frames", Found: v4.String() + "; IPv6: " + v6.String()}
	const rules = "iptables -I FORWARD -i lcb+ -j ACCEPT && iptables -I FORWARD -o lcb+ -j ACCEPT (a lab's own table still drops what is not published)"
	const rules6 = "ip6tables -I FORWARD -i lcb+ -o lcb+ -j ACCEPT"
	const aside = "; or, where no container needs it, sysctl -w net.bridge.bridge-nf-call-"
	saved := v4.labs || v4.libvirt || jumps && !v4.flushed
	switch {
	case !v4.drops || saved:
	case v4.calls:
		c.Fault("the host's firewall drops IPv4 frames on a lab's bridges: bridge-nf-call-iptables is on, the policy of FORWARD is DROP (as Docker sets it), and no rule of libvirt's comes before it",
			"nodes of one network do not reach each other, while a mirror still shows their frames: it copies them before",
			rules+aside+"iptables=0")
	case routed:
		c.Warn("the policy of FORWARD is DROP (as Docker sets it), and no rule of libvirt's comes before it",
			"nodes do not get out of the lab, nor do other hosts get to its published ports; the host itself, and nodes among themselves, do",
			rules)
	}
	if v6.drops && v6.calls && !v6.labs {
		c.Warn("the host's firewall drops IPv6 frames on a lab's bridges: bridge-nf-call-ip6tables is on, and the policy of ip6tables' FORWARD is DROP",
			"in a lab without subnet6: labctl's own proof is IPv4 and passes, while IPv6 flows of yours would be lost on the way",
			rules6+aside+"ip6tables=0")
	}
	return c
}

func (f forwarding) String() string {
	policy := "FORWARD accepts"
	if f.drops {
		policy = "FORWARD drops"
	}
	if f.calls {
		return policy + ", and is asked about bridged frames"
	}
	return policy + ", and is not asked about bridged frames"
}

// forwards reads the kernel's rules; calls names the switch of br_netfilter's.
func forwards(family nftables.TableFamily, calls string) (forwarding, error) {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-" + calls)
	f := forwarding{calls: err == nil && strings.TrimSpace(string(b)) == "1"} // not there: br_netfilter is not loaded
	c, err := nftables.New()
	if err != nil {
		return f, err
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return f, fmt.Errorf("list chains: %w", err)
	}
	kept := false // libvirt's own chain
	for _, ch := range chains {
		kept = kept || ch.Name == libvirtAccepts
		if ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return f, fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
		}
		f.drops = true
		for _, r := range rules {
			f.libvirt = f.libvirt || jumpsTo(r.Exprs, libvirtAccepts)
			f.labs = f.labs || acceptsLabs(r.Exprs)
			f.accepts(r.Exprs)
		}
	}
	f.flushed = kept && !f.libvirt
	return f, nil
}

func jumpsTo(r rule, chain string) bool {
	for _, e := range r {
		if v, ok := e.(*expr.Verdict); ok && v.Chain == chain {
			return true
		}
	}
	return false
}

// acceptsLabs says whether a rule accepts what comes by, or leaves by, any lab's bridge.
func acceptsLabs(r rule) bool {
	named, accepts := false, false
	for _, e := range r {
		switch e := e.(type) {
		case *expr.Cmp:
			named = named || e.Op == expr.CmpOpEq && bytes.Equal(e.Data, []byte(bridgeKind))
		case *expr.Verdict:
			accepts = e.Kind == expr.VerdictAccept
		}
	}
	return named && accepts
}

// accepts notes the links whose frames a rule accepts: the one named as where they come
// from, and whatever a bridge passes on.
func (f *forwarding) accepts(r rule) {
	var names []string
	accepts, bridged := false, false
	for _, e := range r {
		switch e := e.(type) {
		case *expr.Cmp:
			if e.Op != expr.CmpOpEq { // all but that one
				return
			}
			if len(e.Data) > 0 {
				names = append(names, string(bytes.TrimRight(e.Data, "\x00")))
			}
		case *expr.Match:
			bridged = bridged || e.Name == "physdev"
		case *expr.Verdict:
			accepts = e.Kind == expr.VerdictAccept
		}
	}
	if !accepts {
		return
	}
	f.bridged = f.bridged || bridged
	for _, name := range names {
		if f.passes == nil {
			f.passes = map[string]bool{}
		}
		f.passes[name] = true
	}
}

// judgeSite judges what becomes of frames on bridges of the host's own, of which
// libvirt's rules do not know.
func judgeSite(c *host.Check, v4, v6 forwarding, l topology.Lab) {
	for _, n := range l.Networks {
		for _, s := range n.Segments {
			if !s.Existing {
				continue
			}
			for _, family := range []struct {
				name, tool string
				forwarding
			}{{"IPv4", "iptables", v4}, {"IPv6", "ip6tables", v6}} {
				if !family.drops || !family.calls || family.bridged || family.passes[s.Bridge] {
					continue
				}
				what := fmt.Sprintf("the host's firewall drops %s frames on bridge %s: bridge-nf-call-%s is on, the policy of FORWARD is DROP (as Docker sets it), and no rule passes them",
					family.name, s.Bridge, family.tool)
				fix := fmt.Sprintf("%s -I FORWARD -i %[2]s -o %[2]s -j ACCEPT; or, where no container needs it, sysctl -w net.bridge.bridge-nf-call-%[1]s=0", family.tool, s.Bridge)
				if family.name == "IPv4" {
					c.Fault(what, "nodes on it and those whom they are to reach there do not reach each other", fix)
				} else {
					c.Warn(what, "labctl's own proof is IPv4 and passes, while IPv6 flows of yours would be lost on the way", fix)
				}
			}
		}
	}
}
