package topology

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// namePattern is what labs, networks, sides and nodes are called: a host name's label,
// short enough for every name that derives from it.
var namePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

const nameHint = "a name has 1 to 32 of the characters a-z, 0-9 and -, begins with a letter and does not end with -"

// reservedNames are names which mean something else in every hosts file.
var reservedNames = []string{"broadcasthost", "ip6-allnodes", "ip6-allrouters", "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "local", "localdomain", "localhost"}

func labName(c *checker) {
	switch {
	case c.Name == "":
		c.problem(path{"name"}, "the lab has no name", "add one at the top, such as name: trafic")
	case !namePattern.MatchString(c.Name):
		c.problem(path{"name"}, "the lab is called "+show(c.Name), nameHint)
	}
}

func networkName(c *checker, n *draftNetwork) { c.checkName(n.at, n.name) }

// ValidName says whether a lab can be called that.
func ValidName(name string) bool { return namePattern.MatchString(name) }

func nodeName(c *checker, n *draftNode) { c.checkName(n.at, n.name) }

func (c *checker) checkName(p path, s string) {
	switch {
	case !namePattern.MatchString(s):
		c.problem(p, fmt.Sprintf("%s has a name which is not allowed", p), nameHint)
	case slices.Contains(reservedNames, s):
		c.problem(p, fmt.Sprintf("%s has a name which means something else on every machine", p), "call it otherwise")
	}
}

func accel(c *checker) {
	c.oneOf(path{"accel"}, c.Accel, AccelAuto, AccelKVM, AccelTCG)
}

// identities finds things of the lab whose names have one digest. There are
// 2^40 of them: it takes thousands of nodes, or someone who looks for it.
func identities(c *checker) {
	type owner struct {
		at  path
		key string
	}
	owners := make(map[string]owner)
	claim := func(p path, kind string, names ...string) {
		me := owner{p, kind + "/" + strings.Join(names, "/")}
		for _, id := range []string{MAC(kind, c.Name, names...).String(), LinkName(linkKind(kind), c.Name, names...)} {
			first, ok := owners[id]
			if !ok {
				owners[id] = me
			} else if first.key != me.key { // equal ones have a rule of their own
				c.problem(p, fmt.Sprintf("%s and %s would both be %s on the host", first.at, p, id), "rename one of the two")
			}
		}
	}
	for _, n := range c.networks {
		for i, side := range n.Sides {
			claim(n.at.to("sides", i), "bridge", n.names(side)...)
			claim(n.at.to("sides", i), "wire", n.names(side)...)
		}
		if !n.sided() {
			claim(n.at, "bridge", n.names("")...)
		}
	}
	for _, n := range c.nodes {
		for _, nic := range n.nics {
			if nic.network != nil {
				claim(nic.at, "nic", nic.names()...)
			}
		}
	}
}

// linkKind is the kind of the host link that ends in a thing of this kind.
func linkKind(kind string) string {
	if kind == "nic" {
		return "tap"
	}
	return kind
}
