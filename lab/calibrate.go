package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks/probe"
	"github.com/mami-project/labctl/topology"
)

// Calibration is what was measured of a direction of a network under test.
type Calibration struct {
	Network   string          `json:"network"`
	Direction string          `json:"direction"` // "client->server"
	At        time.Time       `json:"at"`
	Set       topology.Impair `json:"-"`
	Was       string          `json:"set"` // what was set then, in the words of a lab file
	Verdict   probe.Verdict   `json:"verdict"`
	Nodes     *Carried        `json:"iperf3,omitempty"` // what nodes got through; nil where no rate is set
	Failed    string          `json:"failed,omitempty"` // why it was not measured
	Text      string          `json:"text"`             // all that in a line
}

// Off says whether the direction does something else than was set.
func (c Calibration) Off() bool {
	return c.Verdict.Result() == probe.Off || c.Nodes != nil && c.Nodes.Result == probe.Off
}

// String is the calibration as users see it.
func (c Calibration) String() string {
	if c.Failed != "" {
		return fmt.Sprintf("%s: not measured: %s", c.Direction, c.Failed)
	}
	s := c.Verdict.String()
	if c.Nodes != nil {
		s += "; " + c.Nodes.String()
	}
	return s
}

// calibrationFile keeps, in the lab's folder, what was measured last.
const calibrationFile = "calibration.json"

// measured is what that file holds, by direction.
type measured map[string]remembered

// remembered is what is known of a direction.
type remembered struct {
	Calibration
	As    topology.Impair `json:"as"`      // what was set, in the kernel's units
	Floor time.Duration   `json:"floorNs"` // what a node between the sides takes by itself; 0 where it is not known
}

// calibrations reads what was measured last; nothing where it cannot be read.
func (b Build) calibrations() measured {
	m := measured{}
	text, err := os.ReadFile(b.dir(calibrationFile))
	if err == nil && json.Unmarshal(text, &m) == nil {
		return m
	}
	return measured{}
}

func (b Build) keepCalibrations(m measured) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return host.WriteFile(b.dir(calibrationFile), append(text, '\n'), 0o644)
}

// of is what was measured of a direction that does now what it did then; nil where it
// does something else, or was not measured.
func (m measured) of(i Impairment, now topology.Impair) *Calibration {
	k, ok := m[i.String()]
	if !ok || k.As != now || k.At.IsZero() {
		return nil
	}
	return &k.Calibration
}

// floors measures what the nodes between sides take by themselves, before they are told
// to do anything to frames.
func (b Build) floors(ctx context.Context, todo []Step, tell Tell) error {
	m := b.calibrations()
	for _, s := range todo {
		i, ok := s.Resource.(Impairment)
		if !ok || i.Network.Under != topology.UnderNode || m[i.String()].Floor > 0 {
			continue
		}
		err := tell.work("measure", i.String(), func() error {
			p, err := i.path()
			if err != nil {
				return err
			}
			found, err := probe.Measure(ctx, p, topology.Impair{}, i.Network.MTU)
			if err != nil {
				return err
			}
			m[i.String()] = remembered{Floor: time.Duration(found.Delay.Value * float64(time.Millisecond))}
			return nil
		})
		if err != nil {
			return fmt.Errorf("measure what %s does by itself: %w", i.at(), err)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return b.keepCalibrations(m)
}

// Calibrate measures what each direction of the networks under test does to frames, sets
// it against what it was told to do, and keeps that for status. Directions that cannot
// be measured say why. Networks of which nothing is asked are left out unless all are to
// be measured.
func (b Build) Calibrate(ctx context.Context, all bool, tell Tell) ([]Calibration, error) {
	known := b.calibrations()
	found := []Calibration{}
	for _, n := range b.Lab.Networks {
		now, err := b.setNow(ctx, n)
		if err != nil {
			return nil, err
		}
		if !all && !slices.ContainsFunc(now, func(i topology.Impair) bool { return !i.IsZero() }) {
			continue
		}
		carried := b.carriedBy(ctx, n, now, tell)
		for k, d := range n.Directions() {
			i := Impairment{b, n, d}
			c := Calibration{Network: n.Name, Direction: d.String(), Set: now[k], Was: now[k].String(), Nodes: carried[k]}
			err := tell.work("measure", i.String(), func() error { return i.calibrate(ctx, &c, known[i.String()].Floor) })
			if ctx.Err() != nil {
				return found, context.Cause(ctx)
			}
			if err != nil {
				c.Failed = err.Error()
			}
			c.At, c.Text = time.Now().UTC(), c.String()
			found = append(found, c)
			known[i.String()] = remembered{c, now[k], known[i.String()].Floor}
		}
	}
	return found, b.keepCalibrations(known)
}

// setNow is what the directions of a network do.
func (b Build) setNow(ctx context.Context, n topology.Network) ([]topology.Impair, error) {
	var all []topology.Impair
	for _, d := range n.Directions() {
		i := Impairment{b, n, d}
		now, err := i.now(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", i, err)
		}
		all = append(all, now)
	}
	return all, nil
}

// calibrate measures one direction with marked frames.
func (i Impairment) calibrate(ctx context.Context, c *Calibration, floor time.Duration) error {
	p, err := i.path()
	if err != nil {
		return err
	}
	p.Floor = floor
	m, err := probe.Measure(ctx, p, c.Set, i.Network.MTU)
	if err != nil {
		return err
	}
	c.Verdict = probe.Judge(c.Direction, c.Set, m)
	if i.Network.Under == topology.UnderNode && i.Accel == topology.AccelTCG {
		doubtRate(c.Verdict.Values)
	}
	return nil
}

// doubtRate has less than the rate be no fault where an emulated node may forward no more.
func doubtRate(values []probe.Value) {
	for k := range values {
		if v := &values[k]; v.Name == "rate_mbit_per_s" && v.Result == probe.Off && v.Measured < v.Set {
			v.Result, v.Why = probe.Inconclusive, "an emulated node may forward no more"
		}
	}
}

// path is where the direction's frames are put in and looked for on the host.
func (i Impairment) path() (probe.Path, error) {
	if w := i.Network.Wire; w != nil {
		in, out := w.Ends[0], w.Ends[1]
		if in.Side != i.Direction.From {
			in, out = out, in
		}
		return probe.Wire(in.Link, out.Link)
	}
	router, out, err := i.router()
	if err != nil {
		return probe.Path{}, err
	}
	in, _ := router.NICOn(i.Network.Name, i.Direction.From)
	if in.Link == "" || out.Link == "" {
		return probe.Path{}, errors.New("the frames of a passthrough NIC pass the host nowhere")
	}
	from, to := nodesOn(i.Lab, i.Network, i.Direction.From), nodesOn(i.Lab, i.Network, i.Direction.To)
	if len(from) == 0 || len(to) == 0 {
		return probe.Path{}, errors.New("it takes a node on either side of the one between them")
	}
	src, _ := from[0].NICOn(i.Network.Name, i.Direction.From)
	dst, _ := to[0].NICOn(i.Network.Name, i.Direction.To)
	mac := src.MAC
	if mac == nil { // a NIC of the host's own, which is not looked at here
		mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	}
	return probe.Routed(in.Link, out.Link, mac, in.MAC, src.Address.Addr(), dst.Address.Addr())
}

// VerifyCalibrated is Verify, and then a calibration of every direction. One that does
// something else than it was set to is an error.
func (b Build) VerifyCalibrated(ctx context.Context, timeout time.Duration, tell Tell) (Proof, []Calibration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, TimedOut{timeout})
	defer cancel()
	unlock, err := lock(ctx, b.Lab.Name, "labctl verify", tell)
	if err != nil {
		return Proof{}, nil, err
	}
	defer unlock()
	p, err := b.Prove(ctx, tell)
	if err != nil {
		return p, nil, overdue(ctx, err)
	}
	all, err := b.Calibrate(ctx, true, tell)
	return p, all, overdue(ctx, errors.Join(err, offs(all)))
}

// offs are the directions that do something else than was set; nil where none does.
func offs(all []Calibration) error {
	var errs []error
	for _, c := range all {
		if c.Off() {
			errs = append(errs, fmt.Errorf("network %s does not do what it was set to: %s", c.Network, c))
		}
	}
	return errors.Join(errs...)
}
