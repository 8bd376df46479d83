package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checker goes through a file's rules.
type checker struct {
	*draft
	known    Known
	problems *collector
	unread   map[int]bool // lines with values that could not be read: they are not judged further
}

func newChecker(f File, known Known, problems *collector) *checker {
	c := &checker{draft: newDraft(f), known: known, problems: problems, unread: make(map[int]bool)}
	for _, p := range problems.found {
		c.unread[p.Line] = true
	}
	return c
}

// problem reports a mistake in the value at p.
func (c *checker) problem(p path, msg, hint string) {
	if line := c.lines.line(p); !c.unread[line] {
		c.problems.add(line, msg, hint)
	}
}

// rule is one thing that a lab file must hold to.
type rule struct {
	name  string // as the pair in testdata/bad which shows it
	check func(*checker)
}

// rules are all of them. Each reports whatever it finds, and stays silent where
// another has reported already that a value cannot be read.
var rules = []rule{
	{"lab-name", labName},
	{"accel", accel},
	{"image", images},
	{"images", eachImage(ownImage)},
	{"network-name", eachNetwork(networkName)},
	{"node-name", eachNode(nodeName)},
	{"same-identity", identities},

	{"sides", eachNetwork(sides)},
	{"uplink", eachNetwork(uplink)},
	{"under-test", eachNetwork(underTest)},
	{"subnets", eachNetwork(sideSubnets)},
	{"mtu", eachNetwork(mtu)},
	{"subnet", eachSubnet(subnet)},
	{"subnet-size", eachSubnet(subnetSize)},
	{"subnets6", eachNetwork(sideSubnets6)},
	{"subnet6", eachSubnet6(subnet6)},
	{"mtu6", eachNetwork(mtu6)},
	{"subnets-overlap", overlaps},

	{"no-nodes", noNodes},
	{"cpus", eachNode(cpus)},
	{"memory", eachNode(memory)},
	{"disk", eachNode(disk)},
	{"service", eachNode(services)},
	{"publish", eachNode(publish)},
	{"publish-twice", publishedTwice},
	{"publish-unreachable", eachNode(publishUnreachable)},
	{"publish6-unreachable", eachNode(publishUnreachable6)},

	{"no-nics", eachNode(noNICs)},
	{"nic-kind", eachNIC(nicKind)},
	{"nic-network", eachNIC(nicNetwork)},
	{"nic-network-twice", eachNode(networkTwice)},
	{"nic-side", eachNIC(nicSide)},
	{"address", eachNIC(nicAddress)},
	{"address-twice", eachSubnet(addressTwice)},
	{"address6", eachNIC(nicAddress6)},
	{"address6-twice", eachSubnet6(addressTwice)},
	{"of-the-site", eachNetwork(ofTheSite)},
	{"mirror", eachNIC(mirror)},
	{"mirror-twice", eachNode(mirrorTwice)},
	{"mirrored-twice", mirroredTwice},

	{"passthrough", eachNIC(passthrough)},
	{"uplinks", eachNetwork(uplinks)},
	{"bridge", eachNetwork(bridgeKind)},
	{"mirror-port", eachNIC(mirrorPort)},
	{"device-twice", deviceTwice},
	{"cable", eachNetwork(cable)},
	{"mirror-shared", eachNIC(mirrorShared)},

	{"impair", eachNetwork(impair)},
}

func eachNetwork(check func(*checker, *draftNetwork)) func(*checker) {
	return func(c *checker) {
		for _, n := range c.networks {
			if c.problems.full() {
				return
			}
			check(c, n)
		}
	}
}

func eachSubnet(check func(*checker, *draftSubnet)) func(*checker) {
	return eachNetwork(func(c *checker, n *draftNetwork) {
		for _, s := range n.subnets {
			check(c, s)
		}
	})
}

func eachSubnet6(check func(*checker, *draftSubnet)) func(*checker) {
	return eachNetwork(func(c *checker, n *draftNetwork) {
		for _, s := range n.subnets6 {
			check(c, s)
		}
	})
}

func eachImage(check func(c *checker, name string, i ImageSpec)) func(*checker) {
	return func(c *checker) {
		for _, name := range slices.Sorted(maps.Keys(c.Images)) {
			check(c, name, c.Images[name])
		}
	}
}

func eachNode(check func(*checker, *draftNode)) func(*checker) {
	return func(c *checker) {
		for _, n := range c.nodes {
			if c.problems.full() {
				return
			}
			check(c, n)
		}
	}
}

func eachNIC(check func(*checker, *draftNIC)) func(*checker) {
	return eachNode(func(c *checker, n *draftNode) {
		for _, nic := range n.nics {
			check(c, nic)
		}
	})
}

// oneOf reports a word that is not among those expected; left out is fine.
func (c *checker) oneOf(p path, word string, words ...string) {
	if word == "" {
		return
	}
	for _, w := range words {
		if w == word {
			return
		}
	}
	hint := "expected " + strings.Join(words, " or ")
	if near := nearest(word, words); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	c.problem(p, fmt.Sprintf("%s is %s", p, show(word)), hint)
}
