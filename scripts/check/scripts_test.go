package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CI's run fails where make check or make check-changed does, adds up what both count, and tells it last.
func TestCIRun(t *testing.T) {
	run, err := os.ReadFile(".ci/run")
	must(t, err)
	for name, c := range map[string]struct {
		check, changed string // what make does for each
		last           string
		ok             bool
	}{
		"all well":            {"echo 3 passed, 0 failed", "echo 2 passed, 0 failed", "5 passed, 0 failed", true},
		"a test fails":        {"echo 3 passed, 1 failed; exit 2", "echo not run", "3 passed, 1 failed", false},
		"a changed one fails": {"echo 3 passed, 0 failed", "echo 2 passed, 1 failed; exit 2", "5 passed, 1 failed", false},
		"make dies":           {"kill -9 $$", "echo not run", "0 passed, 1 failed", false},
		"nothing ran":         {"echo 0 passed, 0 failed", "echo 0 passed, 0 failed", "0 passed, 0 failed", false},
		"a failure and 0":     {"echo 3 passed, 1 failed", "echo 2 passed, 0 failed", "5 passed, 1 failed", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.MkdirAll(filepath.Join(dir, ".ci"), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, ".ci/run"), run, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, ".ci/base"), []byte("abc\n"), 0o644))
			programs := t.TempDir()
			script := "#!/bin/sh\ncase \"$*\" in *check-changed*BASE=abc*WITHIN=*) " + c.changed + " ;; *) " + c.check + " ;; esac\n"
			must(t, os.WriteFile(filepath.Join(programs, "make"), []byte(script), 0o755))
			t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
			t.Setenv("BASE", "")
			out, err := exec.CommandContext(t.Context(), filepath.Join(dir, ".ci/run")).CombinedOutput()
			if (err == nil) != c.ok || !strings.HasSuffix(string(out), "\n"+c.last+"\n") || strings.Contains(string(out), "not run") {
				t.Errorf("%v, want %v and %q:\n%s", err, c.ok, c.last, out)
			}
		})
	}
}

// What tests stand on is built once, used while it is as it was built, and built again where it is not.
func TestCached(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stand/0a1b")
	script := filepath.Join(t.TempDir(), "build")
	must(t, os.WriteFile(script, []byte(`#!/bin/sh
[ "$1" = --path ] && echo `+dir+` && exit
[ -d `+dir+` ] && echo nothing to do && exit
echo built
mkdir `+dir+`.new && echo whole > `+dir+`.new/file && ln -s file `+dir+`.new/link && truncate -s 1G `+dir+`.new/sparse && mv `+dir+`.new `+dir+`
`), 0o755))
	for _, c := range []struct{ spoil, says string }{
		{"true", "built"},
		{"true", "nothing to do"},
		{"touch " + dir + "/file", "nothing to do"},
		{"echo other > " + dir + "/file", "built"},
		{"rm " + dir + "/file", "built"},
		{"chmod 600 " + dir + "/file", "built"},
		{"ln -sf elsewhere " + dir + "/link", "built"},
		{"printf X | dd of=" + dir + "/sparse bs=1 seek=1000000 conv=notrunc status=none", "built"},
		{"rm " + dir + ".sum", "built"}, // it was killed before it was summed
		{"rm -r " + dir, "built"},
		{"true", "nothing to do"},
	} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", c.spoil).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.spoil, err, out)
		}
		out, err := exec.CommandContext(t.Context(), "scripts/cached", script, "build").CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), c.says+"\n") {
			t.Errorf("after %s: %v, want %q:\n%s", c.spoil, err, c.says, out)
		}
		if text, err := os.ReadFile(dir + "/file"); err != nil || string(text) != "whole\n" {
			t.Errorf("after %s the file has %q, %v", c.spoil, text, err)
		}
	}
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = --path ] && echo "+dir+"x && exit\nexit 3\n"), 0o755))
	if err := exec.CommandContext(t.Context(), "scripts/cached", script, "build").Run(); err == nil {
		t.Error("a build that fails is no failure")
	}
	if _, err := os.Stat(dir + "x.sum"); err == nil {
		t.Error("what was not built has a sum")
	}
}
