package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/topology"
)

func printJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// sidesText is what lies on a network's sides and between them.
func sidesText(n topology.Network) string {
	a, b := n.Segments[0], n.Segments[1]
	joined := map[string]string{
		topology.UnderWire: "a wire", topology.UnderNode: "node " + n.Router, topology.UnderExternal: "what is outside the lab",
	}[n.Under]
	if a.Subnet == b.Subnet {
		return fmt.Sprintf("%s and %s %s, joined by %s", a.Side, b.Side, a.Subnet, joined)
	}
	return fmt.Sprintf("%s %s, %s %s, joined by %s", a.Side, a.Subnet, b.Side, b.Subnet, joined)
}

// onText is where a NIC is: NETWORK, or NETWORK/SIDE.
func onText(network, side string) string {
	if side == "" {
		return network
	}
	return network + "/" + side
}
