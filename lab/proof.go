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

// How long the frames have to arrive everywhere once they were sent (s): far
// longer than they take on a slow machine, and only waited for when one is lost.
const arriveTime = 10

// Prove shows that the lab's networks with sides carry frames between their
// sides, that mirrors copy each exactly once, and that no other network carries
// them. Frames bearing a mark of this proof alone are sent both ways in several
// sizes, and looked for at their sender, their receiver and the mirrors. Where the
// network under test is impaired, frames are lost on purpose: mirrors are then compared
// with the NICs that they copy.
func (b Build) Prove(ctx context.Context, tell Tell) (Proof, error) {
	flows := flowsOf(b.Lab)
	if len(flows) == 0 {
		return Proof{}, nil
	}
	start := time.Now()
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce) // never fails
	e := experiment{Build: b, flows: flows, nonce: hex.EncodeToString(nonce)}
	if err := e.lookAtImpairments(ctx); err != nil {
		return Proof{}, fmt.Errorf("look at the impairments: %w", err)
	}
	var points []point
	err := tell.work("prove", "lab/"+b.Lab.Name, func() (err error) {
		points, err = e.run(ctx, tell)
		return err
	})
	if err != nil {
		return Proof{}, fmt.Errorf("prove the data path: %w%s", err, b.foreignPaths())
	}
	p := Proof{Flows: len(flows), Took: time.Since(start), Impaired: e.impaired != nil}
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

	impaired []topology.Impair // what the directions that frames pass do now; nil where they do nothing
}

// point is a node that looks for frames, on all its NICs.
type point struct {
	node  topology.Node
	views []view // one a NIC
	saw   []seen
}

// run looks everywhere, then sends, then gathers and judges what was seen.
func (e experiment) run(ctx context.Context, tell Tell) ([]point, error) {
	points := e.points()
	resource := "lab/" + e.Lab.Name
	tell.note("prove", resource, "captures start")
	if err := atEach(ctx, points, func(ctx context.Context, p *point) error {
		_, err := e.agent(p.node).Bash(ctx, e.listen(*p))
		return err
	}); err != nil {
		return nil, fmt.Errorf("start a capture: %w", err)
	}
	tell.note("prove", resource, "marked frames are sent")
	serr := atEach(ctx, points, func(ctx context.Context, p *point) error {
		script := e.send(p.node)
		if script == "" {
			return nil
		}
		_, err := e.agent(p.node).Bash(ctx, script)
		return err
	})
	tell.note("prove", resource, "marked frames are looked for")
	gerr := atEach(ctx, points, func(ctx context.Context, p *point) error {
		file, err := e.agent(p.node).Bash(ctx, gather(e.arrivesWithin()))
		if err != nil {
			return err
		}
		p.saw, err = readCapture(file, e.nonce)
		return err
	})
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
			v := view{nic: i, named: fmt.Sprintf("%s's NIC %d (%s)", n.Name, i+1, describeNIC(nic)), most: nic.MTU + frameHeader, corrupted: e.corrupts()}
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

func marks(k int, f flow) []mark {
	var ms []mark
	for i := range f.sizes {
		ms = append(ms, mark{k, i})
	}
	return ms
}

// captureDir is where a node keeps its capture during a proof, in memory.
const captureDir = "/run/labctl-proof"

// listen is the script that starts a capture on all NICs of a node, in the order
// of its NICs, and ends when frames are really being taken.
func (e experiment) listen(p point) string {
	var find, links strings.Builder
	for i, nic := range p.node.NICs {
		fmt.Fprintf(&find, "%s) nic%d=${d##*/} ;; ", nic.MAC, i)
		fmt.Fprintf(&links, ` -i "$nic%d"`, i)
	}
	end := fmt.Sprintf("-a packets:%d ", p.wants())
	if e.impaired != nil {
		end = "" // how many come is not known
	}
	return fmt.Sprintf(`
for d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in %[5]sesac; done
mkdir -p %[1]s && cd %[1]s || exit
[ -e pid ] && read -r old <pid && kill "$old" 2>/dev/null
: >log >frames
%[4]s
dumpcap -q -f '%[3]s'%[2]s %[6]s-a duration:300 -w frames </dev/null >log 2>&1 &
echo $! >pid
until read -rd '' said <log; [[ $said = *File:* ]]; do
	kill -0 $! 2>/dev/null || { cat log >&2; exit 1; }
	pause
done`, captureDir, links.String(), e.filter(), pause, find.String(), end)
}

// filter is what captures take: datagrams to the proof's port whose mark begins like
// this proof's. libpcap counts bytes of UDP only over IPv4; IPv6 is counted from its header.
// Source: pcap-filter(7).
func (e experiment) filter() string {
	nonce := fmt.Sprintf("0x%x", e.nonce[:4])
	marked := "udp[21:4] = " + nonce
	if slices.ContainsFunc(e.flows, flow.six) {
		marked = fmt.Sprintf("(%s or ip6[61:4] = %s)", marked, nonce)
	}
	return fmt.Sprintf("udp dst port %d and %s", proofPort, marked)
}

// pause is a shell function that waits without starting a process, which is what
// software emulation is slowest at.
const pause = `exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }`

// send is the script that sends a node's marked frames.
func (e experiment) send(n topology.Node) string {
	var s strings.Builder
	for k, f := range e.flows {
		if f.from.Name != n.Name {
			continue
		}
		for i, size := range f.sizes {
			headers, to := ipUDPHeaders, fmt.Sprintf("UDP4-SENDTO:%s:%d,bind=%s", f.dst, proofPort, f.src)
			if f.six() {
				headers, to = ip6UDPHeaders, fmt.Sprintf("'UDP6-SENDTO:[%s]:%d,bind=[%s]'", f.dst, proofPort, f.src)
			}
			fmt.Fprintf(&s, "printf '%%-%ds' '%s' >frame && socat -u -b 65536 OPEN:frame %s || exit\n",
				size-headers, mark{k, i}.text(e.nonce), to)
		}
	}
	if s.Len() == 0 {
		return ""
	}
	return "cd " + captureDir + "\n" + s.String()
}

// gather is the script that waits until a node's capture has ended, and prints it.
// That it does by itself once as many frames have come as are wanted (a frame that came
// twice is then there in another's place), or after so many seconds.
func gather(within int) string {
	return fmt.Sprintf(`
cd %[1]s && read -r pid <pid && read -r start rest </proc/uptime || exit
%[2]s
while kill -0 "$pid" 2>/dev/null; do
	read -r now rest </proc/uptime
	[ $((${now%%.*} - ${start%%.*})) -gt %[3]d ] && kill -INT "$pid"
	pause
done
cat frames
cd / && rm -rf %[1]s`, captureDir, pause, within)
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
