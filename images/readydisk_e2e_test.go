//go:build e2e

package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// debianTree is what of a Debian system matters to an import.
var debianTree = map[string]string{
	"usr/lib/os-release":  "ID=debian\n",
	"usr/sbin/qemu-ga":    "",
	"etc/hosts":           "127.0.0.1 other\n",
	"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5.2\n",
}

// Partition tables whose root partition stands from 4 MiB on, for 32 MiB.
const (
	rootLast    = "label: gpt\n1: start=8192, size=65536, type=" + typeLinux + "\n15: start=2048, size=2048, type=" + typeESP + "\n"
	rootNotLast = "label: gpt\n1: start=8192, size=65536, type=" + typeLinux + "\n2: start=75776, size=2048, type=" + typeESP + "\n"
	rootOnMBR   = "label: dos\n1: start=2048, size=2048, type=ef\n2: start=8192, size=65536, type=83\n"
)

// smallImage is a QCOW2 image of 64 MiB, partitioned by sfdisk's script, with a root
// file system of the tree that the commands of debugfs change.
func smallImage(t *testing.T, script string, tree map[string]string, commands ...string) string {
	t.Helper()
	dir := t.TempDir()
	raw, fs := filepath.Join(dir, "raw"), filepath.Join(dir, "fs")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(raw, nil, 0o600))
	must(os.Truncate(raw, 64*mib))
	c, err := command(t.Context(), "sfdisk", "--quiet", raw)
	must(err)
	c.Stdin = strings.NewReader(script)
	_, err = finish(t.Context(), c)
	must(err)
	must(run(t.Context(), "mke2fs", "-q", "-t", "ext4", "-d", hostTree(t, tree), fs, "32M"))
	if len(commands) > 0 {
		_, err = debugfs(t.Context(), fs, "", strings.Join(commands, "\n")+"\n", "-w")
		must(err)
	}
	content, err := os.ReadFile(fs)
	must(err)
	f, err := os.OpenFile(raw, os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt(content, 4*mib)
	must(errors.Join(err, f.Close()))
	path := filepath.Join(dir, "image.qcow2")
	must(run(t.Context(), "qemu-img", "convert", "-O", "qcow2", raw, path))
	return path
}

// imported is the image in a cache of its own.
func imported(t *testing.T, r Ready) Base {
	t.Helper()
	r.Name = "mine"
	b, err := r.Import(t.Context(), ownCache(t), quiet)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImport(t *testing.T) {
	path := smallImage(t, rootLast, debianTree)
	before, err := sum(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	dir := ownCache(t)
	r := Ready{Name: "mine", Path: path, Guest: GuestDebian}
	b, err := r.Import(t.Context(), dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := sum(t.Context(), path); err != nil || after != before {
		t.Errorf("the image is not as it was, or %v", err)
	}
	want := Partition{Number: 1, Start: 4 * mib, Bytes: 32 * mib, FS: fsExt4, Last: true}
	if b.Source != before.SHA256 || b.Boot != BootUEFI || *b.Root != want || b.DiskBytes != 64*mib || b.Packages["bash"] != "5.2" || b.Configure != ConfigureDisk {
		t.Errorf("its manifest is %+v", b.Manifest)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.SHA256 = before.SHA256
	said := ""
	again, err := r.Import(t.Context(), dir, func(s string) { said = s }) // it need not be there any more
	if err != nil || again.Dir != b.Dir || said != "mine is there already" {
		t.Errorf("again: %v, %q, %v", again.Dir, said, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("in the cache: %v, %v", left, err)
	}
	overlay := filepath.Join(filepath.Dir(dir), "labs/trafic/tshark.qcow2")
	fakeOverlay(t, overlay, b.Disk())
	if pruned, err := Prune(t.Context(), dir, nil, quiet); err != nil || len(pruned) > 0 {
		t.Errorf("from below a lab's disk: %v, %v", pruned, err)
	}
	if err := os.Remove(overlay); err != nil {
		t.Fatal(err)
	}
	if pruned, err := Prune(t.Context(), dir, nil, quiet); err != nil || len(pruned) != 1 {
		t.Errorf("pruned: %v, %v", pruned, err)
	}
	noneRuns(t, dir)
}

func TestImportRefusals(t *testing.T) {
	good := smallImage(t, rootLast, debianTree)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	qemuImg := func(args ...string) {
		t.Helper()
		if err := run(t.Context(), "qemu-img", args...); err != nil {
			t.Fatal(err)
		}
	}
	qemuImg("convert", "-O", "raw", good, file("raw"))
	qemuImg("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", good, file("overlay"))
	qemuImg("create", "-q", "-f", "qcow2", "-o", "data_file="+file("data")+",data_file_raw=on", file("data-file"), "64M")
	qemuImg("create", "-q", "-f", "qcow2", file("blank"), "64M")
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cut := content[:len(content)/2]
	if err := os.WriteFile(file("cut"), cut, 0o600); err != nil {
		t.Fatal(err)
	}
	lvm := smallImage(t, rootLast, nil)
	for name, c := range map[string]struct {
		r    Ready
		want string
	}{
		"raw":             {Ready{Path: file("raw")}, "is no QCOW2 image\n  qemu-img convert -O qcow2"},
		"overlay":         {Ready{Path: file("overlay")}, "backing file"},
		"data elsewhere":  {Ready{Path: file("data-file")}, "in another file"},
		"cut off":         {Ready{Path: file("cut")}, "damaged"},
		"blank":           {Ready{Path: file("blank")}, "nothing on it boots"},
		"no system":       {Ready{Path: lvm}, "no root file system"},
		"another":         {Ready{Path: good, SHA256: strings.Repeat("0", 64)}, "and the file says\n  0000"},
		"another guest":   {Ready{Path: good, Guest: GuestAlpine}, "it is debian"},
		"nothing":         {Ready{Path: file("nothing")}, "no such file"},
		"nothing, pinned": {Ready{Path: file("nothing"), SHA256: strings.Repeat("0", 64)}, "no such file"},
		"a folder":        {Ready{Path: dir, SHA256: strings.Repeat("0", 64)}, "is a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.Name = "mine"
			if c.r.Guest == "" {
				c.r.Guest = GuestDebian
			}
			cache := ownCache(t)
			_, err := c.r.Import(t.Context(), cache, quiet)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(cache); err == nil && len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			noneRuns(t, cache)
		})
	}
}

// What is written to the image while it is copied does not get into the cache, nor
// does half of it after an interrupt.
func TestImportDisturbed(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(path string, cancel func()) error
		want    string
	}{
		"changed": {func(path string, _ func()) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("?"), 4*mib)
			return errors.Join(err, f.Close())
		}, "changed while it was copied"},
		"interrupted": {func(_ string, cancel func()) error { cancel(); return nil }, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			path, dir := smallImage(t, rootLast, debianTree), ownCache(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := Ready{Name: "mine", Path: path, Guest: GuestDebian}.Import(ctx, dir, func(step string) {
				if strings.HasPrefix(step, "copying") {
					if err := c.disturb(path, cancel); err != nil {
						t.Error(err)
					}
				}
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			isEmpty(t, dir)
		})
	}
}

func TestImportWithoutRoom(t *testing.T) {
	path := smallImage(t, rootLast, debianTree)
	hosttest.Private(t, func(t *testing.T) { // for its own mounts
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		_, err := Ready{Name: "mine", Path: path, Guest: GuestDebian}.Import(t.Context(), dir, quiet)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v", err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// rootOf looks at the root partition of a disk that is made: its place, and what
// debugfs says there.
func rootOf(t *testing.T, d Disk, script string) (tableEntry, map[string]string) {
	t.Helper()
	dir := t.TempDir()
	raw, root := filepath.Join(dir, "raw"), filepath.Join(dir, "root")
	if err := run(t.Context(), "qemu-img", "convert", "-O", "raw", d.Path, raw); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "sfdisk", "--verify", raw); err != nil {
		t.Error(err)
	}
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := readTable(f, d.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Partitions {
		if p.Start != 4*mib {
			continue
		}
		content := make([]byte, p.Bytes)
		if _, err := f.ReadAt(content, p.Start); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), "e2fsck", "-fn", root); err != nil {
			t.Error(err)
		}
		out, err := debugfs(t.Context(), root, "", script)
		if err != nil {
			t.Fatal(err)
		}
		return p, answers(out)
	}
	t.Fatalf("no root among %+v", table.Partitions)
	return tableEntry{}, nil
}

func TestDiskOnPartitions(t *testing.T) {
	const grown = 256 * mib
	for name, c := range map[string]struct {
		image     string
		configure string
		bytes     int64
		root      int64 // what the root partition has then, at the least
		hosts     string
	}{
		"GPT":               {smallImage(t, rootLast, debianTree), "", grown, grown - 6*mib, "127.0.0.1 localhost"},
		"GPT as it is":      {smallImage(t, rootLast, debianTree), "", 64 * mib, 32 * mib, "127.0.0.1 localhost"},
		"MBR":               {smallImage(t, rootOnMBR, debianTree), "", grown, grown - 4*mib, "127.0.0.1 localhost"},
		"not the last":      {smallImage(t, rootNotLast, debianTree), "", 64 * mib, 32 * mib, "127.0.0.1 localhost"},
		"not shut down":     {smallImage(t, rootLast, debianTree, "feature needs_recovery", "set_super_value state 2"), "", grown, grown - 6*mib, "127.0.0.1 localhost"},
		"used since it was": {smallImage(t, rootLast, debianTree, "set_super_value mtime 20370101000000"), "", grown, grown - 6*mib, "127.0.0.1 localhost"},
		"agent":             {smallImage(t, rootLast, debianTree), ConfigureAgent, grown, grown - 6*mib, "127.0.0.1 other"},
		"seed":              {smallImage(t, rootLast, debianTree), ConfigureSeed, grown, 32 * mib, "127.0.0.1 other"},
	} {
		t.Run(name, func(t *testing.T) {
			b := imported(t, Ready{Path: c.image, Guest: GuestDebian, Configure: c.configure})
			dir := t.TempDir()
			d := tinyDisk(b, dir)
			d.Bytes = c.bytes
			d.Files = func() ([]File, error) {
				return []File{{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")}}, nil
			}
			contract(t, d)
			isEmpty(t, dir)
			if err := d.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			p, said := rootOf(t, d, "cat /etc/hosts\nstats -h\n")
			if got := strings.TrimSpace(said["cat /etc/hosts"]); got != c.hosts {
				t.Errorf("its hosts file is %q, want %q", got, c.hosts)
			}
			var blocks, each int64
			for line := range strings.Lines(said["stats -h"]) {
				_, _ = fmt.Sscanf(line, "Block count: %d", &blocks)
				_, _ = fmt.Sscanf(line, "Block size: %d", &each)
			}
			if used := blocks * each; p.Bytes < c.root || used > p.Bytes || c.configure != ConfigureSeed && used < p.Bytes-mib {
				t.Errorf("the root partition has %d bytes, want %d; its file system %d", p.Bytes, c.root, used)
			}
			if s, err := d.State(t.Context()); s != host.Present || err != nil {
				t.Errorf("it is %v, %v", s, err)
			}
			noneRuns(t, dir)
		})
	}
}

func TestDiskThatItsRootCannotFill(t *testing.T) {
	dir := t.TempDir()
	d := tinyDisk(imported(t, Ready{Path: smallImage(t, rootNotLast, debianTree), Guest: GuestDebian}), dir)
	if err := d.Create(t.Context()); err == nil || !strings.Contains(err.Error(), "say disk: 64MiB") {
		t.Errorf("got %v", err)
	}
	isEmpty(t, dir)
}
