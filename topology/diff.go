package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Differences are what has to change for the old lab to become the new one, a
// line each: "nodes.tshark.memory: 512 MiB → 1024 MiB". None means that the two
// are the same lab.
func Differences(old, now Lab) []string {
	lines := compare("", old.facts(), now.facts())
	lines = append(lines, compareAll("networks", old.Networks, now.Networks, func(n Network) string { return n.Name }, Network.facts)...)
	lines = append(lines, compareAll("images", old.Images, now.Images, func(i Image) string { return i.Name }, Image.facts)...)
	return append(lines, compareAll("nodes", old.Nodes, now.Nodes, func(n Node) string { return n.Name }, Node.facts)...)
}

// fact is a decided value in the user's words.
type fact struct{ key, value string }

func (l Lab) facts() []fact {
	return []fact{{"name", l.Name}, {"accel", l.Accel}}
}

func (n Network) facts() []fact {
	var sides, uplinks, impaired []string
	uplink, wayOut, bridge := n.Uplink, "", ""
	if n.Sided() {
		bridge = BridgeLinux
	}
	if n.Out.IsValid() {
		wayOut = n.Out.String()
	}
	for _, s := range n.Segments {
		if !n.Sided() {
			if s.Existing {
				uplink += " " + s.Bridge
			}
			continue
		}
		sides = append(sides, s.Side)
		if s.OVS {
			bridge = BridgeOVS
		}
		if s.Uplink != "" {
			uplinks = append(uplinks, s.Side+" by "+s.Uplink)
		} else if s.Existing {
			uplinks = append(uplinks, s.Side+" on bridge "+s.Bridge)
		}
	}
	for _, d := range n.Directions() {
		if !d.Impair.IsZero() {
			impaired = append(impaired, d.String()+": "+d.Impair.String())
		}
	}
	return []fact{
		{"subnet", join(n.Subnets(), netip.Prefix.String)},
		{"subnet6", join(n.Subnets6(), netip.Prefix.String)},
		{"uplink", uplink},
		{"gateway", wayOut},
		{"sides", strings.Join(sides, ", ")},
		{"under-test", strings.TrimSpace(n.Under + " " + n.Router)},
		{"uplinks", strings.Join(uplinks, ", ")},
		{"bridge", bridge},
		{"mtu", fmt.Sprint(n.MTU)},
		{"impair", strings.Join(impaired, "; ")},
	}
}

func (i Image) facts() []fact {
	return []fact{
		{"path", i.Path},
		{"sha256", i.SHA256},
		{"guest", i.Guest},
		{"configure", i.Configure},
		{"recipe", i.Recipe},
	}
}

func (n Node) facts() []fact {
	return []fact{
		{"image", n.Image},
		{"cpus", fmt.Sprint(n.CPUs)},
		{"memory", fmt.Sprintf("%d MiB", n.MemoryMiB)},
		{"disk", fmt.Sprintf("%d MiB", n.DiskBytes>>20)},
		{"forward", fmt.Sprint(n.Forward)},
		{"services", strings.Join(n.Services, ", ")},
		{"publish", join(n.Publish, Publish.String)},
		{"nics", join(n.NICs, NIC.text)},
	}
}

// text is the NIC in the user's words: "10.7.2.40/24 on test/client".
func (n NIC) text() string {
	on := n.Network
	if n.Side != "" {
		on += "/" + n.Side
	}
	if n.Mirror != "" {
		text := "mirror of " + n.Mirror + " on " + on
		if n.Point.Kind == PointPort {
			text += " from " + n.Point.Link
		}
		return text
	}
	text := join(n.Addresses(), netip.Prefix.String) + " on " + on
	if n.Host != (HostDevice{}) {
		text += " by " + n.Host.String()
	}
	return text
}

// String is the device as the file asks for it: "0000:3b:00.0", "a virtual function of enp59s0f0".
func (d HostDevice) String() string {
	switch {
	case d.Macvtap != "":
		return "a macvtap on " + d.Macvtap
	case d.PF == "":
		return d.PCI
	case d.VLAN != 0:
		return fmt.Sprintf("a virtual function of %s in VLAN %d", d.PF, d.VLAN)
	default:
		return "a virtual function of " + d.PF
	}
}

func join[T any](things []T, text func(T) string) string {
	texts := make([]string, len(things))
	for i, t := range things {
		texts[i] = text(t)
	}
	return strings.Join(texts, ", ")
}

// compare goes through two lists of the same keys.
func compare(prefix string, old, now []fact) []string {
	var lines []string
	for i := range now {
		if old[i].value != now[i].value {
			lines = append(lines, fmt.Sprintf("%s%s: %s → %s", prefix, now[i].key, orNone(old[i].value), orNone(now[i].value)))
		}
	}
	return lines
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// compareAll goes through two lists of named things: those of the old one, what
// was added, and their order, which decides how names resolve.
func compareAll[T any](kind string, old, now []T, name func(T) string, facts func(T) []fact) []string {
	byName := make(map[string]T, len(now))
	for _, t := range now {
		byName[name(t)] = t
	}
	var lines, kept, left []string
	had := make(map[string]bool, len(old))
	for _, t := range old {
		had[name(t)] = true
		next, ok := byName[name(t)]
		if !ok {
			lines = append(lines, fmt.Sprintf("%s.%s: removed", kind, name(t)))
			continue
		}
		kept = append(kept, name(t))
		lines = append(lines, compare(kind+"."+name(t)+".", facts(t), facts(next))...)
	}
	for _, t := range now {
		if had[name(t)] {
			left = append(left, name(t))
		} else {
			lines = append(lines, fmt.Sprintf("%s.%s: added", kind, name(t)))
		}
	}
	if !slices.Equal(kept, left) {
		lines = append(lines, fmt.Sprintf("%s: in another order", kind))
	}
	return lines
}
