package topology

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What the kernel calls a PCI device (domain, bus, slot, function), and what links
// are called; the kernel would let them be almost anything, .. and $(…) too.
var (
	pciAddress   = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`)
	shortAddress = regexp.MustCompile(`^[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`)
	linkName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,14}$`)
)

const (
	mostVLAN = 4094 // IEEE 802.1Q has 12 bits, and reserves the first and the last
	linkHint = "expected a link of the host as ip -br link lists them, such as enp6s0f1"
)

// passthrough: a device is named in one way, and as the kernel names it.
func passthrough(c *checker, n *draftNIC) {
	p := n.Passthrough
	if p == nil {
		return
	}
	at := n.at.to("passthrough")
	const one = `expected a PCI address, such as "0000:3b:00.0", or a map with one of device, pf and macvtap`
	switch named := slices.DeleteFunc([]string{p.Device, p.PF, p.Macvtap}, func(s string) bool { return s == "" }); {
	case len(named) == 0:
		c.problem(at, fmt.Sprintf("%s names no device", at), one)
		return
	case len(named) > 1:
		c.problem(at, fmt.Sprintf("%s names %s at once", at, strings.Join(named, " and ")), one)
		return
	}
	if p.Device != "" && !pciAddress.MatchString(p.Device) {
		hint := `expected a PCI address as lspci -D lists them, such as "0000:3b:00.0"`
		if low := strings.ToLower(p.Device); pciAddress.MatchString(low) {
			hint = fmt.Sprintf("did you mean %q?", low)
		} else if shortAddress.MatchString(low) {
			hint = fmt.Sprintf("did you mean %q?", "0000:"+low)
		}
		c.problem(at, fmt.Sprintf("%s is %s, which is no PCI address", at, show(p.Device)), hint)
	}
	c.checkLink(at.to("pf"), p.PF)
	c.checkLink(at.to("macvtap"), p.Macvtap)
	if p.VLAN != nil && p.PF == "" {
		c.problem(at.to("vlan"), fmt.Sprintf("%s has a VLAN, and is no virtual function of a NIC", at), "only with pf: is there one: remove vlan:")
	} else if p.VLAN != nil && (*p.VLAN < 1 || *p.VLAN > mostVLAN) {
		c.problem(at.to("vlan"), fmt.Sprintf("%s is %d", at.to("vlan"), *p.VLAN), fmt.Sprintf("expected 1 to %d", mostVLAN))
	}
	if p.Take && p.PF != "" {
		c.problem(at.to("take"), fmt.Sprintf("%s is to be taken, and is any free virtual function", at), "one that the host has an address on is not free: remove take:")
	}
	if n.network != nil && !n.network.sided() {
		c.problem(at, fmt.Sprintf("%s, and %s has no sides: the host could not reach the node by it", at, n.network.at), "measurement NICs are on networks with sides: remove passthrough: for a virtio NIC")
	}
}

func (c *checker) checkLink(p path, name string) {
	if name != "" && !linkName.MatchString(name) {
		c.problem(p, fmt.Sprintf("%s is %s, which can be no link's name", p, show(name)), linkHint)
	}
}

// uplinks: each joins a side that there is.
func uplinks(c *checker, n *draftNetwork) {
	if n.Uplinks == nil {
		return
	}
	p := n.at.to("uplinks")
	if !n.sided() {
		c.problem(p, fmt.Sprintf("%s has uplinks by side, and no sides", n.at), "add the two sides, such as sides: [client, server], or write uplink: for a plain network")
		return
	}
	for _, side := range slices.Sorted(maps.Keys(n.Uplinks)) {
		switch nic := n.Uplinks[side]; {
		case !slices.Contains(n.Sides, side):
			c.problem(p.to(side), fmt.Sprintf("%s has an uplink for unknown side %s", n.at, show(side)), meant(side, "sides", n.Sides))
		case nic == "":
			c.problem(p.to(side), fmt.Sprintf("%s names no NIC", p.to(side)), linkHint)
		case strings.HasPrefix(nic, UplinkBridge+":"):
			c.checkBridge(p.to(side), n.bridgeOf(side))
		default:
			c.checkLink(p.to(side), nic)
		}
	}
	if bridge := n.bridgeOf(n.Sides[0]); len(n.Sides) == 2 && bridge != "" && n.bridgeOf(n.Sides[1]) == bridge {
		c.problem(p, fmt.Sprintf("both sides of %s are bridge %s: they are one segment, and nothing is under test", n.at, show(bridge)), "name a bridge of its own for each side, with the network under test between them")
	}
}

// mirrorPort: it is a link's name, and the one place where the copy is taken.
func mirrorPort(c *checker, n *draftNIC) {
	if n.Mirror != nil {
		c.checkLink(n.at.to("mirror", "port"), n.Mirror.Port)
	}
}

// deviceTwice finds two uses of one NIC of the host.
func deviceTwice(c *checker) {
	first := make(map[string]path)
	for _, u := range c.uses() {
		if other, twice := first[u.nic]; twice {
			c.problem(u.at, fmt.Sprintf("%s of the host is %s already", show(u.nic), other), "a NIC has one use: name another one")
			continue
		}
		first[u.nic] = u.at
	}
}

// cable: where a node has a device of the host, something leads its frames to the others.
func cable(c *checker, n *draftNetwork) {
	if !n.sided() || n.Uplinks != nil {
		return
	}
	for _, device := range n.nics {
		if device.Passthrough == nil {
			continue
		}
		for _, other := range n.nics {
			if other.Passthrough == nil {
				c.problem(device.at.to("passthrough"), fmt.Sprintf("%s is a device of the host, and nothing leads from its cable to %s", device.at, other.node.at),
					fmt.Sprintf("name the NIC of the host at the cable's other end in uplinks: {%s: NIC} of %s", device.Side, n.at))
				return
			}
		}
	}
}

// mirrorShared: what is copied at an uplink is all that passes it.
func mirrorShared(c *checker, n *draftNIC) {
	from := n.copied
	if from == nil {
		return
	}
	if n.capturePoint(c.Name).Kind != PointUplink {
		return
	}
	for _, other := range from.network.nics {
		if other != from && other.Side == from.Side && other.Passthrough != nil {
			c.problem(n.at.to("mirror"), fmt.Sprintf("%s mirrors %s, whose uplink carries the frames of %s too", n.node.at, n.from.at, other.node.at),
				"leave one of the two on that side, or name the NIC that a switch's mirror port feeds: mirror: {from: "+n.from.name+", port: NIC}")
			return
		}
	}
}

// mirroredTwice finds a node whose frames two others are to receive.
func mirroredTwice(c *checker) {
	first := make(map[*draftNIC]*draftNode)
	for _, n := range c.nodes {
		m := n.capture()
		if m == nil || m.copied == nil {
			continue
		}
		if other := first[m.copied]; other != nil {
			c.problem(m.at.to("mirror"), fmt.Sprintf("%s mirrors %s, which %s does already", n.at, m.from.at, other.at), "two mirrors of one NIC are not yet supported: capture in one of the two")
			continue
		}
		first[m.copied] = n
	}
}

// bridgeKind: only bridges that labctl makes for sides are of a kind.
func bridgeKind(c *checker, n *draftNetwork) {
	p := n.at.to("bridge")
	if n.Bridge == "" {
		return
	}
	if !n.sided() {
		c.problem(p, fmt.Sprintf("%s is %s, and %s has no sides", p, show(n.Bridge), n.at), "only the bridges of sides are of another kind: remove bridge:, or add the two sides, such as sides: [client, server]")
		return
	}
	c.oneOf(p, n.Bridge, BridgeLinux, BridgeOVS)
	own := func(side string) bool { return n.bridgeOf(side) == "" }
	if n.Bridge == BridgeOVS && !slices.ContainsFunc(n.Sides, own) {
		c.problem(p, fmt.Sprintf("%s is %s, and both sides of %s are bridges of the host", p, BridgeOVS, n.at), "labctl makes none there: remove bridge:, or name a NIC of the host in uplinks:")
	}
}
