//go:build e2e

package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
)

// workDir tells a test that it is to be killed, and the folder to work in.
const workDir = "LABCTL_TEST_KILLED"

// killed runs this test again in a process of its own, kills that without
// warning once the file pattern exists, and returns when nothing of it runs. In
// that process it returns the folder to work in.
func killed(t *testing.T, pattern string) (dir string, victim bool) {
	t.Helper()
	if dir := os.Getenv(workDir); dir != "" {
		return dir, true
	}
	dir = t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), workDir+"="+dir, "TMPDIR="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is at work", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		return len(found) > 0
	})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	await(t, "what it started is gone", func() bool { return len(running(dir)) == 0 })
	return dir, false
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bootTime); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %v", what, bootTime)
		}
	}
}

func TestExportKilled(t *testing.T) {
	dir, victim := killed(t, "served")
	if victim {
		base := tinyBase(t)
		e, err := openExport(context.Background(), base.Disk(), base.DiskBytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(os.WriteFile(filepath.Join(dir, "served"), nil, 0o600), <-e.ended)
	}
	noneRuns(t, dir)
}

func TestBuildKilled(t *testing.T) {
	dir, victim := killed(t, building+"*/root/usr/bin/*")
	if victim {
		_, err := Build(context.Background(), dir, bootable(t), Options{}, func(string) {})
		t.Fatal("it ended before it was killed:", err)
	}
	noneRuns(t, dir)
	unlock, err := host.Lock(t.Context(), "images", t.Name(), func(string) {})
	if err != nil {
		t.Fatal("the next build would wait for the dead one:", err)
	}
	unlock()
}
