package lab

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/topology"
)

// ntpPort is where chronyd answers. Source: RFC 5905 section 7.2.
const ntpPort = 123

// What disciplines a node's clock, beside another node's.
const (
	sourceNone = "none"
	sourceKVM  = "ptp_kvm" // the host's clock
)

// How long it may take to know one node's clock.
const clockTime = 5 * time.Second

// clock is what is known of a node's clock.
type clock struct {
	flows.Offset
	answers bool // a chronyd does
	kept    bool // which says that its time is the lab's
}

// Clocks measures how far the clock of each node is from the host's, all at once and
// within some seconds: as its kernel tells by ICMP; where it does not, as its chronyd
// does by NTP, or else its guest agent. What a node says is its own word. It needs root.
func (b Build) Clocks(ctx context.Context) []flows.Offset { return offsets(b.clocks(ctx)) }

func offsets(clocks []clock) []flows.Offset {
	all := make([]flows.Offset, len(clocks))
	for i, c := range clocks {
		all[i] = c.Offset
	}
	return all
}

func (b Build) clocks(ctx context.Context) []clock {
	all := make([]clock, len(b.Lab.Nodes))
	var group errgroup.Group
	for i, n := range b.Lab.Nodes {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, clockTime)
			defer cancel()
			all[i] = b.clock(ctx, n)
			return nil
		})
	}
	_ = group.Wait()
	return all
}

func (b Build) clock(ctx context.Context, n topology.Node) clock {
	c := clock{Offset: flows.Offset{Node: n.Name, Source: sourceNone}}
	address, reached := n.ControlAddress()
	var rs []reading
	var err error
	if reached {
		var answer *ntp.Response
		if rs, answer, _ = readNTP(ctx, netip.AddrPortFrom(address, ntpPort).String()); answer != nil {
			c.answers = true
			c.Source, c.kept = source(b.Lab, answer.Stratum, answer.ReferenceID)
		}
	}
	if !c.answers {
		rs, err = readAgent(ctx, domains.Agent{On: b.On, Node: n})
	}
	r, nerr := narrow(rs)
	if reached && nerr == nil {
		if exact, _ := readStamps(ctx, address, r); len(exact) > 0 {
			r, nerr = narrow(exact)
		}
	}
	switch {
	case len(rs) == 0 && err != nil:
		c.Failed = err.Error()
	case nerr != nil:
		c.Failed = nerr.Error()
	default:
		c.Milli, c.Uncertainty = milli(r.least+r.width()/2), milli(r.width()/2)
	}
	return c
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// What chronyd says of a reference clock, as its configuration has it, and of its own clock.
var (
	refKVM = binary.BigEndian.Uint32([]byte("KVM\x00"))
	refOwn = binary.BigEndian.Uint32([]byte{127, 127, 1, 1})
)

// source is what a chronyd's answer says that disciplines its clock, and whether
// there is time to be had from it.
func source(l topology.Lab, stratum uint8, reference uint32) (from string, kept bool) {
	switch {
	case stratum == 0 || stratum > 15: // it has none yet
		return sourceNone, false
	case stratum == 1 && reference == refKVM:
		return sourceKVM, true
	case reference == refOwn: // serves the others
		return sourceNone, true
	}
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], reference)
	at := netip.AddrFrom4(address)
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if c.Address.IsValid() && c.Address.Addr() == at {
				return "chrony from " + n.Name, true
			}
		}
	}
	return "chrony from " + at.String(), true
}
