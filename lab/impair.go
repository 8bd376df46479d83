package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/networks/shape"
	"github.com/mami-project/labctl/topology"
)

// Impairment is one direction of a network under test and what it is to do to its
// frames: by the queue at the end of the wire where they set out, or at the NIC by
// which the node between the sides sends them on.
type Impairment struct {
	Build
	Network   topology.Network
	Direction topology.Direction
}

// routerTime is how long a node between two sides may take to tell or to change its queue.
const routerTime = 20 * time.Second

// directions are all that can be impaired, as the lab's file has them.
func (b Build) directions() []Impairment {
	var all []Impairment
	for _, n := range b.Lab.Networks {
		for _, d := range n.Directions() {
			all = append(all, Impairment{b, n, d})
		}
	}
	return all
}

// impairments are the resources: those that the lab's file impairs, and wires that do
// something to frames of which it does not speak.
func (b Build) impairments() []Impairment {
	return slices.DeleteFunc(b.directions(), func(i Impairment) bool {
		if !i.Direction.Impair.IsZero() {
			return false
		}
		end, ok := i.end()
		if !ok || i.On.Fake() {
			return true
		}
		now, err := networks.Impaired(end)
		return now.IsZero() && !errors.Is(err, shape.ErrChanged)
	})
}

// String names it as users see it, "impair/NETWORK/SIDE->SIDE".
func (i Impairment) String() string {
	return "impair/" + i.Network.Name + "/" + i.Direction.String()
}

// State is Partial where the direction does something else than the file says.
func (i Impairment) State(ctx context.Context) (host.State, error) {
	now, err := i.now(ctx)
	switch {
	case errors.Is(err, domains.ErrNoAgent):
		return host.Absent, nil
	case errors.Is(err, shape.ErrChanged):
		return host.Partial, nil
	case err != nil:
		return host.Absent, err
	case i.as(now):
		return host.Present, nil
	case now.IsZero():
		return host.Absent, nil
	}
	return host.Partial, nil
}

// as says whether what is set is what the file says, in the kernel's units.
func (i Impairment) as(now topology.Impair) bool {
	want, err := shape.As(i.Direction.Impair, i.Network.MTU)
	return err == nil && now == want
}

// Create has the direction do what the file says.
func (i Impairment) Create(ctx context.Context) error { return i.set(ctx, i.Direction.Impair) }

// Destroy has the direction do nothing any more. In a node that does not answer it
// ends with the node.
func (i Impairment) Destroy(ctx context.Context) error {
	now, err := i.now(ctx)
	_, wired := i.end()
	switch {
	case errors.Is(err, shape.ErrChanged): // by hand
	case err != nil && !wired:
		return nil
	case err != nil || now.IsZero():
		return err
	}
	return i.set(ctx, topology.Impair{})
}

// now is what the direction does to its frames; nothing where it is not there.
func (i Impairment) now(ctx context.Context) (topology.Impair, error) {
	if i.On.Fake() {
		return topology.Impair{}, nil
	}
	if end, ok := i.end(); ok {
		return networks.Impaired(end)
	}
	out, err := i.inNode(ctx, shape.Show+` "$LINK"`)
	if err != nil {
		return topology.Impair{}, err
	}
	now, _, err := shape.Read(out)
	if want, werr := shape.As(i.Direction.Impair, i.Network.MTU); err == nil && werr == nil && shape.Alike(now, want) {
		now = want // which tc tells with fewer digits
	}
	return now, err
}

// set has the direction do that from now on.
func (i Impairment) set(ctx context.Context, what topology.Impair) error {
	if end, ok := i.end(); ok {
		return networks.Impair(end, what, i.Network.MTU)
	}
	script, err := shape.Script(what, i.Network.MTU)
	if err != nil {
		return err
	}
	_, err = i.inNode(ctx, script)
	return err
}

// end is the end of the wire where the direction's frames set out; false where no wire joins the sides.
func (i Impairment) end() (topology.WireEnd, bool) {
	if i.Network.Wire == nil {
		return topology.WireEnd{}, false
	}
	for _, e := range i.Network.Wire.Ends {
		if e.Side == i.Direction.From {
			return e, true
		}
	}
	return topology.WireEnd{}, false
}

// inNode runs a script in the node between the sides, where LINK is the NIC by which
// the direction's frames leave it.
func (i Impairment) inNode(ctx context.Context, script string) ([]byte, error) {
	node, nic, err := i.router()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, routerTime)
	defer cancel()
	m := i.machine(node)
	if state, err := m.State(ctx); err != nil || state != host.Present {
		return nil, errors.Join(err, domains.ErrNoAgent)
	}
	out, err := domains.Agent{On: i.On, Node: node}.Bash(ctx, fmt.Sprintf(
		"for d in /sys/class/net/*; do read -r mac <\"$d/address\" && [ \"$mac\" = %s ] && LINK=${d##*/}; done\n: \"${LINK:?no NIC has the MAC %[1]s}\"\n%[2]s", nic.MAC, script))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node.Name, err)
	}
	return out, nil
}

func (i Impairment) router() (topology.Node, topology.NIC, error) {
	node, ok := i.Lab.Node(i.Network.Router)
	nic, on := node.NICOn(i.Network.Name, i.Direction.To)
	if !ok || !on {
		return node, nic, fmt.Errorf("no node of lab %s joins the sides of network %s", i.Lab.Name, i.Network.Name)
	}
	return node, nic, nil
}

// ImpairmentStatus is one direction of a network under test, what its file has it do,
// and what it does.
type ImpairmentStatus struct {
	Network   string `json:"network"`
	Direction string `json:"direction"` // "client->server"
	File      string `json:"file"`      // what the lab's file says; "none"
	Now       string `json:"now"`       // what is set
	As        bool   `json:"asInFile"`
	At        string `json:"at"`               // the host's link or the node whose queue it is
	Limits    string `json:"limits"`           // the queue limits that were computed; "" without a queue
	Failed    string `json:"failed,omitempty"` // why it is not known what is set
	// Mirrors tell where copies of the direction's frames are taken: before the impairment,
	// where it has done nothing to them yet, or after it.
	Mirrors []MirrorPlace `json:"mirrors"`
	// Measured is what was found when the direction was measured, by who set it or by
	// verify --calibrate; nil where it was not since it was set.
	Measured *Calibration `json:"measured,omitempty"`
}

// MirrorPlace is on which side of an impairment a mirror takes its copy.
type MirrorPlace struct {
	Node string `json:"node"` // whose NIC is copied
	At   string `json:"at"`   // PlaceBefore or PlaceAfter
}

// Where a mirror's copy of a frame is taken.
const (
	PlaceBefore = "before" // the impairment
	PlaceAfter  = "after"
)

// Impairments are all directions that can be impaired, and what they do now.
func (b Build) Impairments(ctx context.Context) []ImpairmentStatus {
	all := []ImpairmentStatus{}
	known := b.calibrations()
	for _, i := range b.directions() {
		now, err := i.now(ctx)
		s := i.status(now)
		if err != nil {
			s.Now, s.As, s.Failed = "", false, host.Excerpt([]byte(err.Error()))
		}
		s.Measured = known.of(i, now)
		all = append(all, s)
	}
	return all
}

// PlannedImpairments are the directions that the lab's file impairs, as they are once it
// is up.
func (b Build) PlannedImpairments() []ImpairmentStatus {
	all := []ImpairmentStatus{}
	for _, i := range b.directions() {
		if what, err := shape.As(i.Direction.Impair, i.Network.MTU); err == nil && !what.IsZero() {
			all = append(all, i.status(what))
		}
	}
	return all
}

// status is the direction where it does that.
func (i Impairment) status(now topology.Impair) ImpairmentStatus {
	s := ImpairmentStatus{
		Network: i.Network.Name, Direction: i.Direction.String(), File: i.Direction.Impair.String(), Now: now.String(),
		As: i.as(now), At: i.at(), Mirrors: i.mirrors(),
	}
	if !now.IsZero() {
		limits, _ := shape.Limits(now, i.Network.MTU) // it was set so
		s.Limits = limits.String()
	}
	return s
}

// at is where the queue is.
func (i Impairment) at() string {
	if end, ok := i.end(); ok {
		return end.Link
	}
	return "node " + i.Network.Router
}

// mirrors are where copies of the direction's frames are taken. A copied NIC on the side
// where they set out has them before the queue, which stands between the sides.
func (i Impairment) mirrors() []MirrorPlace {
	all := []MirrorPlace{}
	for _, n := range i.Lab.Nodes {
		c, ok := n.Capture()
		if !ok || c.Network != i.Network.Name {
			continue
		}
		from, _ := i.Lab.Node(c.Mirror)
		nic, _ := from.NIC(c.Network)
		if c.Side != "" {
			nic, _ = from.NICOn(c.Network, c.Side)
		}
		at := PlaceAfter
		if nic.Side == i.Direction.From {
			at = PlaceBefore
		}
		all = append(all, MirrorPlace{c.Mirror, at})
	}
	return all
}

// SetImpairment has one direction, named by the side where it begins, do something else
// from now on, and returns what. network may be "" where only one has directions.
func (b Build) SetImpairment(ctx context.Context, network, from string, spec topology.Impairment) (topology.Impair, error) {
	i, back, err := b.direction(network, from)
	if err != nil {
		return topology.Impair{}, err
	}
	unlock, err := lock(ctx, b.Lab.Name, "labctl impair", func(Event) {})
	if err != nil {
		return topology.Impair{}, err
	}
	defer unlock()
	other, err := back.now(ctx)
	if err != nil {
		return topology.Impair{}, fmt.Errorf("look at %s: %w", back, err)
	}
	what, err := spec.Decide(i.Network.MTU, other.Delay)
	if err != nil {
		return topology.Impair{}, err
	}
	if err := i.set(ctx, what); err != nil {
		return topology.Impair{}, fmt.Errorf("impair %s: %w", i.Direction, err)
	}
	return what, nil
}

// ClearImpairments has the directions of a network do nothing to their frames, or the one
// that begins at a side; of all networks where none is named.
func (b Build) ClearImpairments(ctx context.Context, network, from string) error {
	unlock, err := lock(ctx, b.Lab.Name, "labctl impair", func(Event) {})
	if err != nil {
		return err
	}
	defer unlock()
	if from != "" {
		i, _, err := b.direction(network, from)
		if err != nil {
			return err
		}
		return i.set(ctx, topology.Impair{})
	}
	found := false
	var errs []error
	for _, i := range b.directions() {
		if network == "" || i.Network.Name == network {
			found = true
			errs = append(errs, i.set(ctx, topology.Impair{}))
		}
	}
	if !found {
		return b.noDirection(network)
	}
	return errors.Join(errs...)
}

// direction is the one of a network that begins at a side, and its opposite.
func (b Build) direction(network, from string) (there, back Impairment, err error) {
	var sides []string
	named := map[string]bool{}
	for _, i := range b.directions() {
		if network != "" && i.Network.Name != network {
			continue
		}
		named[i.Network.Name] = true
		sides = append(sides, i.Direction.From)
		switch from {
		case i.Direction.From:
			there = i
		case i.Direction.To:
			back = i
		}
	}
	switch {
	case len(named) == 0:
		return there, back, b.noDirection(network)
	case len(named) > 1:
		return there, back, fmt.Errorf("lab %s has several networks under test: say which by --network NAME", b.Lab.Name)
	case there.Direction.From == "":
		return there, back, fmt.Errorf("no direction begins at %q; expected --from %s", from, strings.Join(sides, " or "))
	}
	return there, back, nil
}

func (b Build) noDirection(network string) error {
	if network == "" {
		return fmt.Errorf("lab %s has no network under test that labctl could impair: a wire or a node between two sides", b.Lab.Name)
	}
	return fmt.Errorf("lab %s has no network %q with a wire or a node between two sides", b.Lab.Name, network)
}
