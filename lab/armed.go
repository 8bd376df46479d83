package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/bpf"

	"github.com/mami-project/labctl/domains"
)

// prefixes are how a proof's nonce may begin: captures take the frames of all proofs
// that begin like theirs.
var prefixes = regexp.MustCompile(`^[0-9a-f]{4}$`)

// captureName begins the names of captures: of their files in a node's /run, and of their process.
const captureName = "labctl-proof"

// captureMost is the most that is read of a node's capture (bytes).
const captureMost = 4 << 20

// How often a capture is looked at, and every how many looks whether it has failed. What
// a look takes is the guest's time, of which they take no more than a fifth.
const (
	capturePoll  = 25 * time.Millisecond
	captureFails = 4
	lookShare    = 5
)

// ringTime is how long after the last frame all captures have been handed it: each NIC's
// buffer is given to dumpcap when it was filled, or 250 ms old.
// Source: Wireshark, dumpcap.c, CAP_READ_TIMEOUT; packet(7), TPACKET_V3.
const ringTime = 300 * time.Millisecond

// disarmTime is how long nodes may take to end their captures: longer than it takes them, and not longer than who
// interrupts a proof waits for one that hangs.
const disarmTime = 2 * time.Second

// Arm starts the captures that a proof needs in every node that looks, and waits until
// they take frames: ProveArmed with the same prefix, four hexadecimal digits, is then
// spared that. Captures of other proofs are ended. Those nodes are left
// alone whose workers capture.
func (b Build) Arm(ctx context.Context, prefix string, works []string, tell Tell) error {
	e, err := b.newExperiment(prefix)
	if err != nil {
		return err
	}
	points := slices.DeleteFunc(e.points(), func(p point) bool { return slices.Contains(works, p.node.Name) })
	if len(points) == 0 {
		return nil
	}
	return tell.work("arm", "lab/"+b.Lab.Name, func() error { return e.arm(ctx, points) })
}

// arm starts the captures.
func (e experiment) arm(ctx context.Context, points []point) error {
	err := atEach(ctx, points, func(ctx context.Context, p *point) error {
		if w := e.workers[p.node.Name]; w != nil {
			return e.take(ctx, w, *p)
		}
		a := e.agent(p.node)
		pid, err := a.Start(ctx, nil, "/bin/bash", "-c", e.listen(*p))
		if err != nil {
			return err
		}
		return e.listens(ctx, a, p, pid)
	})
	if err != nil {
		return fmt.Errorf("start a capture: %w", err)
	}
	return nil
}

// take has a node's worker take frames at all NICs of a point, and forget those of before.
func (e experiment) take(ctx context.Context, w *domains.Worker, p point) error {
	program, err := bpf.Assemble(e.program())
	if err != nil {
		return err
	}
	var nics []net.HardwareAddr
	for _, nic := range p.node.NICs {
		nics = append(nics, nic.MAC)
	}
	return w.Take(ctx, program, nics)
}

// listens waits until the capture of that process takes frames at all NICs of a point,
// which it does before it writes of them.
func (e experiment) listens(ctx context.Context, a domains.Agent, p *point, pid int) error {
	var f domains.OpenFile
	var c capture
	open := false
	for look := 1; ; look++ {
		asked := time.Now()
		if !open {
			var err error
			if f, err = a.Open(ctx, e.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			open = err == nil
		}
		if open {
			if err := c.more(ctx, f); err != nil {
				return err
			}
			switch began, by := c.by(); {
			case began && by != fmt.Sprint(pid): // an old one's
				open, c = false, capture{}
				_ = f.Close(ctx)
			case began && c.nics() == len(p.node.NICs):
				return f.Close(ctx)
			}
		}
		if look%captureFails == 0 {
			if r, ended, err := a.Ended(ctx, pid); err != nil || ended {
				return cmp.Or(err, r.Failed())
			}
		}
		if err := pauseSince(ctx, asked); err != nil {
			return err
		}
	}
}

// gather reads what a node's capture took, until all that is wanted is there, and
// whatever came meanwhile at other NICs: that is from settled on. At the deadline what
// is there is all.
func (e experiment) gather(ctx context.Context, p *point, settled, deadline time.Time) (err error) {
	if w := e.workers[p.node.Name]; w != nil {
		return e.await(ctx, p, w, settled, deadline)
	}
	f, err := e.agent(p.node).Open(ctx, e.file())
	if err != nil {
		return fmt.Errorf("no capture listens for marks that begin with %s: %w", e.prefix(), err)
	}
	defer func() { err = errors.Join(err, f.Close(ctx)) }()
	return e.await(ctx, p, f, settled, deadline)
}

// reader is a capture that may grow.
type reader interface {
	Read(ctx context.Context) ([]byte, error)
}

func (e experiment) await(ctx context.Context, p *point, f reader, settled, deadline time.Time) (err error) {
	var c capture
	for {
		now := time.Now()
		if err := c.more(ctx, f); err != nil {
			return err
		}
		p.saw, err = readCapture(c.frames(), e.nonce)
		switch {
		case now.After(deadline):
			return err
		case !e.chance() && err == nil && now.After(settled) && p.complete():
			return nil
		}
		if err := pauseSince(ctx, now); err != nil {
			return err
		}
	}
}

// complete says whether each frame that a point must see was seen.
func (p point) complete() bool {
	for _, v := range p.views {
		times := v.times(p.saw)
		if slices.ContainsFunc(v.want, func(m sent) bool { return times[m.mark] == 0 }) {
			return false
		}
	}
	return true
}

// disarm ends the captures, also where the proof was interrupted. Workers have nothing else to do, and end;
// what removes other captures nobody waits for.
func (e experiment) disarm(ctx context.Context, points []point) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), disarmTime)
	defer cancel()
	_ = atEach(ctx, points, func(ctx context.Context, p *point) error {
		if w := e.workers[p.node.Name]; w != nil {
			_, err := w.Ask(ctx, "end")
			return err
		}
		_, err := e.agent(p.node).Start(ctx, nil, "/bin/bash", "-c", "cd /run || exit\n"+sweep(captureName+"."+e.prefix()+"*"))
		return err
	})
}

// capture is what has been read of a node's capture: a line with the number of the
// process that writes it, then pcapng.
type capture struct{ text []byte }

func (c *capture) more(ctx context.Context, f reader) error {
	text, err := f.Read(ctx)
	c.text = append(c.text, text...)
	if len(c.text) > captureMost {
		return fmt.Errorf("its capture is longer than %d bytes", captureMost)
	}
	return err
}

// by is the process that writes it, once it has begun.
func (c *capture) by() (began bool, pid string) {
	line, _, began := bytes.Cut(c.text, []byte("\n"))
	return began, string(line)
}

func (c *capture) frames() []byte {
	_, frames, _ := bytes.Cut(c.text, []byte("\n"))
	return frames
}

// nics is the number of NICs that it has begun to take frames at.
func (c *capture) nics() int { return interfacesIn(c.frames()) }

func (e experiment) prefix() string { return e.nonce[:4] }

// file is where a node keeps its capture, in memory.
func (e experiment) file() string { return "/run/" + captureName + "." + e.prefix() }

// listen is the script that takes frames on all NICs of a node, in the order of its
// NICs, into its file, and shows there at once what it has.
func (e experiment) listen(p point) string {
	var find, links strings.Builder
	for i, nic := range p.node.NICs {
		fmt.Fprintf(&find, "%s) nic%d=${d##*/} ;; ", nic.MAC, i)
		fmt.Fprintf(&links, ` -i "$nic%d"`, i)
	}
	return fmt.Sprintf(`cd /run || exit
%[1]sfor d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in %[2]sesac; done
echo $$ >%[3]s
exec -a %[4]s dumpcap -q -f '%[5]s'%[6]s -a duration:300 -w - >>%[3]s
`, sweep(captureName+".*"), find.String(), e.file(), captureName, e.filter(), links.String())
}

// sweep is a script that ends the captures whose files' names match, and removes these.
func sweep(pattern string) string {
	return fmt.Sprintf(`for old in %s; do
	[ -e "$old" ] || continue
	read -r pid <"$old" && mapfile -d '' words <"/proc/$pid/cmdline" && [[ ${words[*]} = *%s* ]] && kill "$pid"
	rm -f "$old"
done 2>/dev/null
`, pattern, captureName)
}

// pauseSince waits after a look that was begun then.
func pauseSince(ctx context.Context, asked time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(max(capturePoll, (lookShare-1)*time.Since(asked))):
		return nil
	}
}
