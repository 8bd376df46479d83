package kept

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/host"
)

// Draft is a state that is being saved. It can be gone on from, and is kept only once
// what went on from it was proven.
type Draft struct {
	State
	place string
}

// Begin makes the folder of a state that is to be saved, in the place of one that was not finished.
func (s Store) Begin(lab, key string, inputs map[string]string) (Draft, error) {
	place := filepath.Join(s.Dir, lab, key)
	d := Draft{State{Dir: place + host.PartExt, Lab: lab, Key: key, Inputs: inputs, At: time.Now().UTC().Truncate(time.Second), Files: map[string]Sum{}}, place}
	if err := os.RemoveAll(d.Dir); err != nil {
		return d, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return d, err
	}
	return d, os.MkdirAll(d.Dir, 0o700)
}

// Saved notes that the files of a node are in the state.
func (d Draft) Saved(node string) {
	for _, path := range []string{d.Memory(node), d.Disk(node)} {
		d.Files[filepath.Base(path)] = Sum{}
	}
}

// Sum notes the sums of all files, which are not written to any more, unless ctx ends before.
func (d *Draft) Sum(ctx context.Context) error {
	var mu sync.Mutex
	sums := map[string]Sum{} // those of before may be read meanwhile
	var group errgroup.Group
	for name := range d.Files {
		group.Go(func() error {
			got, err := sum(ctx, filepath.Join(d.Dir, name))
			mu.Lock()
			defer mu.Unlock()
			sums[name] = got
			return err
		})
	}
	err := group.Wait()
	d.Files = sums
	return err
}

// Keep puts the state, summed, in its place. It does not wait until all is on the disk: what
// a crash of the host spoils, its sums tell.
func (d *Draft) Keep() (State, error) {
	text, err := json.MarshalIndent(d.State, "", "  ")
	if err != nil {
		return State{}, err
	}
	if err := os.WriteFile(filepath.Join(d.Dir, manifestFile), append(text, '\n'), 0o600); err != nil {
		return State{}, err
	}
	if err := os.RemoveAll(d.place); err != nil {
		return State{}, err
	}
	if err := os.Rename(d.Dir, d.place); err != nil {
		return State{}, err
	}
	d.Dir = d.place
	kept := d.State
	*d = Draft{}
	return kept, nil
}

// Drop removes it unless it was put in its place.
func (d Draft) Drop() error {
	if d.Dir == "" {
		return nil
	}
	return remove(d.Dir)
}

// remove removes a folder, and those above it up to the store's where they are empty.
func remove(dir string) error {
	err := os.RemoveAll(dir)
	for range 2 {
		dir = filepath.Dir(dir)
		_ = os.Remove(dir)
	}
	return err
}

// Unfinished removes what is left of a lab's states that were not finished.
func (s Store) Unfinished(lab string) error {
	parts, err := filepath.Glob(filepath.Join(s.Dir, lab, "*"+host.PartExt))
	errs := []error{err}
	for _, p := range parts {
		errs = append(errs, remove(p))
	}
	return errors.Join(errs...)
}

// Remove removes a state.
func (s State) Remove() error { return remove(s.Dir) }

// Forget removes all that is kept of a lab, its keys too.
func (s Store) Forget(lab string) error {
	err := os.RemoveAll(filepath.Join(s.Dir, lab))
	_ = os.Remove(s.Dir)
	return err
}

// Labs are the names of those of which something is kept, with the bytes that it takes.
func (s Store) Labs() (map[string]int64, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	labs := map[string]int64{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		labs[e.Name()] = 0
		err = errors.Join(err, filepath.WalkDir(filepath.Join(s.Dir, e.Name()), func(_ string, f fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went meanwhile
			}
			if err != nil || !f.Type().IsRegular() {
				return err
			}
			if i, err := f.Info(); err == nil {
				labs[e.Name()] += i.Size()
			}
			return nil
		}))
	}
	return labs, err
}

// Used notes that a state was gone on from: the one that was not for longest goes first
// where there are too many.
func (s State) Used() error {
	now := time.Now()
	return os.Chtimes(filepath.Join(s.Dir, manifestFile), now, now)
}

// Oldest are all whole states, the one that was not used for longest first.
func (s Store) Oldest() ([]State, error) {
	all, err := s.of("*")
	if err != nil {
		return nil, err
	}
	used := map[string]time.Time{} // by folder
	for _, state := range all {
		if i, err := os.Stat(filepath.Join(state.Dir, manifestFile)); err == nil {
			used[state.Dir] = i.ModTime()
		}
	}
	slices.SortFunc(all, func(a, b State) int { return used[a.Dir].Compare(used[b.Dir]) })
	return all, nil
}
