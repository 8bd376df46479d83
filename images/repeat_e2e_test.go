//go:build e2e

package images

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBuildsAreIdentical builds the same recipe twice, in different places and
// surroundings: both are the same, bit for bit.
func TestBuildsAreIdentical(t *testing.T) {
	dirs := []string{t.TempDir(), filepath.Join(t.TempDir(), "another/and/longer")}
	recipe := filepath.Join(t.TempDir(), "tiny.yaml")
	text := "system: debian\nrelease: bookworm\npackages: [linux-image-cloud-amd64, busybox-static, openssh-server]\n" +
		"exclude: [" + strings.Join(builtIn(t, "debian-slim").Exclude, ", ") + "]\n" +
		"files: [{path: /srv/from, from: tiny.yaml, mode: 0600}]\n" +
		"run: ['useradd -m tester', 'echo $SOURCE_DATE_EPOCH >/srv/run']\n"
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var bases []Base
	for i, dir := range dirs {
		if i == 1 { // what a build must not depend on
			t.Setenv("TZ", "Asia/Tokyo")
			t.Setenv("LC_ALL", "de_DE.UTF-8")
			t.Setenv("SOURCE_DATE_EPOCH", "1")
		}
		r, err := ReadRecipe(recipe)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Build(t.Context(), dir, r, Options{}, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		bases = append(bases, b)
	}
	var differ []string
	for _, f := range []string{manifestFile, diskFile, kernelFile, initrdFile} {
		a, err := os.ReadFile(filepath.Join(bases[0].Dir, f))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(bases[1].Dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			differ = append(differ, f)
		}
	}
	if len(differ) > 0 {
		t.Errorf("%v differ; in the disk: %s", differ, firstDifference(t, bases[0].Disk(), bases[1].Disk()))
	}
	days := fmt.Sprintf("tester:!:%d:", Epoch/86400)
	if shadow := inDisk(t, bases[0], "/etc/shadow"); !strings.Contains(shadow, days) {
		t.Errorf("the clock is in /etc/shadow: %q", shadow)
	}
}

// firstDifference names the first path that is not the same in two disks.
func firstDifference(t *testing.T, disks ...string) string {
	t.Helper()
	var raws []string
	var trees []map[string]string
	for _, disk := range disks {
		raw := plainDisk(t, disk)
		tree := t.TempDir()
		out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "rdump / "+tree, raw).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		raws, trees = append(raws, raw), append(trees, describe(t, tree))
	}
	var paths []string
	for p := range trees[0] {
		paths = append(paths, p)
	}
	for p := range trees[1] {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		if trees[0][p] != trees[1][p] {
			return fmt.Sprintf("%s: %s, %s", p, trees[0][p], trees[1][p])
		}
		var stats []string
		for _, raw := range raws {
			out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "stat "+p, raw).Output()
			if err != nil {
				t.Fatal(err)
			}
			stats = append(stats, string(out))
		}
		if stats[0] != stats[1] {
			return fmt.Sprintf("the inode of %s: %s, %s", p, stats[0], stats[1])
		}
	}
	return "nothing but the file system itself"
}

// describe tells what is at each path below dir.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	is := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		what := d.Type().String()
		switch {
		case d.Type().IsRegular():
			s, err := sum(context.Background(), p)
			if err != nil {
				return err
			}
			what += fmt.Sprint(" ", s)
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			what += " to " + to
		}
		is["/"+strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// plainDisk is a base's disk as a raw image.
func plainDisk(t *testing.T, disk string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := run(t.Context(), "qemu-img", "convert", "-O", "raw", disk, raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

// inDisk is the text of a file in a base's disk.
func inDisk(t *testing.T, b Base, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "cat "+path, plainDisk(t, b.Disk())).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
