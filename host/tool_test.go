package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTool(t *testing.T) {
	onPath, first, second := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", onPath)
	before := rootsFolders
	rootsFolders = []string{first, second}
	t.Cleanup(func() { rootsFolders = before })
	write := func(dir string, mode os.FileMode) {
		path := filepath.Join(dir, "tool")
		_ = os.Remove(path)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Tool("tool"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v where there is none", err)
	}
	write(first, 0o600) // not a program
	for _, dir := range []string{second, first, onPath} {
		write(dir, 0o700)
		if got, err := Tool("tool"); got != filepath.Join(dir, "tool") || err != nil {
			t.Errorf("%s, %v; want that in %s", got, err, dir)
		}
	}
}
