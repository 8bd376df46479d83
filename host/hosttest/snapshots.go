package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// sharedDir has a folder for each lab whose snapshot tests share, as labctl keeps it: LAB/KEY and LAB/keys. Nobody changes
// one that is there; labctl resumes from it where its key is the lab's and its sums are right, else it boots.
const sharedDir = "/var/cache/labctl/snapshots"

// TakeSnapshot gives the private host the snapshot of a lab that an earlier test shared under a name, if there is one.
func TakeSnapshot(t *testing.T, name string) {
	t.Helper()
	requirePrivate(t)
	defer lockShared(t, name, unix.LOCK_SH)()
	labs, err := filepath.Glob(filepath.Join(sharedDir, name, "*"))
	must(t, err)
	if len(labs) > 0 {
		copyAll(t, keptDir(), labs...)
	}
}

// ShareSnapshot shares the snapshots that labctl kept on this private host under a name, unless they were taken from there.
func ShareSnapshot(t *testing.T, name string) {
	t.Helper()
	requirePrivate(t)
	defer lockShared(t, name, unix.LOCK_EX)()
	place := filepath.Join(sharedDir, name)
	kept, err := filepath.Glob(filepath.Join(keptDir(), "*/*/state.json"))
	must(t, err)
	fresh := false
	for _, path := range kept {
		shared, err := os.ReadFile(filepath.Join(place, strings.TrimPrefix(path, keptDir())))
		own, ownErr := os.ReadFile(path)
		must(t, ownErr)
		fresh = fresh || err != nil || string(own) != string(shared)
	}
	if !fresh {
		return
	}
	labs, err := filepath.Glob(filepath.Join(keptDir(), "*"))
	must(t, err)
	must(t, os.RemoveAll(place+".new"))
	copyAll(t, place+".new", labs...)
	must(t, os.RemoveAll(place))
	must(t, os.Rename(place+".new", place))
}

func keptDir() string { return (&host.Host{Dir: host.DefaultDir}).KeptDir() }

// copyAll copies files and folders, as they are, into a folder that only root reads.
func copyAll(t *testing.T, into string, from ...string) {
	t.Helper()
	must(t, os.MkdirAll(into, 0o700))
	if out, err := exec.CommandContext(t.Context(), "cp", append([]string{"--archive", "--sparse=always", "--target-directory", into}, from...)...).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// lockShared waits for a snapshot's lock (unix.LOCK_SH or LOCK_EX), which ends with the function that it returns.
func lockShared(t *testing.T, name string, how int) (unlock func()) {
	t.Helper()
	must(t, os.MkdirAll(sharedDir, 0o700))
	f, err := os.OpenFile(filepath.Join(sharedDir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, unix.Flock(int(f.Fd()), how))
	return func() { _ = f.Close() }
}
