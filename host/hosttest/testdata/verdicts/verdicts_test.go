// Package verdicts holds the ways in which a test can end on its private host;
// hosttest's own tests run them.
package verdicts

import (
	"os"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

func TestPasses(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) { t.Log("ran as", os.Getpid()) })
}

func TestFails(t *testing.T) { hosttest.Private(t, func(t *testing.T) { t.Error("deliberate") }) }

func TestPanics(t *testing.T) { hosttest.Private(t, func(*testing.T) { panic("deliberate") }) }

func TestExits(t *testing.T) { hosttest.Private(t, func(*testing.T) { os.Exit(0) }) }

func TestSkips(t *testing.T) { hosttest.Private(t, func(t *testing.T) { t.Skip("deliberate") }) }

func TestHangs(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		for _, ns := range []string{"net", "mnt", "ipc"} {
			link, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil {
				t.Fatal(err)
			}
			t.Log("namespace", link)
		}
		t.Log("hanging")
		select {}
	})
}

func TestSubtests(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Run("good", func(t *testing.T) { t.Log("good ran") })
		t.Run("bad", func(t *testing.T) { t.Error("bad ran") })
	})
}
