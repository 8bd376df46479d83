package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
)

// ownLocks gives the test locks of its own.
func ownLocks(t *testing.T) {
	before := host.LockDir
	host.LockDir = filepath.Join(t.TempDir(), "locks")
	t.Cleanup(func() { host.LockDir = before })
}

// silent ends the test where there is something to wait for.
func silent(t *testing.T) func(string) {
	return func(what string) { t.Fatal("it waits:", what) }
}

// meanwhile calls do, looks that it waits, ends the wait by release, and returns what do did.
func meanwhile(t *testing.T, release func(), do func(tell func(string)) error) error {
	t.Helper()
	waits, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- do(func(what string) { waits <- what }) }()
	select {
	case <-waits:
		release()
		return <-ended
	case err := <-ended:
		t.Fatal("it did not wait:", err)
	case <-time.After(time.Minute):
		t.Fatal("it does not tell that it waits")
	}
	return nil
}

func TestPruneWaitsForThoseWhoHold(t *testing.T) {
	ownLocks(t)
	dir := filepath.Join(t.TempDir(), "images")
	first, err := Hold(t.Context(), dir, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Hold(t.Context(), dir, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	b := fakeBase(t, dir, old(t, "unused"))
	first()
	err = meanwhile(t, func() {
		if err := b.Verify(t.Context()); err != nil {
			t.Error("removed from under a hold:", err)
		}
		fakeOverlay(t, filepath.Join(dir, "../labs/trafic/tshark.qcow2"), b.Disk())
		second()
	}, func(tell func(string)) error {
		_, err := Prune(t.Context(), dir, nil, tell)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error("removed from under the disk made meanwhile:", err)
	}
}

func TestReplaceWaitsForThoseWhoHold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	final, work := fakeBase(t, dir, builtIn(t, "debian")).Dir, fakeBase(t, dir, builtIn(t, "debian-slim")).Dir
	release, err := Hold(t.Context(), dir, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	err = meanwhile(t, func() {
		fakeOverlay(t, filepath.Join(dir, "../labs/trafic/tshark.qcow2"), filepath.Join(final, diskFile))
		release()
	}, func(tell func(string)) error { return replace(t.Context(), final, work, tell) })
	if err == nil {
		t.Error("replaced from under the disk made meanwhile")
	}
}

func TestHoldWaitsForThoseWhoChange(t *testing.T) {
	dir := t.TempDir()
	release, err := holdAlone(t.Context(), dir, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	err = meanwhile(t, release, func(tell func(string)) error {
		release, err := Hold(t.Context(), dir, tell)
		if err == nil {
			release()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHoldEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	release, err := holdAlone(t.Context(), dir, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	if _, err := Hold(ctx, dir, func(string) { cancel(why) }); !errors.Is(err, why) {
		t.Errorf("got %v, want what ended it", err)
	}
}

func TestPruneTellsWhomItWaitsFor(t *testing.T) {
	ownLocks(t)
	dir := t.TempDir()
	unlock, err := host.Lock(t.Context(), "images", "image build debian", silent(t))
	if err != nil {
		t.Fatal(err)
	}
	err = meanwhile(t, unlock, func(tell func(string)) error {
		_, err := Prune(t.Context(), dir, nil, tell)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A machine without a cache has none afterwards.
func TestPruneMakesNoCache(t *testing.T) {
	ownLocks(t)
	dir := filepath.Join(t.TempDir(), "images")
	if _, err := Prune(t.Context(), dir, nil, silent(t)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dir, err)
	}
}
