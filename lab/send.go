package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/topology"
)

// pieceMost is the longest datagram (bytes) that bash sends as one: its standard output
// is written in pieces of so many.
const pieceMost = 4096

// send sends a node's marked frames.
func (e experiment) send(ctx context.Context, p *point) error {
	if !slices.ContainsFunc(e.flows, func(f flow) bool { return f.from.Name == p.node.Name }) {
		return nil
	}
	if w := e.workers[p.node.Name]; w != nil {
		_, err := w.Ask(ctx, e.asked(p.node)...)
		return err
	}
	a := e.agent(p.node)
	links, err := a.Links(ctx)
	if err != nil {
		return err
	}
	_, err = a.Bash(ctx, e.sending(p.node, links))
	return err
}

// asked is what a node's worker is asked for so that it sends its marked frames.
func (e experiment) asked(n topology.Node) []string {
	var things []string
	for k, f := range e.flows {
		if f.from.Name != n.Name {
			continue
		}
		for i, size := range f.sizes {
			things = append(things, fmt.Sprintf("send %x %x %d %d %s", f.src.AsSlice(), f.dst.AsSlice(), proofPort, size-f.headers(), mark{k, i}.text(e.nonce)))
		}
	}
	return things
}

// headers are the bytes of a datagram's headers.
func (f flow) headers() int {
	if f.six() {
		return ip6UDPHeaders
	}
	return ipUDPHeaders
}

// sending is the script that sends a node's marked frames. It starts no process where
// that can be, which is what software emulation is slowest at: bash sends by itself
// what fits in one piece, from the address that the kernel chooses.
func (e experiment) sending(n topology.Node, links []domains.Link) string {
	var s strings.Builder
	longest := 0
	for k, f := range e.flows {
		if f.from.Name != n.Name {
			continue
		}
		for i, size := range f.sizes {
			text := mark{k, i}.text(e.nonce)
			longest = max(longest, size)
			fmt.Fprintf(&s, `printf %%s "%s${pad:0:%d}" %s || exit`+"\n", text, size-f.headers()-len(text), e.outlet(f, size-f.headers(), links))
		}
	}
	return fmt.Sprintf("printf -v pad %%%ds\n", longest) + s.String()
}

// outlet is where a script writes a datagram of a flow so that it is sent.
func (e experiment) outlet(f flow, bytes int, links []domains.Link) string {
	if bytes <= pieceMost && f.isFromOnly(links) {
		return fmt.Sprintf(">/dev/udp/%s/%d", f.dst, proofPort)
	}
	to := fmt.Sprintf("UDP4-SENDTO:%s:%d,bind=%s", f.dst, proofPort, f.src)
	if f.six() {
		to = fmt.Sprintf("'UDP6-SENDTO:[%s]:%d,bind=[%s]'", f.dst, proofPort, f.src)
	}
	return fmt.Sprintf(">%[1]s.frame && socat -u -b 65536 OPEN:%[1]s.frame %[2]s", e.file(), to)
}

// isFromOnly says that the kernel can choose no other address to send the flow from: the
// NIC that it goes out at has but this one.
func (f flow) isFromOnly(links []domains.Link) bool {
	mac := f.from.NICs[f.path[0].nic].MAC.String()
	k := slices.IndexFunc(links, func(l domains.Link) bool { return l.MAC == mac })
	if k < 0 {
		return false
	}
	has := false
	for _, a := range links[k].Addresses {
		if a.Address.Is6() != f.six() || a.Address.IsLinkLocalUnicast() {
			continue
		}
		if a.Address != f.src {
			return false
		}
		has = true
	}
	return has
}
