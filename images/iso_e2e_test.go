//go:build e2e

package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// isoStandIn is the stand-in for Alpine's ISO; testdata/alpine-iso/build says what is
// real in it. Builds of it wait for none of other tests.
func isoStandIn(t *testing.T) string {
	t.Helper()
	others := host.LockDir
	host.LockDir = t.TempDir()
	t.Cleanup(func() { host.LockDir = others })
	out, err := exec.Command("testdata/alpine-iso/build", "--path").Output()
	path := filepath.Join(strings.TrimSpace(string(out)), "alpine.iso")
	if _, serr := os.Stat(path); err != nil || serr != nil {
		t.Fatal("the stand-in for Alpine's ISO is not built: make alpine-iso: ", errors.Join(err, serr))
	}
	return path
}

// standInMirror is a folder of packages for it: its release has ssh, edge all but influxdb.
func standInMirror(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	has := map[string][]string{"v3.22": {"APKINDEX.tar.gz", "openssh.apk"}, "edge": {"APKINDEX.tar.gz"}}
	for _, p := range slices.Concat(isoNeeds, isoWants) {
		if p != "influxdb" {
			has["edge"] = append(has["edge"], p+".apk")
		}
	}
	for release, files := range has {
		at := filepath.Join(folder, release, "main", "x86_64")
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(at, name), []byte("#!/bin/sh\necho "+name+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

// TestBuildISO has the stand-in install itself, and looks at what became of it.
func TestBuildISO(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, isoWork+"dead", "left"), 0o755); err != nil {
		t.Fatal(err)
	}
	iso := isoStandIn(t)
	digest, err := sum(t.Context(), iso)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	b, err := BuildISO(t.Context(), dir, ISO{Path: iso, SHA256: digest.SHA256, Name: "seed", Mirror: standInMirror(t), Release: "edge"},
		func(what string) { told = append(told, what) })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"that is Alpine 3.22.9", "Alpine edge has no influxdb: it is left out; a node that needs it can name another image"} {
		if !slices.Contains(told, want) {
			t.Errorf("was not told %q: %q", want, told)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != b.ID() || b.Guest != GuestAlpine || b.Boot != BootBIOS {
		t.Errorf("in the cache: %v, %v: %+v", left, err, b.Manifest)
	}
	noneRuns(t, dir)

	d := openStandIn(t, b)
	profile, err := BuiltIn("debian")
	if err != nil {
		t.Fatal(err)
	}
	packages := "bash openssh qemu-guest-agent iproute2 ethtool socat iputils curl iperf3 git go musl-dev make tshark"
	for path, want := range map[string]string{
		"/var/log/apk":          "update\nadd openssh\nupdate\nupgrade\nadd " + packages + "\n",
		"/etc/apk/repositories": alpineMirror + "/edge/main\n" + alpineMirror + "/edge/community\n",
		"/var/log/rc-update":    "add qemu-guest-agent default\nadd sshd default\n",
		"/etc/passwd":           "root:x:0:0:root:/root:/bin/bash\n",
		"/root/.profile":        profile.Files[0].Text,
		"/etc/hostname":         "alpine\n",
		"/etc/resolv.conf":      "# a lab has its names in /etc/hosts\n",
		"/usr/bin/tshark":       "#!/bin/sh\necho tshark.apk\n",
	} {
		if got := d.cat(path); got != want {
			t.Errorf("%s\n got: %q\nwant: %q", path, got, want)
		}
	}
	inside := regexp.MustCompile(`http://10\.0\.2\.2:[0-9]+`)
	if got, want := inside.ReplaceAllString(d.cat("/var/log/answers"), "MIRROR"), fmt.Sprintf(setupAnswers, "MIRROR/v3.22/main MIRROR/v3.22/community", "MIRROR"); got != want {
		t.Errorf("setup-alpine was answered %q, want %q", got, want)
	}
	if got := inside.ReplaceAllString(d.cat("/var/log/repositories"), "MIRROR"); got != "MIRROR/edge/main\nMIRROR/edge/community\n" {
		t.Errorf("the upgrade was from %q", got)
	}
	for _, folder := range []string{"/root/go/bin", "/root/go/src", "/root/share"} {
		if got := d.run("stat " + folder); !strings.Contains(got, "Type: directory") {
			t.Errorf("%s: %s", folder, got)
		}
	}
	for _, gone := range []string{"/root/answers", "/root/.ash_history"} {
		if got := d.run("stat " + gone); !strings.Contains(got, "File not found") {
			t.Errorf("%s: %s", gone, got)
		}
	}
	if got := d.cat("/etc/conf.d/qemu-guest-agent"); !strings.Contains(got, "org.qemu.guest_agent.0") {
		t.Errorf("the agent is told %q", got)
	}
}

// standInDisk is the root file system of a disk that the stand-in has made.
type standInDisk struct {
	t    *testing.T
	path string
}

func openStandIn(t *testing.T, b Base) standInDisk {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := run(t.Context(), "qemu-img", "convert", "-O", "raw", b.Disk(), raw); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := make([]byte, 512)
	if _, err := f.ReadAt(table, 0); err != nil {
		t.Fatal(err)
	}
	const second = 446 + 16 // the entry of the second partition
	if table[446] != 0x80 || table[second+4] != 0x83 {
		t.Fatalf("not as Alpine divides a disk: % x", table[446:510])
	}
	start := int64(binary.LittleEndian.Uint32(table[second+8:])) * 512
	return standInDisk{t, fmt.Sprintf("%s?offset=%d", raw, start)}
}

// run runs one of debugfs's commands and returns all that it says.
func (d standInDisk) run(command string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), "debugfs", "-R", command, d.path).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func (d standInDisk) cat(path string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), "debugfs", "-R", "cat "+path, d.path).Output()
	if err != nil {
		d.t.Fatalf("%s: %v", path, err)
	}
	return string(out)
}

func TestBuildISOThatFailsLeavesNothing(t *testing.T) {
	iso := isoStandIn(t)
	for name, c := range map[string]struct {
		iso  ISO
		when string // the step at which do is called
		do   func(t *testing.T, dir string, cancel func())
		want []string
	}{
		"it never logs in": {
			ISO{Path: notBootable(t), Name: "seed"},
			"booting the ISO", func(t *testing.T, _ string, _ func()) { impatient(t) },
			[]string{"booting the ISO: waited 3s for a login on the serial console", `flavour "virt"`},
		},
		"no mirror": {
			ISO{Path: iso, Name: "seed", Mirror: "http://127.0.0.1:1"},
			"", nil,
			[]string{"setup-alpine: exit status 1; the last lines of its serial console:\n", "lease of 10.0.2.15", "\n  packages come from http://10.0.2.2:1: "},
		},
		"no folder of packages": {ISO{Path: iso, Name: "seed", Mirror: "/no/such/folder"}, "", nil, []string{"--mirror: open /no/such/folder"}},
		"interrupted": {
			ISO{Path: iso, Name: "seed", Mirror: standInMirror(t)},
			"setup-alpine", func(_ *testing.T, _ string, cancel func()) { cancel() },
			[]string{"context canceled"},
		},
		"QEMU dies": {
			ISO{Path: iso, Name: "seed", Mirror: standInMirror(t)},
			"setup-alpine", func(t *testing.T, dir string, _ func()) { killQEMU(t, dir) },
			[]string{"the machine ended (", "signal: killed", "before the end of: setup-alpine"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := BuildISO(ctx, dir, c.iso, func(what string) {
				if c.do != nil && what == c.when {
					c.do(t, dir, cancel)
				}
			})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			isEmpty(t, dir)
		})
	}
}

// impatient shortens the wait for a login until the test ends.
func impatient(t *testing.T) {
	long := loginTime
	loginTime = 3 * time.Second
	t.Cleanup(func() { loginTime = long })
}

// killQEMU kills the machine whose disk is below dir.
func killQEMU(t *testing.T, dir string) {
	t.Helper()
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is valid
	for _, p := range lines {
		text, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(text), dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err := errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)); err != nil {
			t.Error(err)
		}
	}
}

// TestBuildISOWithoutRoom builds on a small disk, which a process of its own sees.
func TestBuildISOWithoutRoom(t *testing.T) {
	const at = "LABCTL_TEST_SMALL_DISK"
	if dir := os.Getenv(at); dir != "" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", roomLeast+8<<20)); err != nil {
			t.Fatal(err)
		}
		_, err := BuildISO(t.Context(), dir, ISO{Path: isoStandIn(t), Name: "seed", Mirror: standInMirror(t)}, func(string) {})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "the host's disk at "+dir) || !strings.Contains(err.Error(), "--dir") {
			t.Errorf("got %v", err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		return
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBuildISOWithoutRoom$", "-test.count=1")
	c.Env = append(os.Environ(), at+"="+t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, bytes.TrimSpace(out))
	}
}

func TestBuildISOKilled(t *testing.T) {
	dir, victim := killed(t, "installing")
	if victim {
		_, err := BuildISO(context.Background(), dir, ISO{Path: isoStandIn(t), Name: "seed", Mirror: standInMirror(t)}, func(what string) {
			if what == "setup-alpine" {
				_ = os.WriteFile(filepath.Join(dir, "installing"), nil, 0o600)
			}
		})
		t.Fatal("it ended before it was killed:", err)
	}
	noneRuns(t, dir)
}
