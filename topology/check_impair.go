package topology

import (
	"fmt"
	"maps"
	"slices"
)

// impair: what is impaired is a direction of labctl's own, by values that can be.
func impair(c *checker, n *draftNetwork) {
	if n.Impair == nil {
		return
	}
	p := n.at.to("impair")
	switch under, _ := n.under(); {
	case under == "":
		c.problem(p, fmt.Sprintf("%s is impaired, and has no sides", n.at), "only the network under test between two sides is impaired: remove impair:, or give it sides")
		return
	case under == UnderExternal:
		c.problem(p, fmt.Sprintf("%s is impaired, and what is under test there is none of the lab's", n.at), "remove impair:, or have a wire or a node between the sides")
		return
	case len(n.Sides) != 2:
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n.Impair)) {
		at := p.to(name)
		if _, err := reverse([2]string(n.Sides), name); err != nil {
			c.problem(at, fmt.Sprintf("%s impairs %s", n.at, show(name)), fmt.Sprintf("expected %[1]s->%[2]s or %[2]s->%[1]s", n.Sides[0], n.Sides[1]))
			continue
		}
		_, wrong := n.Impair[name].parse(n.mtu())
		for _, w := range wrong {
			c.problem(at.to(w.key), fmt.Sprintf("%s is %s", at.to(w.key), show(w.value)), w.why)
		}
	}
}
