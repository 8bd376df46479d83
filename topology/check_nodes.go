package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// What a node may have; sizes are in bytes.
const (
	mostCPUs    = 128
	leastMemory = 128 << 20
	mostMemory  = 1 << 40
	leastDisk   = 1 << 30
	mostDisk    = 16 << 40
)

// knownServices can be started at boot where a node names them.
var knownServices = []string{"influxdb"}

func noNodes(c *checker) {
	if len(c.nodes) == 0 {
		c.problem(path{"nodes"}, "the lab has no nodes", "add some under nodes:; labctl init writes a lab file to start from")
	}
}

func cpus(c *checker, n *draftNode) {
	if n.CPUs != nil && (*n.CPUs < 1 || *n.CPUs > mostCPUs) {
		p := n.at.to("cpus")
		c.problem(p, fmt.Sprintf("%s is %d", p, *n.CPUs), fmt.Sprintf("expected 1 to %d", mostCPUs))
	}
}

func memory(c *checker, n *draftNode) {
	c.checkSize(n.at.to("memory"), n.Memory, leastMemory, mostMemory)
}

func disk(c *checker, n *draftNode) {
	c.checkSize(n.at.to("disk"), n.Disk, leastDisk, mostDisk)
}

func (c *checker) checkSize(p path, text string, least, most int64) {
	if text == "" {
		return
	}
	bytes, err := ParseSize(text)
	is := fmt.Sprintf("%s is %s", p, show(text))
	expected := fmt.Sprintf("expected %s to %s", showSize(least), showSize(most))
	switch {
	case err != nil:
		c.problem(p, is+": it "+err.Error(), expected+", written with MiB, GiB or TiB"+sizeHint(text, least, most))
	case bytes < least || bytes > most:
		c.problem(p, is, expected)
	}
}

// sizeHint is what was probably meant by a size without its unit, or with another:
// the first unit that begins like it and makes sense.
func sizeHint(text string, least, most int64) string {
	digits := strings.TrimRight(text, " kKmMgGtTiIbB")
	letter := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	for _, unit := range []string{"MiB", "GiB", "TiB"} {
		bytes, err := ParseSize(digits + unit)
		if err == nil && bytes >= least && bytes <= most && (letter == "" || letter[0] == unit[0]) {
			return ", such as " + digits + unit
		}
	}
	return ""
}

func services(c *checker, n *draftNode) {
	for i, s := range n.Services {
		p := n.at.to("services", i)
		switch {
		case !slices.Contains(knownServices, s):
			c.problem(p, fmt.Sprintf("%s has the service %s, which labctl does not know", n.at, show(s)), meant(s, "services", knownServices))
		case slices.Contains(n.Services[:i], s):
			c.problem(p, fmt.Sprintf("%s has the service %s twice", n.at, s), "remove one of the two")
		}
	}
}

func publish(c *checker, n *draftNode) {
	for i, text := range n.Publish {
		if _, err := parsePublish(text); err != nil {
			c.problem(n.at.to("publish", i), fmt.Sprintf("%s publishes %s, which %s", n.at, show(text), err), "expected HOST:NODE or ADDRESS:HOST:NODE, and /udp where it is not TCP, such as \"2222:22\" or \"[2001:db8::5]:2222:22\"")
		}
	}
}

// publishedTwice finds two claims of one port of the host.
func publishedTwice(c *checker) {
	type port struct {
		number   uint16
		protocol string
	}
	type holders struct {
		first *draftNode
		on    map[netip.Addr]*draftNode
	}
	claims := make(map[port]holders)
	for _, n := range c.nodes {
		for i, text := range n.Publish {
			p, err := parsePublish(text)
			if err != nil {
				continue
			}
			key := port{p.HostPort, p.Protocol}
			held, ok := claims[key]
			if !ok {
				held = holders{n, make(map[netip.Addr]*draftNode)}
				claims[key] = held
			}
			other := cmp.Or(held.on[p.HostAddress], held.on[netip.Addr{}])
			if ok && !p.HostAddress.IsValid() {
				other = held.first
			}
			if other != nil {
				c.problem(n.at.to("publish", i), fmt.Sprintf("port %d/%s of the host leads to %s already", p.HostPort, p.Protocol, other.at), "choose another port of the host")
				continue
			}
			held.on[p.HostAddress] = n
		}
	}
}

func publishUnreachable(c *checker, n *draftNode) {
	if len(n.Publish) == 0 {
		return
	}
	for _, nic := range n.nics {
		if nic.Mirror == nil && (nic.network == nil || nic.network.nat()) {
			return
		}
	}
	c.problem(n.at.to("publish"), fmt.Sprintf("%s publishes ports and is on no network with uplink: nat", n.at), "give it a NIC on one, or remove publish:")
}
