package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/networks/probe"
	"github.com/mami-project/labctl/topology"
)

// Carried is what iperf3 got through a direction from node to node.
type Carried struct {
	From     string  `json:"from"` // node
	To       string  `json:"to"`
	Offered  float64 `json:"offered_mbit_per_s"`  // that the sender sent, of UDP payload
	Received float64 `json:"received_mbit_per_s"` // of the same
	Most     float64 `json:"most_mbit_per_s"`     // that the rate leaves for it
	Result   string  `json:"result"`
	Why      string  `json:"why,omitempty"`
}

// String is what was carried, as users see it.
func (c Carried) String() string {
	if c.Received == 0 && c.Why != "" {
		return fmt.Sprintf("iperf3 from %s to %s: %s", c.From, c.To, c.Why)
	}
	s := fmt.Sprintf("iperf3 from %s to %s: %.3g of %.3g mbit/s", c.From, c.To, c.Received, c.Most)
	if c.Why != "" {
		s += " (" + c.Why + ")"
	}
	return s
}

// How iperf3 measures a direction: so long, with datagrams of so many bytes that no
// network with sides cuts, at so much more than the rate, and no more than an emulated
// node sends without effort.
const (
	carrySeconds  = 2
	carryPayload  = 500
	carryMore     = 1.2
	carryMost     = 20e6 // bit/s
	carryPort     = 5199
	carryGrace    = 10 * time.Second
	carryTolerate = 1.05
	carryEnough   = 0.9
)

// carriedBy measures with iperf3 what nodes get through the directions of a network that
// have a rate; nil for the others.
func (b Build) carriedBy(ctx context.Context, n topology.Network, now []topology.Impair, tell Tell) []*Carried {
	carried := make([]*Carried, len(now))
	if len(now) == 0 {
		return carried
	}
	one, other := nodesOn(b.Lab, n, n.Segments[0].Side), nodesOn(b.Lab, n, n.Segments[1].Side)
	if len(one) == 0 || len(other) == 0 {
		return carried
	}
	var fs []flows.Flow
	var of []int // the direction of each
	for k, i := range now {
		if i.Rate == 0 || i.Loss > 0.5 {
			continue
		}
		fs = append(fs, carryFlow(k, len(fs), min(carryMore*float64(i.Rate), carryMost)))
		of = append(of, k)
		c := &Carried{From: one[0].Name, To: other[0].Name, Most: min(float64(i.Rate), carryMost) * share / 1e6}
		if k == 1 {
			c.From, c.To = c.To, c.From
		}
		carried[k] = c
	}
	if len(fs) == 0 {
		return carried
	}
	results, err := b.carry(ctx, n, one[0], other[0], fs, tell)
	for at, k := range of {
		c := carried[k]
		c.Result = probe.Inconclusive
		switch {
		case err != nil:
			c.Why = err.Error()
		case at >= len(results):
			c.Why = "it gave no result"
		case results[at].Failed != "":
			c.Why = results[at].Failed
		default:
			c.judge(results[at])
		}
	}
	return carried
}

// share of a frame that is payload.
const share = float64(carryPayload) / (carryPayload + ipUDPHeaders + frameHeader)

func carryFlow(direction, nth int, rate float64) flows.Flow {
	reverse := direction != 0 // the client is on the first side
	f := flows.Flow{Label: "calibrate-" + strconv.Itoa(direction)}
	f.Client.At = []time.Duration{time.Duration(nth) * (carrySeconds + 1) * time.Second}
	f.Client.ClientConfig = flows.ClientConfig{
		Config:  flows.Config{Port: carryPort + direction, ReportInterval: 1},
		Seconds: carrySeconds, UDP: true, Length: strconv.Itoa(carryPayload), Reverse: &reverse,
		Bitrate: strconv.FormatFloat(rate*share, 'f', 0, 64),
	}
	f.Server.ServerConfig = flows.ServerConfig{Config: flows.Config{Port: carryPort + direction, ReportInterval: 1}}
	return f
}

// carry runs the flows between two nodes.
func (b Build) carry(ctx context.Context, n topology.Network, client, server topology.Node, fs []flows.Flow, tell Tell) (results []flows.Result, err error) {
	from, _ := client.NIC(n.Name)
	to, _ := server.NIC(n.Name)
	e := flows.Experiment{
		Flows: fs, Client: guest{b, client}, Server: guest{b, server}, From: from.Address.Addr(), To: to.Address.Addr(),
		Grace: carryGrace, Tell: func(string) {},
	}
	err = tell.work("measure", "network/"+n.Name, func() error {
		defer func() { err = errors.Join(err, e.End(context.WithoutCancel(ctx))) }()
		if err := e.Listen(ctx); err != nil {
			return err
		}
		if _, err := e.Send(ctx); err != nil {
			return err
		}
		dir := b.dir("calibrate") // in the lab's folder, with which it goes where labctl is killed
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		times, err := e.Gather(ctx, dir)
		if err != nil {
			return err
		}
		results = flows.Results(dir, fs, times)
		return nil
	})
	return results, err
}

// judge compares what came with what the rate leaves. Nodes that get less through than
// it lets by may be slow themselves: marked frames tell.
func (c *Carried) judge(r flows.Result) {
	c.Received = r.Bits() / 1e6
	if r.Seconds > 0 {
		c.Offered = float64(r.Sent) * 8 / r.Seconds / 1e6
	}
	switch {
	case c.Received > c.Most*carryTolerate:
		c.Result, c.Why = probe.Off, "more than the rate lets by"
	case c.Received >= c.Most*carryEnough:
		c.Result = probe.OK
	case c.Offered < c.Most:
		c.Why = fmt.Sprintf("the sender managed %.3g", c.Offered)
	default:
		c.Why = "the nodes get less through than the rate lets by"
	}
}
