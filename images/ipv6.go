package images

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mami-project/labctl/topology"
)

// IPv6 is off in every node but on NICs that are given an address of it. These ask for
// nothing, neither routers nor whether their addresses are free: it would stand among
// the frames that are measured. Their link-local addresses stay, without which Linux
// does not ask for neighbours again.

// addIPv6 is what the guest's network script does for a NIC with IPv6. Settings are
// made before any of its links is up.
func addIPv6(b *bytes.Buffer, c topology.NIC) {
	if !c.Address6.IsValid() {
		return
	}
	for _, s := range []string{"accept_ra 0", "accept_dad 0", "disable_ipv6 0"} {
		fmt.Fprintf(b, "%s sysctl net/ipv6/conf/LINK/%s\n", c.MAC, s)
	}
	fmt.Fprintf(b, "%s ip address replace %s dev LINK nodad\n", c.MAC, c.Address6)
	if c.Gateway6.IsValid() { // ip-batch(8) tells the kind of IP by the prefix: not by "default"
		fmt.Fprintf(b, "%s ip route replace ::/0 via %s dev LINK\n", c.MAC, c.Gateway6)
	}
}

// finishIPv6 is what it does for a node with IPv6 as a whole. Programs take the
// loopback for the sign that there is IPv6.
func finishIPv6(b *bytes.Buffer, l topology.Lab, n topology.Node) {
	b.WriteString("- sysctl net/ipv6/conf/lo/disable_ipv6 0\n")
	for _, net := range l.Networks {
		if !net.Sided() {
			continue
		}
		for _, s := range net.Subnets6() {
			fmt.Fprintf(b, "- ip route replace unreachable %s metric %d\n", s, lastResort)
		}
	}
	if n.Forward {
		forwardIPv6(b, n)
	}
}

// Where the rules of a node that forwards stand: after that of its own addresses (0),
// before the main table's (32766).
const (
	letPass = 100
	letNone = 101
)

// forwardIPv6 has the node forward from sides to measured subnets, and nothing else.
// Linux's switch for it is one for all links, unlike IPv4's.
func forwardIPv6(b *bytes.Buffer, n topology.Node) {
	var to []string
	for _, c := range n.NICs {
		if c.Side != "" && c.Address6.IsValid() {
			to = append(to, c.Address6.Masked().String())
		}
		for _, r := range c.Routes {
			if r.To.Addr().Is6() {
				to = append(to, r.To.String())
			}
		}
	}
	if len(to) == 0 {
		return
	}
	slices.Sort(to)
	for _, c := range n.NICs {
		if !c.Address6.IsValid() {
			continue
		}
		if c.Side != "" {
			for _, s := range slices.Compact(slices.Clone(to)) {
				fmt.Fprintf(b, "%s rule6 pref %d iif LINK to %s lookup main\n", c.MAC, letPass, s)
			}
		}
		fmt.Fprintf(b, "%s rule6 pref %d iif LINK unreachable\n", c.MAC, letNone)
	}
	b.WriteString("- sysctl net/ipv6/conf/all/forwarding 1\n")
}

// preferIPv4 has names mean IPv4 to programs that ask for neither kind, as in a lab
// without IPv6: glibc would take IPv6 first, and measured flows with it. musl has no
// such file, and takes IPv4 before unique local addresses.
// Source: gai.conf(5).
func preferIPv4(n topology.Node, guest string) []File {
	if !n.HasIPv6() || guest == GuestAlpine {
		return nil
	}
	return []File{{Path: "/etc/gai.conf", Mode: 0o644, Data: []byte("# IPv4 comes before IPv6 where a name has both\nprecedence ::ffff:0:0/96 100\n")}}
}
