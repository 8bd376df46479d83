package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// LockFile is the file of one of labctl's locks.
type LockFile struct {
	Path, Name string
	By         string // what its holder wrote of itself: "process 12 (labctl up)"
}

// Locks are those of labctl's locks that are held, and the files that killed
// processes have left, whose locks the kernel has given back. It takes no lock
// itself: that could make another process wait.
func (h *Host) Locks() (held, stale []LockFile, err error) {
	entries, err := os.ReadDir(LockDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".lock")
		if !ok {
			continue
		}
		path := filepath.Join(LockDir, e.Name())
		by, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // released meanwhile
			continue
		}
		var s unix.Stat_t
		if err == nil {
			err = unix.Stat(path, &s)
		}
		if err != nil {
			return nil, nil, err
		}
		lock := LockFile{path, name, strings.TrimSpace(string(by))}
		if locked(h.told("proc/locks"), s.Ino) {
			held = append(held, lock)
		} else if pid := pidOf(lock.By); pid != 0 && !h.there("proc", fmt.Sprint(pid)) { // one without a word is being taken
			stale = append(stale, lock)
		}
	}
	return held, stale, nil
}

// locked says whether /proc/locks has a lock on a file of that inode.
func locked(locks string, inode uint64) bool {
	for line := range strings.Lines(locks) {
		for field := range strings.FieldsSeq(line) {
			if parts := strings.Split(field, ":"); len(parts) == 3 && parts[2] == fmt.Sprint(inode) {
				return true
			}
		}
	}
	return false
}

// pidOf is the process that a lock's holder says that it is; 0 where it says none.
func pidOf(holder string) int {
	var pid int
	_, _ = fmt.Sscanf(holder, "process %d", &pid)
	return pid
}
