package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab/kept"
)

// A lab that has booted is saved before it is proven, and goes on from what was saved:
// what the proof then shows is true of the state that is kept, and of all that go on from it.

// saves says whether the ready state of a lab that boots is to be saved.
func (b Build) saves(limit int64, tell Tell) (bool, error) {
	if limit == 0 || b.On.Fake() {
		return false, nil
	}
	var most int64
	for _, m := range b.Machines() {
		most += int64(m.Node.MemoryMiB) << 20
	}
	var s unix.Statfs_t
	if err := unix.Statfs(b.On.Dir, &s); err != nil {
		return false, err
	}
	if free := int64(s.Bavail) * s.Bsize; free < most+leaveFree {
		tell.warn(fmt.Sprintf("%sit may take %d MiB, and %s has %d MiB free, of which %d are left to the nodes", notKept, most>>20, b.On.Dir, free>>20, leaveFree>>20))
		return false, nil
	}
	return true, nil
}

const notKept = "the ready state is not kept, so that the next labctl up boots, and labctl reset does: "

var errNoneSaved = errors.New("no node can be saved")

// leaveFree is how much is left to the disks of nodes when a state is saved (bytes).
const leaveFree = 256 << 20

// save writes the state of all nodes into a draft, all at once, and ends
// their machines. What could not be saved stands still. The nodes works have a worker.
func (b *Build) save(ctx context.Context, inputs map[string]string, works []string, tell Tell) (kept.Draft, error) {
	d, err := b.kept().Begin(b.Lab.Name, keyOf(inputs), inputs)
	if err != nil {
		return d, err
	}
	d.Marks, d.Works = prefixOf(inputs), works
	if err := b.prepareNodes(ctx, d.Marks, works, tell); err != nil {
		return d, err
	}
	err = b.saveInto(d, tell, func(m domains.Machine) error {
		if err := m.Save(ctx, d.Memory(m.Node.Name)); err != nil {
			return err
		}
		return images.CopyDisk(ctx, b.diskPath(m.Node), d.Disk(m.Node.Name))
	})
	b.State = d.State
	return d, err
}

// prefixOf is how the marks begin that are looked for in nodes since they were saved.
func prefixOf(inputs map[string]string) string { return keyOf(inputs)[:4] }

// prepareNodes has captures listen in nodes that have no worker, and chronyd step in all: what goes on from
// what is saved then is proven the sooner.
func (b Build) prepareNodes(ctx context.Context, marks string, works []string, tell Tell) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Arm(ctx, marks, works, tell) })
	for _, m := range b.Machines() {
		m.Works = slices.Contains(works, m.Node.Name)
		group.Go(func() error { return m.LetClockStep(ctx) })
	}
	return group.Wait()
}

// saveInto saves each node that can be. Where one fails the draft is good to go on from, and
// not to be kept, unless its guest held a device of the host: it boots where others go on.
func (b Build) saveInto(d kept.Draft, tell Tell, save func(domains.Machine) error) error {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	for _, m := range b.Machines() {
		group.Go(func() error {
			err := tell.work("save", m.String(), func() error { return save(m) })
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				d.Saved(m.Node.Name)
			case errors.As(err, new(domains.Held)):
				tell.warn(fmt.Sprintf("node %s is not saved, and boots where others go on: %v", m.Node.Name, err))
			default:
				errs = append(errs, fmt.Errorf("save %s: %w", m, err))
			}
			return nil
		})
	}
	_ = group.Wait()
	if len(d.Files)+len(errs) == 0 {
		errs = append(errs, errNoneSaved)
	}
	return errors.Join(errs...)
}

// saveAndGoOn saves the nodes' state and has them go on from it, and says whether it is whole.
// Where they cannot, they boot again, and nothing is kept.
func (b *Build) saveAndGoOn(ctx context.Context, inputs map[string]string, works []string, tell Tell) (kept.Draft, bool, error) {
	draft, failed := b.save(ctx, inputs, works, tell)
	if ctx.Err() != nil {
		return draft, false, context.Cause(ctx)
	}
	_, _, err := b.make(ctx, sources{}, tell, leave)
	if err != nil && ctx.Err() == nil {
		failed = errors.Join(failed, err)
		b.State = kept.State{}
		works = nil
		if err = b.off(); err == nil {
			_, _, err = b.make(ctx, sources{}, tell, leave)
		}
	}
	b.endWorkers(ctx, func(node string) bool { return slices.Contains(works, node) && !draft.Has(node) })
	if failed != nil {
		tell.warn(notKept + failed.Error())
		drop(&draft, tell) // the disk may be full
	}
	return draft, failed == nil, err
}

// off ends all machines.
func (b Build) off() error {
	var errs []error
	for _, m := range b.Machines() {
		errs = append(errs, m.Off())
	}
	return errors.Join(errs...)
}

// keep puts the state that was gone on from, and proven, in its place, with the keys that are in it, where
// its files could be summed.
func (b *Build) keep(ctx context.Context, d *kept.Draft, summed error, limit int64, tell Tell) bool {
	err := tell.work("keep", "state/"+b.Lab.Name, func() error {
		if summed != nil {
			return summed
		}
		if err := b.makeRoom(ctx, limit, tell); err != nil {
			return err
		}
		err := b.keys().KeepIn(b.kept().Keys(b.Lab.Name))
		if err != nil {
			return err
		}
		b.State, err = d.Keep()
		return err
	})
	if err != nil {
		tell.warn(fmt.Sprintf("the ready state is not kept: %v", err))
	}
	return err == nil
}

// makeRoom removes states that were not used for longest until all that are kept, the new
// one among them, take no more than limit (bytes). Those of labs that are on the host stay.
func (b Build) makeRoom(ctx context.Context, limit int64, tell Tell) error {
	store := b.kept()
	labs, err := store.Labs()
	if err != nil {
		return err
	}
	total := int64(0)
	for _, n := range labs {
		total += n
	}
	if total <= limit {
		return nil
	}
	oldest, err := store.Oldest()
	if err != nil {
		return err
	}
	for _, s := range oldest {
		if total <= limit {
			break
		}
		if s.Lab == b.Lab.Name && s.Key == b.State.Key || s.Lab != b.Lab.Name && isThere(b.On.LabDir(s.Lab)) {
			continue
		}
		freed, err := removeState(ctx, s, b.Lab.Name)
		if err != nil {
			return err
		}
		if freed {
			tell.Note(fmt.Sprintf("the ready state of lab %s of %s is removed: together they took more than %d MiB", s.Lab, s.At.Format("2006-01-02 15:04"), limit>>20))
			total -= s.Bytes()
		}
	}
	if total > limit {
		return fmt.Errorf("it and what else cannot go take %d MiB, of the %d MiB that ready states may take (--state-limit)", labs[b.Lab.Name]>>20, limit>>20)
	}
	return nil
}

// removeState removes a state unless another labctl works on its lab. own is the lab that
// this one works on.
func removeState(ctx context.Context, s kept.State, own string) (bool, error) {
	if s.Lab == own {
		return true, s.Remove()
	}
	return unworked(ctx, s.Lab, s.Remove)
}

// unworked does something with what is kept of a lab, unless another labctl works on it.
func unworked(ctx context.Context, lab string, do func() error) (bool, error) {
	unlock, holder, err := tryLock(ctx, lab, "removing a ready state")
	if err != nil || holder != "" {
		return false, err
	}
	defer unlock()
	return true, do()
}

// PruneStates removes what is kept of labs that are not on the host, whose folders are
// below dir, and returns how many bytes it took by lab.
func PruneStates(ctx context.Context, dir string) (map[string]int64, error) {
	h := &host.Host{Dir: dir}
	store := kept.Store{Dir: h.KeptDir()}
	labs, err := store.Labs()
	if err != nil {
		return nil, err
	}
	var errs []error
	for name := range labs {
		freed := false
		if !isThere(h.LabDir(name)) {
			freed, err = unworked(ctx, name, func() error { return store.Forget(name) })
			errs = append(errs, err)
		}
		if !freed {
			delete(labs, name)
		}
	}
	return labs, errors.Join(errs...)
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// drop removes a draft that is not to be kept.
func drop(d *kept.Draft, tell Tell) {
	if err := d.Drop(); err != nil {
		tell.warn(fmt.Sprintf("what was saved of the nodes is left in %s: %v", d.Dir, err))
	}
}
