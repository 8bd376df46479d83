package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What labctl reads and cannot do yet is refused at its line, never ignored.

func laterNetwork(c *checker, n *draftNetwork) {
	if strings.HasPrefix(n.Uplink, "bridge:") {
		c.later(n.at.to("uplink"), fmt.Sprintf("uplink: %s of %s", show(n.Uplink), n.at), "expected nat or none")
	}
	if n.UnderTest == "external" || strings.HasPrefix(n.UnderTest, "node:") {
		c.later(n.at.to("under-test"), fmt.Sprintf("under-test: %s of %s", show(n.UnderTest), n.at), "expected wire")
	}
	if n.Subnets != nil {
		c.later(n.at.to("subnets"), fmt.Sprintf("subnets: of %s", n.at), "use subnet: for both sides")
	}
	for _, side := range slices.Sorted(maps.Keys(n.Uplinks)) {
		if strings.HasPrefix(n.Uplinks[side], "bridge:") {
			p := n.at.to("uplinks", side)
			c.later(p, fmt.Sprintf("%s: %s", p, show(n.Uplinks[side])), "expected a NIC of the host")
		}
	}
	if n.Impair != nil {
		c.later(n.at.to("impair"), fmt.Sprintf("impair: of %s", n.at), "remove it, or use tc inside the nodes")
	}
}
