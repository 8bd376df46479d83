package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bridge is a bridge of the host's own that a lab's network is, or a side of one. The
// nodes are plugged into it; nothing else about it is changed.
type Bridge struct {
	For      string // "network control"
	Name     string
	MTU      int          // that the lab's network has (bytes)
	Subnet   netip.Prefix // in which the host reaches nodes; the zero Prefix on a side
	Measured bool         // a side: what passes it is measured
}

// What the kernel says of a link whose MAC somebody has set.
// Source: NET_ADDR_SET of linux/netdevice.h.
const macIsSet = "3"

// lastMAC is the first byte of the MACs that libvirt gives to taps, higher than others',
// so that a bridge, which takes the lowest of its ports', keeps the one that it has.
const lastMAC = 0xfe

// hasBridges looks whether nodes can be plugged into the bridges without anything of
// theirs being changed by it.
func hasBridges(_ context.Context, h *Host, n Needs) (Unfits, error) {
	var all Unfits
	for _, b := range n.Bridges {
		u, err := h.judgeBridge(b, n.Taken[b.Name])
		if err != nil {
			return nil, err
		}
		all = append(all, u...)
	}
	return all, nil
}

func (h *Host) judgeBridge(b Bridge, taken string) (Unfits, error) {
	named := b.For + ": bridge " + b.Name
	switch {
	case !h.there(netLinks, b.Name, "flags"):
		fix, err := h.bridges()
		return Unfits{{
			fmt.Sprintf("%s: there is no bridge %s on this host", b.For, b.Name),
			fix + fmt.Sprintf("; or make it, and plug into it what is to be there: ip link add %[1]s type bridge && ip link set %[1]s up", b.Name),
		}}, err
	case !h.there(netLinks, b.Name, "bridge"):
		fix, err := h.bridges()
		return Unfits{{fmt.Sprintf("%s: link %s is no bridge of the kernel's", b.For, b.Name), fix}}, err
	case taken != "":
		return Unfits{{named + " is that of " + taken, "name another bridge: it goes when that does"}}, nil
	}
	var all Unfits
	if !h.isUp(b.Name) {
		all = append(all, Unfit{named + " is down: it passes nothing", "ip link set " + b.Name + " up"})
	}
	if has := h.told(netLinks, b.Name, "mtu"); has != strconv.Itoa(b.MTU) {
		all = append(all, Unfit{
			fmt.Sprintf("%s has an MTU of %s, and the network one of %d: a bridge takes the lowest of its ports', and loses frames that are longer", named, has, b.MTU),
			fmt.Sprintf("write mtu: %s in the file; or, where all that is on the bridge can have it: ip link set %s mtu %d", has, b.Name, b.MTU),
		})
	}
	if kept, err := h.keepsMAC(b.Name); err != nil {
		return nil, err
	} else if !kept {
		all = append(all, Unfit{
			named + " has the MAC of none of its ports, nor a fixed one: it would take a node's, and lose it with the lab",
			fmt.Sprintf("ip link set %s address %s (the one that it has now)", b.Name, h.told(netLinks, b.Name, "address")),
		})
	}
	if h.told(netLinks, b.Name, "bridge", "vlan_filtering") == "1" && h.told(netLinks, b.Name, "bridge", "default_pvid") == "0" {
		all = append(all, Unfit{
			named + " filters VLANs, and puts a new port into none: no frame of a node would pass",
			fmt.Sprintf("give new ports a VLAN: ip link set %s type bridge vlan_default_pvid 1; or name a bridge that filters none", b.Name),
		})
	}
	return all, nil
}

// keepsMAC says whether a bridge's MAC stays when taps come and go: it is set, or that
// of another port.
func (h *Host) keepsMAC(bridge string) (bool, error) {
	if h.told(netLinks, bridge, "addr_assign_type") == macIsSet {
		return true, nil
	}
	ports, err := h.list(netLinks, bridge, "brif")
	return slices.ContainsFunc(ports, func(port string) bool {
		mac, err := net.ParseMAC(h.told(netLinks, port, "address"))
		return err == nil && mac[0] < lastMAC
	}), err
}

// bridges is a way out that names the host's bridges.
func (h *Host) bridges() (string, error) {
	links, err := h.list(netLinks)
	links = slices.DeleteFunc(links, func(link string) bool { return !h.there(netLinks, link, "bridge") })
	if len(links) == 0 {
		return "name a bridge of this host: it has none", err
	}
	return "name a bridge of this host: " + strings.Join(links, ", "), err
}

// Disturbs is what a lab works with on the host's own bridges, and yet is worse for:
// what spoils measurements there, and nodes that the host does not reach.
func (h *Host) Disturbs(n Needs) ([]Finding, error) {
	if len(n.Bridges) == 0 {
		return nil, nil
	}
	t, err := h.traffic()
	if err != nil {
		return nil, err
	}
	var c Check
	var measured []string
	for _, b := range n.Bridges {
		if !h.there(netLinks, b.Name, "bridge") {
			continue // hasBridges says so
		}
		if b.Subnet.IsValid() && !t.reaches(b.Subnet.Addr()) {
			c.Warn(fmt.Sprintf("%s: the host has no address in %s, and no route there", b.For, b.Subnet),
				"labctl ssh, cp and run do not reach the nodes; exec and console do, and the proof needs neither",
				fmt.Sprintf("give the host an address that is free there: ip address add ADDRESS/%d dev %s", b.Subnet.Bits(), b.Name))
		}
		if b.Measured {
			measured = append(measured, b.Name)
			h.disturbs(&c, b, t)
		}
	}
	h.asks(&c, measured)
	return c.Findings, nil
}

// disturbs is what a bridge adds to, or keeps from, what is measured on it.
func (h *Host) disturbs(c *Check, b Bridge, t traffic) {
	named := b.For + ": bridge " + b.Name
	is := func(setting string) string { return h.told(netLinks, b.Name, "bridge", setting) }
	if stp := is("stp_state"); stp != "" && stp != "0" {
		c.Warn(named+" speaks the spanning tree protocol",
			"its frames are among those measured, and it lets a node's pass only seconds after the node was plugged in",
			fmt.Sprintf("where no loop can be: ip link set %s type bridge stp_state 0", b.Name))
	}
	if is("multicast_snooping") == "1" {
		c.Warn(named+" looks into multicast (multicast_snooping)",
			"it may keep multicast frames from nodes that have not asked for them as it expects",
			fmt.Sprintf("ip link set %s type bridge mcast_snooping 0", b.Name))
	}
	for _, a := range t.addresses {
		if a.Link == b.Name && a.Prefix.Addr().Is4() {
			c.Warn(fmt.Sprintf("%s has the host's address %s", named, a.Prefix), "what the host says there, ARP too, is among what is measured",
				fmt.Sprintf("where the host needs none there: ip address del %s dev %s", a.Prefix, b.Name))
		}
	}
	if h.told("proc/sys/net/ipv6/conf", b.Name, "disable_ipv6") == "0" {
		c.Warn("the host speaks IPv6 on "+b.Name+", "+b.For, "its discovery of neighbours and routers is among what is measured",
			fmt.Sprintf("where the host needs none there: sysctl -w net.ipv6.conf.%s.disable_ipv6=1", b.Name))
	}
	ports, _ := h.list(netLinks, b.Name, "brif")
	for _, port := range ports {
		if !h.there(netLinks, port, "device") {
			continue // no hardware that frames come from
		}
		if on, err := Offloads(port); err == nil && slices.ContainsFunc(on, merges) {
			c.Warn(fmt.Sprintf("%s of bridge %s puts frames that come in together (%s)", port, b.Name, strings.Join(slices.DeleteFunc(on, func(o string) bool { return !merges(o) }), ", ")),
				"they are parted again before a node gets them, but not with the times that they came at",
				fmt.Sprintf("ethtool -K %s gro off lro off", port))
		}
	}
}

// asks is that br_netfilter has the firewall see each frame on the bridges.
func (h *Host) asks(c *Check, bridges []string) {
	var on []string
	for _, family := range []string{"iptables", "ip6tables"} {
		if h.told("proc/sys/net/bridge/bridge-nf-call-"+family) == "1" {
			on = append(on, "bridge-nf-call-"+family)
		}
	}
	if len(bridges) == 0 || len(on) == 0 {
		return
	}
	fix := "where no container needs it: sysctl -w"
	for _, call := range on {
		fix += " net.bridge." + call + "=0"
	}
	c.Warn(fmt.Sprintf("the host's firewall is asked about each frame on %s (%s)", strings.Join(bridges, " and "), strings.Join(on, ", ")),
		"it takes time for each, keeps an account of flows and puts fragments together: frames are not as on a cable", fix)
}

// merges says whether an offload puts received frames together.
func merges(offload string) bool {
	return strings.HasPrefix(offload, "rx-gro") || offload == "rx-lro"
}

// reaches says whether the host has a way to an address that is not everybody's: a
// default gateway knows no bridge of the host's.
func (t traffic) reaches(a netip.Addr) bool {
	return slices.ContainsFunc(t.routes, func(r hostRoute) bool { return r.To.Bits() > 1 && r.To.Contains(a) })
}

// Reaches says whether the host has a way to an address, the default route aside.
func (h *Host) Reaches(a netip.Addr) (bool, error) {
	t, err := h.traffic()
	return t.reaches(a), err
}

// bridgesFound names the bridges, for doctor.
func bridgesFound(_ *Host, n Needs) string {
	if len(n.Bridges) == 0 {
		return "the lab is on none of the host's own"
	}
	var all []string
	for _, b := range n.Bridges {
		all = append(all, fmt.Sprintf("%s (%s)", b.Name, b.For))
	}
	return strings.Join(all, ", ")
}

// disturbedBridges adds what Disturbs finds, for doctor.
func disturbedBridges(c *Check, h *Host, n Needs) {
	found, err := h.Disturbs(n)
	if err != nil {
		c.Warn(err.Error(), "what disturbs measurements there is not known", "mend that, and run labctl doctor again")
	}
	c.Findings = append(c.Findings, found...)
}
