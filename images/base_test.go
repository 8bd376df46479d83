package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeBase is a base image of a recipe in the cache dir whose files hold a word each.
func fakeBase(t *testing.T, dir string, r Recipe) Base {
	t.Helper()
	b := Base{Dir: filepath.Join(dir, r.ID())}
	b.Manifest = Manifest{Format: Format, Recipe: r.Name, Digest: r.Digest(), Files: map[string]Sum{}}
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{diskFile, kernelFile, initrdFile} {
		path := filepath.Join(b.Dir, f)
		err := os.WriteFile(path, []byte(f), 0o644)
		if err == nil {
			b.Files[f], err = sum(t.Context(), path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := writeManifest(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	dir, r := t.TempDir(), builtIn(t, "debian-slim")
	_, err := Open(t.Context(), dir, r)
	if !errors.As(err, new(NotBuilt)) || !strings.Contains(err.Error(), "labctl image build debian-slim") {
		t.Errorf("of an empty cache: %v", err)
	}
	want := fakeBase(t, dir, r)
	got, err := Open(t.Context(), dir, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOpenFindsDamage(t *testing.T) {
	r := builtIn(t, "debian-slim")
	for name, c := range map[string]struct {
		damage func(b Base) error
		file   string
	}{
		"a byte changed":        {func(b Base) error { return os.WriteFile(b.Disk(), []byte("dusk.qcow2"), 0o644) }, diskFile},
		"cut short":             {func(b Base) error { return os.Truncate(b.InitrdPath(), 1) }, initrdFile},
		"gone":                  {func(b Base) error { return os.Remove(b.KernelPath()) }, kernelFile},
		"manifest of no files":  {func(b Base) error { b.Files = nil; return errors.Join(overwrite(b, ""), writeManifest(b)) }, manifestFile},
		"manifest of no JSON":   {func(b Base) error { return overwrite(b, "") }, manifestFile},
		"another recipe's file": {func(b Base) error { b.Digest = "0"; return errors.Join(overwrite(b, ""), writeManifest(b)) }, manifestFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := fakeBase(t, dir, r)
			if err := c.damage(b); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), dir, r)
			var corrupt Corrupt
			if !errors.As(err, &corrupt) {
				t.Fatalf("got %v, want a Corrupt", err)
			}
			for _, want := range []string{filepath.Join(b.Dir, c.file), "labctl image build debian-slim"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// overwrite replaces the manifest, which is read-only.
func overwrite(b Base, text string) error {
	path := filepath.Join(b.Dir, manifestFile)
	return errors.Join(os.Remove(path), os.WriteFile(path, []byte(text), 0o644))
}

// What another labctl's recipe made is of no use to this one, and cannot be built.
func TestCorruptOfUnknownRecipeIsToBePruned(t *testing.T) {
	dir := t.TempDir()
	for _, r := range []Recipe{old(t, "bash"), {Name: "unknown"}} {
		b := fakeBase(t, dir, r)
		if err := overwrite(b, ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := List(dir)
	if got := strings.Count(fmt.Sprint(err), "\n  labctl image prune"); got != 2 {
		t.Errorf("%d times said to prune: %v", got, err)
	}
}

func TestListLeavesOutWhatIsNoBase(t *testing.T) {
	dir := t.TempDir()
	want := []Base{fakeBase(t, dir, builtIn(t, "debian")), fakeBase(t, dir, builtIn(t, "debian-slim"))}
	for _, other := range []string{building + want[0].ID(), "photos"} {
		if err := os.Mkdir(filepath.Join(dir, other), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if none, err := List(filepath.Join(dir, "none")); len(none) > 0 || err != nil {
		t.Errorf("of no cache: %v, %v", none, err)
	}
}

func TestBaseOf(t *testing.T) {
	dir := t.TempDir()
	want := fakeBase(t, dir, builtIn(t, "debian-slim"))
	disk := filepath.Join(dir, "disk.qcow2")
	fakeOverlay(t, disk, want.Disk())
	got, err := BaseOf(disk)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
