package images

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How often a cache that others hold is tried again.
const holdPoll = 50 * time.Millisecond

// Hold keeps the base images in the cache dir as they are until release is called,
// so that none goes between finding it and making a disk on it. Any number may
// hold at once; tell is called if Hold must wait for one that changes them. Build
// waits for all of them at its end: do not call it under a Hold of one's own.
func Hold(ctx context.Context, dir string, tell func(string)) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return lockCache(ctx, dir, unix.LOCK_SH, func() { tell("waiting for another labctl, which changes the base images") })
}

// holdAlone waits until nobody holds the base images, and keeps others from it.
func holdAlone(ctx context.Context, dir string, tell func(string)) (release func(), err error) {
	return lockCache(ctx, dir, unix.LOCK_EX, func() { tell("waiting for another labctl, which makes disks on the base images") })
}

// lockCache locks the folder itself, which the kernel unlocks when a process dies.
// wait is called once if it must wait.
func lockCache(ctx context.Context, dir string, how int, wait func()) (release func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&os.PathError{Op: "flock", Path: dir, Err: err}, f.Close())
		}
		if !told {
			wait()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(holdPoll):
		}
	}
}
