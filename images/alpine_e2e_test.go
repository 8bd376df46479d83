//go:build e2e

package images

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// small are packages that need no Debian: the bare installation is tried with them.
var small = []apkFile{
	{name: "base", version: "1.0-r0", files: text(map[string]string{"etc/passwd": "root:x:0:0:root:/root:/bin/ash\n", "root/": ""})},
	{name: "shell", version: "2.0-r1", needs: []string{"base"}, provides: []string{"cmd:bash=2.0"}, files: text(map[string]string{"bin/bash": strings.Repeat("bash ", 1000)})},
	{name: "tool", version: "3.0-r0", needs: []string{"cmd:bash"}, files: text(map[string]string{"usr/bin/tool": strings.Repeat("tool ", 1000)})},
}

// tryInstall installs a recipe into a folder of its own, and returns what is there.
func tryInstall(t *testing.T, r Recipe, mirror string) (map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "root")
	if err := installAlpine(t.Context(), tree, r, Options{Mirror: mirror}); err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the tree there is %v, %v", left, err)
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	db, err := readInstalled(root)
	return db.versions, err
}

func TestAlpineInstalls(t *testing.T) {
	s := newStandIn(t)
	s.repository(t, "v0/main", small[:2]...)
	s.repository(t, "v0/community", small[2])
	s.repository(t, "old/main", apkFile{name: "gone", version: "0.9-r0", files: text(map[string]string{"usr/bin/gone": "gone"})})
	web := httptest.NewServer(http.FileServer(http.Dir(s.dir)))
	defer web.Close()
	want := "base=1.0-r0\ngone=0.9-r0\nshell=2.0-r1\ntool=3.0-r0\n"
	for name, mirror := range map[string]string{"a folder": s.dir, "a URL": web.URL} {
		t.Run(name, func(t *testing.T) {
			r := s.recipe(t, "tool", "gone@old")
			r.Extra = []ExtraRepository{{From: "old/main", Tag: "old"}}
			got, err := tryInstall(t, r, mirror)
			if err != nil {
				t.Fatal(err)
			}
			_, lock, _ := strings.Cut(Base{Manifest: Manifest{Packages: got}}.Lock(), "\n")
			if lock != want {
				t.Errorf("installed:\n%swant:\n%s", lock, want)
			}
			r.locked, err = parseLock("lock", lock) // what a base's lock pins is what it had
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tryInstall(t, r, mirror); err != nil {
				t.Error(err)
			}
		})
	}
}

// What goes wrong with packages or their mirror is an error that says what.
func TestAlpineRefuses(t *testing.T) {
	apkPath := func(s standIn) string { return filepath.Join(s.dir, "v0/main/x86_64/tool-3.0-r0.apk") }
	change := func(t *testing.T, path string, to func([]byte) []byte) {
		t.Helper()
		old, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, to(old), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lock := func(lines ...string) func(*testing.T, standIn, *Recipe) {
		return func(t *testing.T, _ standIn, r *Recipe) {
			var err error
			if r.locked, err = parseLock("lock", strings.Join(lines, "\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		harm func(*testing.T, standIn, *Recipe)
		want []string
	}{
		"a tampered package": {func(t *testing.T, s standIn, _ *Recipe) {
			change(t, apkPath(s), func(b []byte) []byte { b[len(b)-30] ^= 1; return b })
		}, []string{"tool-3.0-r0: "}},
		"a package in another's place": {func(t *testing.T, s standIn, _ *Recipe) {
			other, err := os.ReadFile(filepath.Join(s.dir, "v0/main/x86_64/base-1.0-r0.apk"))
			if err != nil {
				t.Fatal(err)
			}
			change(t, apkPath(s), func([]byte) []byte { return other })
		}, []string{"tool-3.0-r0: BAD signature"}},
		"a package that is not there": {func(t *testing.T, s standIn, _ *Recipe) {
			if err := os.Remove(apkPath(s)); err != nil {
				t.Fatal(err)
			}
		}, []string{"tool-3.0-r0: package mentioned in index not found"}},
		"a key that is not trusted": {func(t *testing.T, s standIn, r *Recipe) {
			r.trusted = nil
		}, []string{"UNTRUSTED signature", "tool (no such package)"}},
		"another key of the same name": {func(t *testing.T, s standIn, r *Recipe) {
			r.trusted = map[string][]byte{keyName: []byte(newStandIn(t).publicKey(t))}
		}, []string{"BAD signature", "tool (no such package)"}},
		"a truncated index": {func(t *testing.T, s standIn, _ *Recipe) {
			change(t, filepath.Join(s.dir, "v0/main/x86_64/APKINDEX.tar.gz"), func(b []byte) []byte { return b[:len(b)*3/4] })
		}, []string{"WARNING: opening folder 1: ", "no such package"}},
		"another minirootfs": {func(t *testing.T, s standIn, r *Recipe) {
			change(t, filepath.Join(s.dir, r.Minirootfs.From), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{"the minirootfs ", " is not the one that the recipe pins: its sha256 is ", " was expected\n  "}},
		"no mirror": {func(t *testing.T, s standIn, _ *Recipe) {
			if err := os.RemoveAll(filepath.Join(s.dir, "v0")); err != nil {
				t.Fatal(err)
			}
		}, []string{"v0/main is no repository of packages", "--mirror"}},
		"a package that no repository has": {func(t *testing.T, s standIn, r *Recipe) {
			r.Packages = append(r.Packages, "nothing")
		}, []string{"nothing (no such package)"}},
		"a lock of another version":        {lock("base=1.0-r0", "shell=2.0-r0", "tool=3.0-r0"), []string{"apk failed", "shell"}},
		"a lock that lacks a package":      {lock("base=1.0-r0", "tool=3.0-r0"), []string{"shell 2.0-r1 is installed and not locked"}},
		"a lock without what is asked for": {lock("base=1.0-r0"), []string{"tool is not installed"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			s.repository(t, "v0/main", small...)
			r := s.recipe(t, "tool")
			r.Repositories = []string{"v0/main"}
			test.harm(t, s, &r)
			_, err := tryInstall(t, r, s.dir)
			if err == nil {
				t.Fatal("it installs")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

// A build from a mirror that dies midway, or on a full disk, leaves the cache as it was.
func TestAlpineBuildLeavesNothing(t *testing.T) {
	s := newStandIn(t)
	many := append([]apkFile{{name: "big", version: "1-r0", files: text(map[string]string{"big": strings.Repeat("x", 32<<20)})}}, small...)
	s.repository(t, "v0/main", many...)
	web := http.FileServer(http.Dir(s.dir))
	r := s.recipe(t, "big", "tool")
	r.Repositories = []string{"v0/main"}

	empty := func(t *testing.T, cache string) {
		t.Helper()
		if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
			t.Errorf("the cache holds %v, %v", left, err)
		}
	}
	t.Run("a mirror that dies midway", func(t *testing.T) {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.URL.Path, ".apk") && asked.Add(1) > 1 {
				w.Header().Set("Content-Length", "100000")
				_, _ = w.Write(bytes.Repeat([]byte{0x1f}, 100))
				panic(http.ErrAbortHandler)
			}
			web.ServeHTTP(w, q)
		}))
		defer server.Close()
		cache := t.TempDir()
		_, err := Build(t.Context(), cache, r, Options{Mirror: server.URL}, func(string) {})
		if err == nil || !strings.Contains(err.Error(), server.URL) || !strings.Contains(err.Error(), "ERROR: ") {
			t.Errorf("got %v, want an error with apk's words and the mirror", err)
		}
		empty(t, cache)
	})
	t.Run("a full disk", func(t *testing.T) {
		cache := t.TempDir()
		if err := unix.Mount("tmpfs", cache, "tmpfs", 0, "size=14m"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(cache, 0) }()
		_, err := Build(t.Context(), cache, r, Options{Mirror: s.dir}, func(string) {})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want that the disk is full", err)
		}
		empty(t, cache)
	})
	t.Run("an interrupt", func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		why := errors.New("stopped by the user")
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.URL.Path, ".apk") {
				stop(why)
				<-q.Context().Done()
				return
			}
			web.ServeHTTP(w, q)
		}))
		defer server.Close()
		cache := t.TempDir()
		if _, err := Build(ctx, cache, r, Options{Mirror: server.URL}, func(string) {}); !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
		empty(t, cache)
	})
}
