//go:build e2e

package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// bootable is the least recipe that gives a base image.
func bootable(t *testing.T, more ...string) Recipe {
	t.Helper()
	r := builtIn(t, "debian-slim")
	r.Name, r.Start = "tiny", nil
	r.Packages = append([]string{"linux-image-cloud-amd64", "busybox-static"}, more...)
	return r
}

// TestBuild builds a small base image twice at once, into a cache where a dead
// process left half of another.
func TestBuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	if err := os.MkdirAll(filepath.Join(dir, building+"x", "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := bootable(t)
	r.Packages[0] = "linux-image-amd64" // Debian packs it, and not the cloud's, so that it takes long to unpack
	var (
		wg    sync.WaitGroup
		said  [2][]string
		bases [2]Base
		errs  [2]error
	)
	for i := range bases {
		wg.Go(func() {
			bases[i], errs[i] = Build(t.Context(), dir, r, Options{}, func(s string) { said[i] = append(said[i], s) })
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bases[0], bases[1]); diff != "" {
		t.Error("the two builds differ:", diff)
	}
	if n := strings.Count(strings.Join(append(said[0], said[1]...), "\n"), "installing"); n != 1 {
		t.Errorf("%d builds were made, want 1: %q", n, said)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != r.ID() {
		t.Errorf("in the cache: %v, %v", left, err)
	}
	noneRuns(t, dir)

	got, err := Open(t.Context(), dir, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bases[0], got); diff != "" {
		t.Error(diff)
	}
	if got.Packages["busybox-static"] == "" || got.Kernel == "" || got.CommandLine != CommandLine {
		t.Errorf("the manifest is not whole: %+v", got.Manifest)
	}
	kernel, err := os.ReadFile(got.KernelPath())
	if err != nil || !strings.HasPrefix(string(kernel), "\x7fELF") {
		t.Errorf("the kernel is packed, %v", err)
	}
	isReplaced(t, dir, r, got)
}

// isReplaced damages a base: a build makes it anew, but not below a lab's disk.
func isReplaced(t *testing.T, dir string, r Recipe, b Base) {
	t.Helper()
	if err := errors.Join(os.Remove(b.KernelPath()), os.WriteFile(b.KernelPath(), []byte("?"), 0o644)); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(filepath.Dir(dir), "labs/trafic/tshark.qcow2")
	fakeOverlay(t, overlay, b.Disk())
	_, err := Build(t.Context(), dir, r, Options{}, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "labctl down trafic") {
		t.Errorf("below a lab's disk: %v", err)
	}
	if err := os.Remove(overlay); err != nil {
		t.Fatal(err)
	}
	find := func() (Base, error) { return Open(t.Context(), dir, r) }
	b, err = enter(t.Context(), dir, r.ID(), "test", quiet, find, func(work string) (Base, error) { // as Build, with other content
		again := Base{Dir: work, Manifest: b.Manifest}
		again.Files = nil
		for _, f := range again.needs() {
			if err := os.WriteFile(filepath.Join(work, f), []byte(f), 0o644); err != nil {
				return Base{}, err
			}
		}
		return seal(t.Context(), again)
	})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(b.KernelPath()); err != nil || string(text) != "kernel" {
		t.Errorf("the kernel is %q, %v", text, err)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		recipe Recipe
		mirror string
		want   string
	}{
		"no such package": {bootable(t, "no-such-package"), "", "no-such-package"},
		"no mirror":       {bootable(t), "http://127.0.0.1:1/debian", "a build needs a Debian mirror"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Build(t.Context(), dir, c.recipe, Options{Mirror: c.mirror}, func(string) {})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			isEmpty(t, dir)
		})
	}
}

func TestBuildInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Build(ctx, dir, bootable(t), Options{}, func(string) {})
		done <- err
	}()
	await(t, "something is unpacked", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, building+"*", "root", "usr", "bin", "*"))
		return len(found) > 0
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	isEmpty(t, dir)
}

func TestBuildWithoutRoom(t *testing.T) {
	// a mount that only this thread and what it starts sees; the thread ends with the test
	runtime.LockOSThread()
	err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=150m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	_, err = Build(t.Context(), dir, bootable(t), Options{}, func(string) {})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
