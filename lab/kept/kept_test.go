package kept

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
)

func TestMain(m *testing.M) { os.Exit(hosttest.NoLeaks(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var inputs = map[string]string{"QEMU": "7.2.0", "the files of one": "a", "the files of two": "b"}

// draft is a state of two nodes that is not yet kept.
func draft(t *testing.T, s Store, lab, key string) Draft {
	t.Helper()
	d, err := s.Begin(lab, key, inputs)
	must(t, err)
	for _, node := range []string{"one", "two"} {
		must(t, os.WriteFile(d.Memory(node), []byte("memory of "+node), 0o600))
		must(t, os.WriteFile(d.Disk(node), []byte("disk of "+node), 0o600))
		d.Saved(node)
	}
	return d
}

// keep keeps a state.
func keep(t *testing.T, s Store, lab, key string) State {
	t.Helper()
	d := draft(t, s, lab, key)
	must(t, d.Sum(t.Context()))
	state, err := d.Keep()
	must(t, err)
	must(t, d.Drop()) // which is nothing any more
	return state
}

func TestKeep(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "kept")}
	d := draft(t, s, "demo", "k1")
	if _, err := s.Find("demo", "k1", inputs); !errors.As(err, new(None)) {
		t.Errorf("a state that is not kept yet is found: %v", err)
	}
	must(t, d.Sum(t.Context()))
	kept, err := d.Keep()
	must(t, err)
	found, err := s.Find("demo", "k1", inputs)
	must(t, err)
	if found.Dir != kept.Dir || found.Lab != "demo" || found.Key != "k1" || !found.Has("one") || found.Has("three") {
		t.Errorf("%+v", found)
	}
	for _, node := range []string{"one", "two"} {
		must(t, found.Check(t.Context(), node))
	}
	if n := found.Bytes(); n != int64(len("memory of onedisk of one")*2) {
		t.Errorf("%d bytes", n)
	}
	only := found.Only([]string{"two"})
	if only.Has("one") || !only.Has("two") || !found.Has("one") {
		t.Error("a state of one node is of others too, or has changed the whole")
	}
}

// Memory holds keys: nobody but root reads what is kept.
func TestOnlyItsOwnerReads(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "kept")}
	keep(t, s, "demo", "k1")
	must(t, filepath.WalkDir(s.Dir, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		if path == s.Dir || e.IsDir() {
			if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", path, i.Mode(), err)
			}
		}
		if i, err := e.Info(); err != nil || i.Mode().IsRegular() && i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, i.Mode(), err)
		}
		return nil
	}))
}

func TestOtherInputs(t *testing.T) {
	s := Store{t.TempDir()}
	var none None
	if _, err := s.Find("demo", "k1", inputs); !errors.As(err, &none) || none.Why != "" {
		t.Errorf("of a lab of which nothing is kept: %v", err)
	}
	keep(t, s, "demo", "k1")
	_, err := s.Find("demo", "k2", map[string]string{"QEMU": "8.0.0", "the files of one": "a", "the files of three": "c"})
	if !errors.As(err, &none) || none.Why != "QEMU, the files of three, the files of two" {
		t.Errorf("%v", err)
	}
}

func TestCorrupt(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(State) error
		finds bool // the spoilt file is read by Check alone
	}{
		"a bit of memory": {func(s State) error {
			b, err := os.ReadFile(s.Memory("one"))
			b[3] ^= 1
			return errors.Join(err, os.WriteFile(s.Memory("one"), b, 0o600))
		}, true},
		"a shorter disk":    {func(s State) error { return os.Truncate(s.Disk("one"), 3) }, true},
		"no disk":           {func(s State) error { return os.Remove(s.Disk("one")) }, true},
		"half a manifest":   {func(s State) error { return os.Truncate(filepath.Join(s.Dir, manifestFile), 20) }, false},
		"an empty manifest": {func(s State) error { return os.Truncate(filepath.Join(s.Dir, manifestFile), 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := Store{t.TempDir()}
			must(t, test.spoil(keep(t, s, "demo", "k1")))
			found, err := s.Find("demo", "k1", inputs)
			if test.finds {
				must(t, err)
				err = found.Check(t.Context(), "one")
				must(t, found.Check(t.Context(), "two"))
			}
			if !errors.As(err, new(Corrupt)) || !strings.Contains(err.Error(), "not as it was written") {
				t.Errorf("%v", err)
			}
		})
	}
}

// Who interrupts the reading is not told that a file is spoilt.
func TestReadingIsInterrupted(t *testing.T) {
	s := Store{t.TempDir()}
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted)
	if err := keep(t, s, "demo", "k1").Check(ctx, "one"); !errors.Is(err, interrupted) || errors.As(err, new(Corrupt)) {
		t.Error(err)
	}
	d := draft(t, s, "demo", "k2")
	if err := d.Sum(ctx); !errors.Is(err, interrupted) {
		t.Error(err)
	}
}

func TestUnlistedNode(t *testing.T) {
	s := Store{t.TempDir()}
	if err := keep(t, s, "demo", "k1").Check(t.Context(), "three"); !errors.As(err, new(Corrupt)) {
		t.Error(err)
	}
}

// What is not kept leaves nothing, not even a folder.
func TestDropped(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "kept")}
	must(t, draft(t, s, "demo", "k1").Drop())
	draft(t, s, "demo", "k2") // whose labctl was killed
	must(t, s.Unfinished("demo"))
	if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	keep(t, s, "demo", "k1")
	draft(t, s, "demo", "k2")
	must(t, s.Unfinished("demo"))
	if _, err := s.Find("demo", "k1", inputs); err != nil {
		t.Error(err)
	}
}

// A draft takes the place of one of before that was not finished, and what is kept
// that of what was kept under its key.
func TestAnew(t *testing.T) {
	s := Store{t.TempDir()}
	d := draft(t, s, "demo", "k1")
	must(t, os.WriteFile(filepath.Join(d.Dir, "three.memory"), []byte("old"), 0o600))
	keep(t, s, "demo", "k1")
	must(t, os.WriteFile(filepath.Join(s.Dir, "demo", "k1", "three.memory"), []byte("old"), 0o600))
	state := keep(t, s, "demo", "k1")
	if _, err := os.Stat(filepath.Join(state.Dir, "three.memory")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was there before is in it: %v", err)
	}
}

func TestOldest(t *testing.T) {
	s := Store{t.TempDir()}
	day := time.Now()
	for i, name := range []string{"c/k1", "a/k1", "b/k1", "a/k2"} {
		lab, key, _ := strings.Cut(name, "/")
		at := day.Add(time.Duration(i-9) * time.Hour)
		must(t, os.Chtimes(filepath.Join(keep(t, s, lab, key).Dir, manifestFile), at, at))
	}
	draft(t, s, "d", "k1")
	c, err := s.Find("c", "k1", inputs)
	must(t, err)
	must(t, c.Used())
	var order []string
	all, err := s.Oldest()
	must(t, err)
	for _, state := range all {
		order = append(order, state.Lab+"/"+state.Key)
	}
	if want := []string{"a/k1", "b/k1", "a/k2", "c/k1"}; !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}

func TestForget(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "kept")}
	if labs, err := s.Labs(); len(labs) > 0 || err != nil {
		t.Errorf("of no store: %v, %v", labs, err)
	}
	keep(t, s, "demo", "k1")
	must(t, os.MkdirAll(s.Keys("demo"), 0o700))
	must(t, os.WriteFile(filepath.Join(s.Keys("demo"), "id"), []byte("12345"), 0o600))
	keep(t, s, "other", "k1")
	labs, err := s.Labs()
	must(t, err)
	if len(labs) != 2 || labs["demo"]-labs["other"] < 4 {
		t.Errorf("%v", labs)
	}
	must(t, s.Forget("demo"))
	must(t, s.Forget("other"))
	if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}
