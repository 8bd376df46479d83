//go:build e2e

package images

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// busyboxTree is the least tree in which commands run.
func busyboxTree(t *testing.T) *os.Root {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	for _, dir := range []string{"proc", "dev", "tmp", "run", "root"} {
		err = errors.Join(err, root.Mkdir(dir, 0o755))
	}
	if err = errors.Join(err, writeFile(root, "bin/busybox", program, 0o755), symlink(root, "busybox", "bin/sh")); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestCommandsRunAlone looks around from inside.
func TestCommandsRunAlone(t *testing.T) {
	root := busyboxTree(t)
	t.Setenv("SECRET", "of the host")
	_, err := addOptions(t.Context(), root, Recipe{Run: []string{
		"busybox id -u >/root/user; busybox hostname >/root/name; busybox env | busybox grep -v SHLVL | busybox sort >/root/env; busybox ls /dev >/root/dev",
		"busybox ip -o link >/root/links; busybox cat /proc/mounts >/root/mounts; echo $$ >/root/pid; echo gone >/tmp/x; echo gone >/run/x; : >/dev/null",
		"busybox sleep 1000 & busybox mount -t tmpfs none /root; echo lost >/root/lost",
		"busybox test ! -e /root/lost",
	}}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"user": "0\n", "name": "labctl\n", "pid": "1\n", "dev": "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
		"env": "DEBIAN_FRONTEND=noninteractive\nHOME=/root\nLC_ALL=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\n" + sourceDate() + "\nTZ=UTC\n",
	} {
		if got, err := root.ReadFile(filepath.Join("root", file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", file, got, err, want)
		}
	}
	if links, err := root.ReadFile("root/links"); err != nil || strings.Count(string(links), "\n") > strings.Count(string(links), ": lo:") {
		t.Errorf("it has more links than lo: %s, %v", links, err)
	}
	for _, p := range []string{"tmp", "run", "dev", "proc"} {
		if left, err := os.ReadDir(filepath.Join(root.Name(), p)); err != nil || len(left) > 0 {
			t.Errorf("in /%s: %v, %v", p, left, err)
		}
	}
	noneIsIn(t, root.Name())
}

func TestCommandThatFails(t *testing.T) {
	root := busyboxTree(t)
	_, err := addOptions(t.Context(), root, Recipe{Run: []string{"true", "echo why >&2; false; echo on >/root/on"}}, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "command 2 of run") || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v", err)
	}
	if _, err := root.Stat("root/on"); err == nil {
		t.Error("it went on after a failure")
	}
	noneIsIn(t, root.Name())
}

func TestCommandInterrupted(t *testing.T) {
	root := busyboxTree(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := addOptions(ctx, root, Recipe{Run: []string{"busybox sleep 1000 & echo x >/root/started; wait"}}, func(string) {})
		done <- err
	}()
	await(t, "it runs", func() bool { _, err := root.Stat("root/started"); return err == nil })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	noneIsIn(t, root.Name())
}

func TestCommandKilled(t *testing.T) {
	dir, victim := killed(t, "*/*/root/started")
	if victim {
		root := busyboxTree(t)
		_, err := addOptions(context.Background(), root, Recipe{Run: []string{"busybox sleep 1000 & echo x >/root/started; wait"}}, func(string) {})
		t.Fatal("it ended before it was killed:", err)
	}
	noneIsIn(t, dir)
}

// noneIsIn looks that no program has a folder in dir as its root, and nothing is mounted there.
func noneIsIn(t *testing.T, dir string) {
	t.Helper()
	await(t, "programs in it are gone", func() bool {
		roots, _ := filepath.Glob("/proc/[0-9]*/root") // the pattern is valid
		return !slices.ContainsFunc(roots, func(p string) bool {
			to, err := os.Readlink(p)
			return err == nil && strings.HasPrefix(to, dir)
		})
	})
	noneRuns(t, dir)
}
