package images

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeOverlay is the header of a QCOW2 image that stands on backing.
func fakeOverlay(t *testing.T, path, backing string) {
	t.Helper()
	header := binary.BigEndian.AppendUint32([]byte("QFI\xfb"), 3)
	header = binary.BigEndian.AppendUint64(header, 112)
	header = binary.BigEndian.AppendUint32(header, uint32(len(backing)))
	header = append(header, make([]byte, 112-len(header))...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(header, backing...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// old is a recipe as an earlier labctl had it.
func old(t *testing.T, package1 string) Recipe {
	t.Helper()
	r := builtIn(t, "debian-slim")
	r.Packages = []string{package1}
	return r
}

func TestPruneRemovesOnlyWhatNothingStandsOn(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	current := builtIn(t, "debian-slim")
	kept := fakeBase(t, images, current)
	used := fakeBase(t, images, old(t, "used"))
	halfUsed := fakeBase(t, images, old(t, "half-used"))
	unused := fakeBase(t, images, old(t, "unused"))
	fakeOverlay(t, filepath.Join(dir, "labs/trafic/tshark.qcow2"), used.Disk())
	fakeOverlay(t, filepath.Join(dir, "labs/other/node.qcow2.part"), halfUsed.Disk())

	got, err := prune(images, []Recipe{current})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Base{unused}, got); diff != "" {
		t.Error(diff)
	}
	for _, b := range []Base{kept, used, halfUsed} {
		if err := b.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(unused.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", unused.Dir, err)
	}
}

// A base whose manifest cannot be read is of no use: no recipe keeps it, a disk does.
func TestPruneRemovesWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	current := builtIn(t, "debian-slim")
	unreadable := fakeBase(t, images, current)
	bare := fakeBase(t, images, old(t, "bare"))
	used := fakeBase(t, images, old(t, "used"))
	for _, b := range []Base{unreadable, used} {
		if err := overwrite(b, "{"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(bare.Dir, manifestFile)); err != nil {
		t.Fatal(err)
	}
	fakeOverlay(t, filepath.Join(dir, "labs/trafic/tshark.qcow2"), used.Disk())
	foreign := filepath.Join(images, "photos")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}

	if _, err := prune(images, []Recipe{current}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(images, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{used.Dir, foreign}, left); diff != "" {
		t.Error(diff)
	}
}

// A disk that cannot be read may stand on any base.
func TestPruneStopsAtDiskItCannotRead(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	b := fakeBase(t, images, old(t, "unused"))
	fakeOverlay(t, filepath.Join(dir, "labs/trafic/tshark.qcow2"), "")
	if _, err := prune(images, nil); err == nil {
		t.Error("no error")
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
