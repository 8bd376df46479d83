package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/topology"
)

// Proof is what `up` and `verify` have shown of a lab's data path.
type Proof struct {
	Flows  int           `json:"flows"`  // directions that marked frames took through a network with sides
	Frames int           `json:"frames"` // marked frames that were sent
	Points int           `json:"points"` // NICs at which each of them was looked for
	Took   time.Duration `json:"took"`   // nanoseconds
	// Impaired says that the network under test was impaired meanwhile: that mirrors copy
	// what their NICs see has been shown, and that frames arrive, not that all of them do.
	Impaired bool `json:"impaired,omitempty"`
}

// String is the proof as users see it.
func (p Proof) String() string {
	if p.Flows == 0 {
		return "no network with sides has a node on both: no data path to prove"
	}
	if p.Impaired {
		return fmt.Sprintf("%d marked frames in %d directions through the impaired network, some of each arrived, and each mirror saw what its NIC saw, at %d NICs, none on another network (%.1f s)",
			p.Frames, p.Flows, p.Points, p.Took.Seconds())
	}
	return fmt.Sprintf("%d marked frames in %d directions, each seen exactly once, whole and right at %d NICs, none on another network (%.1f s)",
		p.Frames, p.Flows, p.Points, p.Took.Seconds())
}

// The lengths of the IP packets that are sent (bytes), beside the longest that
// the network carries: with the shortest frames, and around the usual minimum MTU.
var packetSizes = []int{64, 576, 1200}

// fenceSize is the length of the last packet of a flow: frames keep their order,
// so whatever came twice before it has been seen when it is.
const fenceSize = 64

// The same of IPv6, whose header is longer by 20 bytes and whose least MTU is 1280
// (RFC 8200): the shortest still holds a mark.
var packetSizes6 = []int{fenceSize6, 576, 1280}

const fenceSize6 = fenceSize + ip6UDPHeaders - ipUDPHeaders

const (
	ipUDPHeaders  = 28 // bytes of IPv4 and UDP headers
	ip6UDPHeaders = 48 // of IPv6 and UDP headers
	frameHeader   = 14 // bytes of an Ethernet header
)

// How long the frames have to arrive everywhere once they were sent: far longer than
// they take on a slow machine, and only waited for when one is lost.
const arriveTime = 10 * time.Second

// Prove shows that the lab's networks with sides carry frames between their
// sides, that mirrors copy each exactly once, and that no other network carries
// them. Frames bearing a mark of this proof alone are sent both ways in several
// sizes, and looked for at their sender, their receiver and the mirrors. Where the
// network under test is impaired, frames are lost on purpose: mirrors are then compared
// with the NICs that they copy.
func (b Build) Prove(ctx context.Context, tell Tell) (Proof, error) {
	random := make([]byte, 2)
	_, _ = rand.Read(random) // never fails
	return b.prove(ctx, hex.EncodeToString(random), inNone, tell)
}

func inNone(string) bool { return false }

// ProveArmed is Prove where in some nodes captures listen already, since Arm with that prefix.
func (b Build) ProveArmed(ctx context.Context, prefix string, listens func(node string) bool, tell Tell) (Proof, error) {
	return b.prove(ctx, prefix, listens, tell)
}

func (b Build) prove(ctx context.Context, prefix string, listens func(string) bool, tell Tell) (Proof, error) {
	start := time.Now()
	e, err := b.newExperiment(prefix)
	if err != nil || len(e.flows) == 0 {
		return Proof{}, err
	}
	var points []point
	err = tell.work("prove", "lab/"+b.Lab.Name, func() (err error) {
		points, err = e.run(ctx, listens, tell)
		return err
	})
	if err != nil {
		return Proof{}, fmt.Errorf("prove the data path: %w%s", err, b.foreignPaths())
	}
	p := Proof{Flows: len(e.flows), Took: time.Since(start), Impaired: e.impaired != nil}
	for _, at := range points {
		p.Points += at.nics()
	}
	for _, f := range e.flows {
		p.Frames += len(f.sizes)
	}
	return p, nil
}

// Verify is Prove within a time, while no other labctl works on the lab.
func (b Build) Verify(ctx context.Context, timeout time.Duration, tell Tell) (Proof, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, TimedOut{timeout})
	defer cancel()
	unlock, err := lock(ctx, b.Lab.Name, "labctl verify", tell)
	if err != nil {
		return Proof{}, err
	}
	defer unlock()
	p, err := b.Prove(ctx, tell)
	return p, overdue(ctx, err)
}

// experiment is one proof: what is sent, under which mark.
type experiment struct {
	Build
	flows []flow
	nonce string

	impaired []topology.Impair          // what the directions that frames pass do now; nil where they do nothing
	workers  map[string]*domains.Worker // of the nodes that have one, by name
}

// point is a node that looks for frames, on all its NICs.
type point struct {
	node  topology.Node
	views []view // one a NIC
	saw   []seen
}

// newExperiment is a proof whose mark, but for its prefix, nobody has seen.
func (b Build) newExperiment(prefix string) (experiment, error) {
	if !prefixes.MatchString(prefix) {
		return experiment{}, fmt.Errorf("%q is not four hexadecimal digits", prefix)
	}
	rest := make([]byte, 6)
	_, _ = rand.Read(rest) // never fails
	return experiment{Build: b, flows: flowsOf(b.Lab), nonce: prefix + hex.EncodeToString(rest)}, nil
}

// run looks everywhere, then sends, then gathers and judges what was seen. listens says in
// which nodes captures do already.
func (e *experiment) run(ctx context.Context, listens func(node string) bool, tell Tell) ([]point, error) {
	resource := "lab/" + e.Lab.Name
	looking := e.points()
	defer e.hangUp()
	if err := e.connect(ctx, looking); err != nil {
		return nil, err
	}
	defer e.disarm(ctx, looking)
	var found []doing
	group, began := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		found, err = e.lookAtImpairments(began)
		return err
	})
	silent := slices.DeleteFunc(slices.Clone(looking), func(p point) bool { return listens(p.node.Name) })
	if len(silent) > 0 {
		tell.note("prove", resource, "captures start")
		group.Go(func() error {
			e.hire(began, silent)
			return e.arm(began, silent)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	e.allowFor(found)
	points := e.points() // what they must see is known now
	tell.note("prove", resource, "marked frames are sent")
	serr := atEach(ctx, points, e.send)
	tell.note("prove", resource, "marked frames are looked for")
	sent := time.Now()
	settled, deadline := sent.Add(ringTime+e.held()), sent.Add(e.arrivesWithin())
	gerr := atEach(ctx, points, func(ctx context.Context, p *point) error { return e.gather(ctx, p, settled, deadline) })
	if err := errors.Join(serr, gerr); err != nil {
		return nil, err
	}
	if e.impaired != nil {
		return points, e.judgeImpaired(points)
	}
	var wrong []error
	for _, p := range points {
		wrong = append(wrong, p.judge())
	}
	return points, errors.Join(wrong...)
}

// connect connects with the workers of nodes that have one.
func (e *experiment) connect(ctx context.Context, points []point) error {
	e.workers = map[string]*domains.Worker{}
	for _, p := range points {
		if !e.State.HasWorker(p.node.Name) {
			continue
		}
		w, err := e.agent(p.node).Worker(ctx)
		if err != nil {
			return fmt.Errorf("node %s: %w", p.node.Name, err)
		}
		e.workers[p.node.Name] = w
	}
	return nil
}

// hire starts a worker in each of those nodes that has none and can have one; others are served by their agents.
func (e *experiment) hire(ctx context.Context, points []point) {
	var mu sync.Mutex
	_ = atEach(ctx, points, func(ctx context.Context, p *point) error {
		if e.workers[p.node.Name] != nil {
			return nil
		}
		w, err := e.machine(p.node).StartWorker(ctx)
		if w != nil {
			mu.Lock()
			defer mu.Unlock()
			e.workers[p.node.Name] = w
		}
		return err
	})
}

func (e *experiment) hangUp() {
	for _, w := range e.workers {
		_ = w.Close()
	}
}

// atEach does one thing at all points at once.
func atEach(ctx context.Context, points []point, do func(context.Context, *point) error) error {
	errs := make([]error, len(points))
	var group errgroup.Group
	for i := range points {
		group.Go(func() error {
			if err := do(ctx, &points[i]); err != nil {
				errs[i] = fmt.Errorf("node %s: %w", points[i].node.Name, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

func (e experiment) agent(n topology.Node) domains.Agent { return domains.Agent{On: e.On, Node: n} }

// points are the nodes that send, receive, or capture a copy, and what each NIC of theirs must see.
func (e experiment) points() []point {
	var points []point
	for _, n := range e.Lab.Nodes {
		p := point{node: n}
		for i, nic := range n.NICs {
			at := watches(e.Lab, n, i)
			v := view{nic: i, named: fmt.Sprintf("%s's NIC %d (%s)", n.Name, i+1, describeNIC(nic)), corrupted: e.corrupts()}
			for k, f := range e.flows {
				if slices.Contains(f.path, at) {
					v.want = append(v.want, marks(k, f)...)
				}
			}
			p.views = append(p.views, v)
		}
		if p.wants() > 0 {
			points = append(points, p)
		}
	}
	return points
}

func (p point) wants() int {
	n := 0
	for _, v := range p.views {
		n += len(v.want)
	}
	return n
}

// nics is the number of the point's NICs that must see frames.
func (p point) nics() int {
	n := 0
	for _, v := range p.views {
		if len(v.want) > 0 {
			n++
		}
	}
	return n
}

// judge joins what is wrong with each NIC's view.
func (p point) judge() error {
	var wrong []error
	for _, v := range p.views {
		wrong = append(wrong, v.judge(p.saw))
	}
	return errors.Join(wrong...)
}

func describeNIC(nic topology.NIC) string {
	on := nic.Network
	if nic.Side != "" {
		on += "/" + nic.Side
	}
	if nic.Mirror != "" {
		return "copy of " + nic.Mirror + "'s on " + on
	}
	return on
}

// marks are the frames of a flow as they are sent.
func marks(k int, f flow) []sent {
	var ms []sent
	for i, size := range f.sizes {
		ms = append(ms, sent{mark: mark{k, i}, bytes: size + frameHeader, way: wayOf(f.src, f.dst)})
	}
	return ms
}

// foreignPaths tells of the networks under test that are none of labctl's, which a
// proof that fails is to be looked for in first.
func (b Build) foreignPaths() string {
	var told strings.Builder
	for _, n := range b.Lab.Networks {
		if n.Under != topology.UnderExternal {
			continue
		}
		var ends []string
		for _, s := range n.Segments {
			ends = append(ends, cmp.Or(s.Uplink, "bridge "+s.Bridge))
		}
		fmt.Fprintf(&told, "\n  network %s is external: what joins %s is none of labctl's; does it pass frames both ways, with IP packets of %d bytes?",
			n.Name, strings.Join(ends, " and "), n.MTU)
	}
	return told.String()
}
