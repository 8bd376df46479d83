// Package kept is the store of labs' ready states: memory and disks of a lab's nodes at
// the moment before it was proven ready, from which it goes on instead of booting. A state
// is kept under a key of all that it depends on, so that it never needs to be changed.
package kept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mami-project/labctl/host"
)

// Store is the folder that holds the states of all labs: DIR/LAB/KEY for a state, and
// DIR/LAB/keys for the keys that the lab's nodes have in each of them. Only root reads it.
type Store struct{ Dir string }

// State is one kept state.
type State struct {
	Dir string `json:"-"`
	Lab string `json:"lab"`
	Key string `json:"key"`
	// Inputs are what the key was made of, by name, as short texts or sums.
	Inputs map[string]string `json:"inputs"`
	Marks  string            `json:"marks"` // how the marks begin for which captures listen in its nodes; "" where none do
	At     time.Time         `json:"at"`    // when it was saved
	Works  []string          `json:"works"` // the nodes in which a worker waits
	Files  map[string]Sum    `json:"files"`
}

// Sum tells whether a file is as it was written.
type Sum struct {
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc32c"` // Castagnoli's
}

// The names of what stands in a lab's folder beside its states, and in a state's.
const (
	keysDir      = "keys"
	manifestFile = "state.json"
	memoryExt    = ".memory"
	diskExt      = ".qcow2"
)

// None says that no state is kept under a key.
type None struct {
	Lab string
	Why string // in what the newest that is kept differs; "" where there is none at all
}

func (n None) Error() string {
	if n.Why == "" {
		return fmt.Sprintf("no ready state of lab %s is kept", n.Lab)
	}
	return fmt.Sprintf("the ready state that is kept of lab %s stands on something else: %s", n.Lab, n.Why)
}

// Corrupt says that a kept state is not as it was written.
type Corrupt struct {
	Path string
	Err  error
}

func (c Corrupt) Error() string { return fmt.Sprintf("%s is not as it was written: %v", c.Path, c.Err) }

func (c Corrupt) Unwrap() error { return c.Err }

// Memory is the path of a node's saved memory.
func (s State) Memory(node string) string { return filepath.Join(s.Dir, node+memoryExt) }

// Disk is the path of a copy of a node's disk.
func (s State) Disk(node string) string { return filepath.Join(s.Dir, node+diskExt) }

// Has says whether the memory of the node is in it.
func (s State) Has(node string) bool {
	_, ok := s.Files[node+memoryExt]
	return ok
}

// HasWorker says whether a worker waits in the node's memory.
func (s State) HasWorker(node string) bool { return s.Has(node) && slices.Contains(s.Works, node) }

// Bytes are what its files take.
func (s State) Bytes() int64 {
	var n int64
	for _, f := range s.Files {
		n += f.Bytes
	}
	return n
}

// Keys is the folder where the keys of the lab's nodes stay.
func (s Store) Keys(lab string) string { return filepath.Join(s.Dir, lab, keysDir) }

// Find is the lab's state of that key; otherwise None, or Corrupt.
func (s Store) Find(lab, key string, inputs map[string]string) (State, error) {
	found, err := read(filepath.Join(s.Dir, lab, key))
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	all, err := s.of(lab)
	if err != nil || len(all) == 0 {
		return State{}, errors.Join(None{Lab: lab}, err)
	}
	newest := slices.MaxFunc(all, func(a, b State) int { return a.At.Compare(b.At) })
	return State{}, None{lab, difference(newest.Inputs, inputs)}
}

// difference names what two states were made of and do not share.
func difference(was, is map[string]string) string {
	var names []string
	for name := range is {
		if was[name] != is[name] {
			names = append(names, name)
		}
	}
	for name := range was {
		if _, ok := is[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// of are the whole states of a lab.
func (s Store) of(lab string) ([]State, error) {
	paths, err := filepath.Glob(filepath.Join(s.Dir, lab, "*", manifestFile))
	var all []State
	for _, p := range paths {
		if strings.HasSuffix(filepath.Dir(p), host.PartExt) {
			continue
		}
		if state, err := read(filepath.Dir(p)); err == nil {
			all = append(all, state)
		}
	}
	return all, err
}

// read reads a state's manifest; its files are Check's matter.
func read(dir string) (State, error) {
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return State{}, err
	}
	state := State{Dir: dir}
	if err := json.Unmarshal(text, &state); err != nil {
		return State{}, Corrupt{path, err}
	}
	return state, nil
}

// Check reads the files of a node, or until ctx ends, and compares them with what was written.
func (s State) Check(ctx context.Context, node string) error {
	for _, path := range []string{s.Memory(node), s.Disk(node)} {
		want, ok := s.Files[filepath.Base(path)]
		if !ok {
			return Corrupt{path, errors.New("the state does not list it")}
		}
		got, err := sum(ctx, path)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return Corrupt{path, err}
		}
		if got != want {
			return Corrupt{path, errors.New("its sum is another")}
		}
	}
	return nil
}

// sum reads a whole file, or until ctx ends.
func sum(ctx context.Context, path string) (Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sum{}, err
	}
	defer func() { _ = f.Close() }()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.CopyBuffer(h, host.Until(ctx, f), make([]byte, 1<<20))
	return Sum{n, h.Sum32()}, err
}

// Only is the state as far as it is of those nodes.
func (s State) Only(nodes []string) State {
	all := s.Files
	s.Files = map[string]Sum{}
	for _, n := range nodes {
		for _, path := range []string{s.Memory(n), s.Disk(n)} {
			if f, ok := all[filepath.Base(path)]; ok {
				s.Files[filepath.Base(path)] = f
			}
		}
	}
	return s
}
