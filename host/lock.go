package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockDir is where processes tell each other what they are changing. Tests set one of their own.
var LockDir = "/run/labctl"

// How often a lock that another process holds is tried again.
var lockPoll = 50 * time.Millisecond

// Lock takes the host's lock of that name for what this process does, and returns
// what gives it back. While another process holds it, wait is called once with
// what that process said of itself, and Lock waits until ctx ends. The kernel
// gives a dead process's locks back. A name that is no file's is an error.
func Lock(ctx context.Context, name, doing string, wait func(holder string)) (unlock func(), err error) {
	if name == "" || strings.ContainsRune(name, filepath.Separator) {
		return nil, fmt.Errorf("lock %q: not a name", name)
	}
	if err := makeLockDir(); err != nil {
		return nil, err
	}
	path := filepath.Join(LockDir, name+".lock")
	told := false
	for {
		f, holder, err := tryLock(path)
		if err != nil {
			return nil, err
		}
		if f != nil {
			_ = f.Truncate(0)
			_, _ = fmt.Fprintf(f, "process %d (%s)", os.Getpid(), doing)
			return func() { release(f, path) }, nil
		}
		if !told && holder != "" { // it is written after it is locked
			told = true
			wait(holder)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is held by %s: %w", name, holder, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

// makeLockDir passes over that the folder was there, as it may be gone again by now.
func makeLockDir() error {
	if err := os.MkdirAll(LockDir, 0o755); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// tryLock returns the locked file, or nil and what its holder wrote into it.
func tryLock(path string) (*os.File, string, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // who can open it can hold it
	if errors.Is(err, os.ErrNotExist) {                       // the folder went with another process's last lock
		return nil, "", makeLockDir()
	}
	if err != nil {
		return nil, "", err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, err := os.ReadFile(path)
		_ = f.Close()
		if err != nil {
			holder = nil // released just now
		}
		return nil, strings.TrimSpace(string(holder)), nil
	}
	if err != nil {
		_ = f.Close()
		return nil, "", err
	}
	if !sameFile(f, path) { // its holder removed it between our open and our lock
		_ = f.Close()
		return nil, "", nil
	}
	return f, "", nil
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// release removes the file while it is still locked, so that nothing is left
// behind, and those that dead processes left, and the folder with the last of them.
func release(f *os.File, path string) {
	_ = os.Remove(path)
	_ = f.Close()
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.lock"))
	for _, path := range left {
		removeUnlocked(path)
	}
	_ = os.Remove(filepath.Dir(path))
}

// removeUnlocked removes a lock's file that nobody has locked. Who has opened it
// meanwhile sees that it is gone.
func removeUnlocked(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && sameFile(f, path) {
		_ = os.Remove(path)
	}
}
