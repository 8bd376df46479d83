package images

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// alpineRecipe is a recipe of Alpine with further lines.
func alpineRecipe(lines string) []byte {
	return []byte("system: alpine\nrelease: v3.22\nminirootfs: {from: mini.tar.gz, sha256: aa}\n" + lines)
}

func TestAlpineRecipeMistakes(t *testing.T) {
	for want, src := range map[string]string{
		"system is \"gentoo\"":           "system: gentoo\n",
		"lock is for system: alpine":     "system: debian\nrelease: bookworm\nlock: x\n",
		"release is \"\"":                "system: alpine\n",
		"exclude is for system":          string(alpineRecipe("exclude: [/usr]\n")),
		"needs from, and sha256 or":      "system: alpine\nrelease: edge\nminirootfs: {from: x}\n",
		"an extra repository has from":   string(alpineRecipe("extra-repositories: [{from: x, tag: 'a b'}]\n")),
		"a key: open /none/key":          string(alpineRecipe("keys: [/none/key]\n")),
		"lock: open /none/lock":          string(alpineRecipe("lock: /none/lock\n")),
		"unknown key allow-untrusted":    string(alpineRecipe("allow-untrusted: true\n")),
		"unknown key sha1 in minirootfs": "system: alpine\nrelease: edge\nminirootfs: {from: x, sha1: x}\n",
	} {
		_, err := parseRecipe("x", "x.yaml", []byte(src))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestRepositories(t *testing.T) {
	r, err := parseRecipe("x", "x.yaml", alpineRecipe("extra-repositories: [{from: v3.17/community, tag: old}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for mirror, want := range map[string][]repository{
		"":                 {{"https://dl-cdn.alpinelinux.org/alpine/v3.22/main", ""}, {"https://dl-cdn.alpinelinux.org/alpine/v3.22/community", ""}, {"https://dl-cdn.alpinelinux.org/alpine/v3.17/community", "old"}},
		"http://x/alpine/": {{"http://x/alpine/v3.22/main", ""}, {"http://x/alpine/v3.22/community", ""}, {"http://x/alpine/v3.17/community", "old"}},
		"/srv":             {{"/srv/v3.22/main", ""}, {"/srv/v3.22/community", ""}, {"/srv/v3.17/community", "old"}},
	} {
		got, err := r.repositories(mirror)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("from mirror %q: %v, %v", mirror, got, err)
		}
	}
	r.dir, r.Extra = "/recipes", nil
	r.Repositories = []string{"./own", "https://y/z"}
	got, err := r.repositories("/srv")
	if want := []repository{{at: "/recipes/own"}, {at: "https://y/z"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("places of their own: %v, %v", got, err)
	}
}

// Another key, lock or minirootfs is another base image.
func TestAlpineDigest(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.rsa.pub": "a", "b.rsa.pub": "b", "lock": "bash=1-r0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]string{}
	for _, lines := range []string{
		"", "keys: [a.rsa.pub]\n", "keys: [b.rsa.pub]\n", "lock: lock\n", "repositories: [x]\n",
		"extra-repositories: [{from: x, tag: y}]\n", "extra-repositories: [{from: x, tag: y, key: a.rsa.pub}]\n",
	} {
		r, err := parseRecipe("x", filepath.Join(dir, "x.yaml"), alpineRecipe(lines))
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[r.Digest()]; ok {
			t.Errorf("%q and %q have the same digest", lines, other)
		}
		seen[r.Digest()] = lines
	}
}

func TestLockFiles(t *testing.T) {
	got, err := parseLock("lock", "# all\nbash=5.2-r0 # the shell\n\ngo=1.21.10-r0\n")
	if diff := cmp.Diff(map[string]string{"bash": "5.2-r0", "go": "1.21.10-r0"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	r := Recipe{Packages: []string{"bash", "go@old"}}
	r.locked = got
	if diff := cmp.Diff([]string{"bash=5.2-r0", "go@old=1.21.10-r0"}, r.asked()); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"bash":               `lock:1: "bash" is no NAME=VERSION`,
		"a=1\nbash>=5":       `lock:2: "bash>=5" is no NAME=VERSION`,
		"go@old=1":           `lock:1: "go@old=1" is no NAME=VERSION`,
		"bash=1\n\nbash=1\n": "lock:3: bash is there twice",
	} {
		if _, err := parseLock("lock", text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

const apkInstalled = `C:Q1x
P:bash
V:5.2-r0
D:so:libreadline.so.8 /bin/sh !sash
p:cmd:bash=5.2-r0
F:bin
M:0:0:1777
R:bash
a:0:0:755
Z:Q1y

P:readline
V:8.2-r2
D:so:libc.musl-x86_64.so.1
p:so:libreadline.so.8=8.2

`

// apk goes on after a package that it cannot install: what lacks is found.
func TestInstalledIsCompared(t *testing.T) {
	root, err := os.OpenRoot(hostTree(t, map[string]string{"lib/apk/db/installed": apkInstalled}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	db, err := readInstalled(root)
	if err != nil {
		t.Fatal(err)
	}
	r := Recipe{Packages: []string{"cmd:bash", "git", "influxdb@old"}}
	r.locked = map[string]string{"bash": "5.1-r0", "musl": "1-r0"}
	want := "apk did not install what was asked for: git is not installed; influxdb is not installed; " +
		"readline needs so:libc.musl-x86_64.so.1, which is not installed; " +
		"bash 5.2-r0 is installed and 5.1-r0 is locked; musl 1-r0 is locked and not installed; readline 8.2-r2 is installed and not locked"
	if err := db.missing(r); err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// Nothing of ours can make apk take what no trusted key has signed.
func TestSignaturesAreNeverOff(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	off := regexp.MustCompile(`--allow-untrusted|--force|--no-check-certificate`)
	for _, path := range append(sources, "apk.sh", "recipes/alpine.yaml") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := off.Find(text); found != nil {
			t.Errorf("%s has %s", path, found)
		}
	}
	for _, name := range []string{"--allow-untrusted", "-U"} { // nor can a recipe pass it on as a package
		if _, err := parseRecipe("x", "x.yaml", alpineRecipe("packages: ["+name+"]\n")); err == nil {
			t.Errorf("a package may be named %s", name)
		}
	}
}

// A kernel is found by its flavour where its name says no more.
func TestKernelRelease(t *testing.T) {
	root, err := os.OpenRoot(hostTree(t, map[string]string{"lib/modules/6.6.34-0-virt/modules.dep": "", "lib/modules/6.1.0-1-amd64/modules.dep": ""}))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{"virt": "6.6.34-0-virt", "6.1.0-1-amd64": "6.1.0-1-amd64", "lts": ""} {
		if got, err := kernelRelease(root, name); got != want || (err == nil) != (want != "") {
			t.Errorf("vmlinuz-%s: %q, %v", name, got, err)
		}
	}
}

// Only what a recipe starts is started, and no script stays whose program is not there.
func TestOpenRCStartsOnlyWhatIsAsked(t *testing.T) {
	for program, want := range map[string]bool{"usr/sbin/influxd": true, "usr/bin/other": false} {
		root, err := os.OpenRoot(hostTree(t, map[string]string{
			"bin/bash": "", program: "", "etc/init.d/killprocs": "", "etc/init.d/mount-ro": "", "etc/init.d/crond": "",
			"etc/runlevels/default/crond": "", "etc/runlevels/sysinit/hwdrivers": "", "etc/ssh/ssh_host_rsa_key": "",
			"etc/passwd": "root:x:0:0:root:/root:/bin/ash\nbin:x:1:1::/:/bin/ash", "etc/shadow": "root:::0:::::\n",
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if _, err := customise(t.Context(), root, builtIn(t, "alpine"), quiet); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, level := range []string{"sysinit", "boot", "default", "shutdown"} {
			links, err := os.ReadDir(filepath.Join(root.Name(), "etc/runlevels", level))
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range links {
				got = append(got, level+"/"+l.Name())
			}
		}
		if diff := cmp.Diff([]string{
			"sysinit/labctl-mounts", "sysinit/qemu-guest-agent", "boot/labctl-network", "default/sshd", "shutdown/killprocs", "shutdown/mount-ro",
		}, got); diff != "" {
			t.Error(diff)
		}
		if _, err := root.Stat("etc/init.d/influxdb"); (err == nil) != want {
			t.Errorf("with %s: the script of InfluxDB: %v", program, err)
		}
		if text, _ := root.ReadFile("etc/passwd"); string(text) != "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1::/:/bin/ash" {
			t.Errorf("passwd: %s", text)
		}
		if text, _ := root.ReadFile("etc/shadow"); string(text) != "root:*::0:::::\n" {
			t.Errorf("shadow: %s", text)
		}
		if _, err := root.Stat("etc/ssh/ssh_host_rsa_key"); err == nil {
			t.Error("a host key stays")
		}
	}
}
