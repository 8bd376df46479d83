package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Wanted is how a lab is brought up.
type Wanted struct {
	From    string        // where the file came from, for people
	Keep    bool          // leave what a failed run made, for a look
	Replace bool          // take a lab made from another file down first
	Timeout time.Duration // for all of it, building an image excepted
	TTL     time.Duration // how long the lab is to stay from when its claim is made; 0: as long as it was to
	Cold    bool          // boot, also where a ready state is kept that could be gone on from
	// StateLimit is how much the ready states of all labs may take on the disk (bytes); 0:
	// none is kept. What was not used for longest goes first.
	StateLimit int64
}

// How long taking back what a failed run made may take.
const undoTime = 2 * time.Minute

// Up brings the lab up: it makes what is missing, starts what is off, and waits
// until the lab is proven ready. What a failed or interrupted run made is taken
// back, unless it is to be kept; what was there before stays.
func Up(ctx context.Context, h *host.Host, f topology.File, w Wanted, tell Tell) (Build, Proof, error) {
	lockCtx, cancel := context.WithTimeoutCause(ctx, w.Timeout, TimedOut{w.Timeout})
	defer cancel()
	unlock, err := lock(lockCtx, f.Name, "labctl up", tell)
	if err != nil {
		return Build{}, Proof{}, err
	}
	defer unlock()
	if w.Replace {
		if err := replace(ctx, h, f, w.From, tell); err != nil {
			return Build{}, Proof{}, err
		}
	}
	b, made, err := claim(ctx, h, f, w, tell)
	if err != nil {
		return Build{}, Proof{}, b.takeBack(ctx, made, w.Keep, tell, err)
	}
	proof, more, err := b.raise(ctx, w, tell)
	if err != nil {
		return b, proof, b.takeBack(ctx, append(made, more...), w.Keep, tell, err)
	}
	return b, proof, nil
}

// claim decides the lab and takes its name and its subnets, under the one lock
// of the host that all claims are made under. The mark of a lab that is there is
// written anew where it is to stay for another time.
func claim(ctx context.Context, h *host.Host, f topology.File, w Wanted, tell Tell) (Build, [][]Removable, error) {
	unlock, err := host.Lock(ctx, "claims", "labctl up", func(holder string) {
		tell.note("wait", "lab/"+f.Name, "another labctl chooses subnets: "+holder)
	})
	if err != nil {
		return Build{}, nil, err
	}
	defer unlock()
	b, err := Prepare(h, f, w.From)
	if err != nil {
		return Build{}, nil, err
	}
	if w.TTL > 0 {
		b.Made.keep(w.TTL)
	}
	p, err := PlanUp(ctx, b.Resources())
	if err != nil {
		return Build{}, nil, err
	}
	if err := b.Preflight(ctx, p); err != nil {
		return Build{}, nil, err
	}
	disturbed, err := b.Disturbed()
	if err != nil {
		return Build{}, nil, err
	}
	for _, what := range disturbed {
		tell.warn(what)
	}
	p.Stages = p.Stages[:1] // the folder and its mark: the claim
	if w.TTL > 0 && p.Empty() {
		if err := tell.work("renew", b.folder().String(), b.folder().write); err != nil {
			return Build{}, nil, fmt.Errorf("renew %s: %w", b.folder(), err)
		}
	}
	made, err := p.Apply(ctx, tell)
	return b, made, err
}

// raise builds on the claim: base images, then what the time is counted for.
func (b *Build) raise(ctx context.Context, w Wanted, tell Tell) (Proof, [][]Removable, error) {
	release, err := b.openBases(ctx, tell)
	if err != nil {
		return Proof{}, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, TimedOut{w.Timeout})
	defer cancel()
	proof, made, err := b.converge(ctx, w, release, tell)
	return proof, made, overdue(ctx, err)
}

// overdue puts the deadline or the signal that ended ctx before what was waited for.
func overdue(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// TimedOut says that the lab was not ready in the time it had.
type TimedOut struct{ After time.Duration }

func (t TimedOut) Error() string {
	return fmt.Sprintf("not ready after %s (--timeout gives it longer)", t.After)
}

// takeBack removes what a failed run made, last first, and says what it left. The
// run may have failed since libvirt was restarted.
func (b Build) takeBack(ctx context.Context, made [][]Removable, keep bool, tell Tell, err error) error {
	if count(made) == 0 {
		return err
	}
	if alive, aerr := b.On.IsAlive(); aerr != nil || !alive {
		err = fmt.Errorf("libvirt has ended the connection (was it restarted?): labctl up again: %w", err)
	}
	if keep {
		tell.warn("what was made is left for a look (--keep); labctl down removes it")
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if lost := b.On.Revive(ctx, func() { tell.warn("libvirt does not answer; what was made is taken back once it does") }); lost != nil {
		return errors.Join(err, lost, fmt.Errorf("what was made is left; labctl down %s removes it", b.Lab.Name))
	}
	return errors.Join(err, destroy(ctx, made, tell))
}

// replace takes the lab down where it was made from a file that said otherwise,
// once the base images that the new one stands on are there.
func replace(ctx context.Context, h *host.Host, f topology.File, from string, tell Tell) error {
	_, err := Prepare(h, f, from)
	if !errors.As(err, new(Changed)) {
		return nil // as it was, or Up finds the same mistake again
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		return err
	}
	l.Name += ".next" // whose disks are not there yet: they are what the bases are for
	b := Build{On: h, Lab: l, From: from}
	release, err := b.openBases(ctx, tell)
	if err != nil {
		return err
	}
	release()
	_, err = down(ctx, h, f.Name, tell)
	return err
}

func slowWarning(h *host.Host) string {
	_, why, err := h.KVM()
	if err != nil {
		why = err.Error()
	}
	return "no KVM (" + why + "): machines run under TCG, QEMU's software emulation; their timing and throughput are not those of hardware"
}
