package lab

import (
	"context"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/topology"
)

// Carries is what the network under test carries now between the nodes that a run takes
// for its client and its server, each way in bit/s; 0 where no rate is set, or it is not
// known.
func (b Build) Carries(ctx context.Context, client, server string) flows.Path {
	from, to, err := b.ends(client, server)
	if err != nil {
		return flows.Path{} // Run says why
	}
	return flows.Path{
		Up:   b.carries(ctx, pathOf(b.Lab, from.node, to.address)),
		Down: b.carries(ctx, pathOf(b.Lab, to.node, from.address)),
	}
}

// carries is the least of the rates on a path.
func (b Build) carries(ctx context.Context, path []place) float64 {
	least := 0.0
	for _, i := range b.crossed(path) {
		now, err := i.now(ctx)
		if rate := float64(now.Rate); err == nil && rate > 0 && (least == 0 || rate < least) {
			least = rate
		}
	}
	return least
}

// crossed are the directions that packets pass on a path: from side to side between two
// nodes, or inside the node that joins them.
func (b Build) crossed(path []place) []Impairment {
	var all []Impairment
	for k := range len(path) - 1 {
		from, to := b.nicAt(path[k]), b.nicAt(path[k+1])
		for _, i := range b.directions() {
			if i.Network.Name == from.Network && from.Network == to.Network && i.Direction.From == from.Side && i.Direction.To == to.Side {
				all = append(all, i)
			}
		}
	}
	return all
}

func (b Build) nicAt(p place) topology.NIC {
	n, _ := b.Lab.Node(p.node)
	return n.NICs[p.nic]
}
