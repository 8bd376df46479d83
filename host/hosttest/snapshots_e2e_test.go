//go:build e2e

package hosttest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// TestSharedSnapshots: what a test shares another takes, as it was; what differs replaces it, and half of one is none.
func TestSharedSnapshots(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		const shared = "/var/cache/labctl/snapshots/tried" // the machine's own
		t.Cleanup(func() {
			for _, path := range []string{shared, shared + ".new", shared + ".lock"} {
				_ = os.RemoveAll(path)
			}
		})
		kept := (&host.Host{Dir: host.DefaultDir}).KeptDir()
		state := filepath.Join(kept, "demo/0a1b/state.json")
		fatal := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct{ finds, keeps string }{{"", "first"}, {"first", "first"}, {"first", "second"}, {"second", "second"}} {
			fatal(os.RemoveAll(kept))
			fatal(os.MkdirAll(shared+".new/demo/0a1b", 0o700)) // of a test that was killed
			hosttest.TakeSnapshot(t, "tried")
			text, err := os.ReadFile(state)
			if string(text) != c.finds || err != nil && c.finds != "" {
				t.Errorf("taken is %q, %v; want %q", text, err, c.finds)
			}
			if i, err := os.Stat(state); err == nil && i.Mode().Perm() != 0o600 {
				t.Errorf("it has mode %v", i.Mode())
			}
			fatal(os.MkdirAll(filepath.Dir(state), 0o700))
			fatal(os.WriteFile(state, []byte(c.keeps), 0o600))
			hosttest.ShareSnapshot(t, "tried")
		}
		if left, err := filepath.Glob(shared + "*/demo/0a1b/*"); err != nil || len(left) != 1 {
			t.Errorf("shared are %q, %v", left, err)
		}
	})
}
