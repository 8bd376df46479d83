package topology

import (
	"fmt"
	"strings"
)

// What labctl reads and cannot do yet is refused at its line, never ignored.

func laterImages(c *checker) {
	if c.Images != nil {
		c.later(path{"images"}, "images: (ready base images)", "name a recipe in image: instead")
	}
}

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
	if n.Uplinks != nil {
		c.later(n.at.to("uplinks"), fmt.Sprintf("uplinks: of %s", n.at), "remove it: nodes on the side reach each other without")
	}
	if n.Impair != nil {
		c.later(n.at.to("impair"), fmt.Sprintf("impair: of %s", n.at), "remove it, or use tc inside the nodes")
	}
}

func laterNIC(c *checker, n *draftNIC) {
	if n.Passthrough != nil {
		c.later(n.at.to("passthrough"), fmt.Sprintf("passthrough: of %s", n.at), "remove it for a virtio NIC")
	}
	if n.Mirror != nil && n.Mirror.Port != "" {
		c.later(n.at.to("mirror", "port"), fmt.Sprintf("port: of %s", n.at.to("mirror")), "expected mirror: NODE")
	}
}
