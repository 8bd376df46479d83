package images

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// The nodes of a lab keep one time: the first serves its own to the others over the
// networks without sides, and nobody asks outside. The host asks them too.

//go:embed clock.sh
var clockScript []byte

//go:embed clock.service
var clockUnit []byte

//go:embed clock.initd
var clockService []byte

const clockName = "labctl-clock"

// clockFiles are what keeps a node's clock; none where no network can carry the time.
func clockFiles(l topology.Lab, n topology.Node, guest string) []File {
	if len(timed(n)) == 0 {
		return nil
	}
	files := []File{
		{Path: "/etc/chrony/labctl.conf", Mode: 0o644, Data: chronyConf(l, n)},
		{Path: "/usr/lib/labctl/clock", Mode: 0o755, Data: clockScript},
	}
	if guest != GuestDebian {
		const script = "/etc/init.d/" + clockName
		files = append(files, File{Path: script, Mode: 0o755, Data: clockService}, File{Path: "/etc/runlevels/default/" + clockName, Link: script})
	}
	if guest != GuestAlpine {
		const units, unit = "/etc/systemd/system/", clockName + ".service"
		files = append(files, File{Path: units + unit, Mode: 0o644, Data: clockUnit}, File{Path: units + "multi-user.target.wants/" + unit, Link: units + unit})
	}
	return files
}

// chronyConf is what the node's chronyd reads. It steps the clock at its start only,
// and slews it slowly: what runs is measured with clocks that do not jump.
// Source: chrony.conf(5).
func chronyConf(l topology.Lab, n topology.Node) []byte {
	var b strings.Builder
	b.WriteString("# one node of the lab serves its time to the others, and none asks outside\n")
	if from, ok := timeFrom(l)[n.Name]; ok {
		fmt.Fprintf(&b, "server %s iburst minpoll 0 maxpoll 0 xleave\n", from)
	} else {
		b.WriteString("local stratum 8\n")
	}
	b.WriteString("makestep 0.0005 10\nmaxslewrate 1000\ncmdport 0\n")
	nics := timed(n)
	for _, c := range nics {
		fmt.Fprintf(&b, "allow %s\n", c.Address.Masked())
	}
	if len(nics) == 1 { // chronyd binds to one address or to all
		fmt.Fprintf(&b, "bindaddress %s\n", nics[0].Address.Addr())
	}
	return []byte(b.String())
}

// timed are the node's NICs that may carry the time.
func timed(n topology.Node) []topology.NIC {
	var nics []topology.NIC
	for _, c := range n.NICs {
		if c.Side == "" && c.Mirror == "" {
			nics = append(nics, c)
		}
	}
	return nics
}

// timeFrom is where each node has its time from. Those left out keep their own: the
// first node, and the first of those that no network joins to it.
func timeFrom(l topology.Lab) map[string]netip.Addr {
	from, reached := make(map[string]netip.Addr), make(map[string]bool)
	for _, first := range l.Nodes {
		if reached[first.Name] {
			continue
		}
		reached[first.Name] = true
		for serve := []topology.Node{first}; len(serve) > 0; serve = serve[1:] {
			for _, c := range timed(serve[0]) {
				for _, n := range l.Nodes {
					if _, on := n.NIC(c.Network); on && !reached[n.Name] {
						reached[n.Name], from[n.Name] = true, c.Address.Addr()
						serve = append(serve, n)
					}
				}
			}
		}
	}
	return from
}
