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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// tinyBase is a base image that holds two files and no system.
func tinyBase(t *testing.T) Base {
	t.Helper()
	tree := hostTree(t, map[string]string{
		"etc/hosts":                           "127.0.0.1 other\n",
		"usr/lib/systemd/system/here.service": "[Service]\n",
	})
	b := Base{Dir: t.TempDir(), Manifest: Manifest{Recipe: "tiny"}}
	var err error
	if b.DiskBytes, err = makeDisk(t.Context(), tree, b.Disk(), "digest"); err != nil {
		t.Fatal(err)
	}
	return b
}

const wants = "/etc/systemd/system/multi-user.target.wants/"

// tinyDisk is a disk of 2 GiB on the base, not made yet.
func tinyDisk(b Base, dir string) Disk {
	return Disk{
		Node: "node", Path: filepath.Join(dir, "node.qcow2"), Base: b, Bytes: 2 << 30,
		Files: func() ([]File, error) {
			return []File{
				{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")},
				{Path: "/etc/ssh/key", Mode: 0o600, Data: []byte("secret\n")},
				{Path: wants + "here.service", Link: "/usr/lib/systemd/system/here.service"},
			}, nil
		},
	}
}

func TestDiskContract(t *testing.T) {
	dir := t.TempDir()
	contract(t, tinyDisk(tinyBase(t), dir))
	isEmpty(t, dir)
}

// A disk holds private keys: it is nobody else's from its first byte on.
func TestDiskIsForItsOwnerAlone(t *testing.T) {
	d := tinyDisk(tinyBase(t), t.TempDir())
	ended := make(chan struct{})
	open := make(chan string, 1)
	go func() {
		defer close(open)
		for {
			for _, place := range []string{d.part(), d.part() + ".raw", d.scratch(), d.Path} {
				if i, err := os.Stat(place); err == nil && i.Mode().Perm()&0o077 != 0 {
					open <- fmt.Sprint(place, " has mode ", i.Mode())
					return
				}
			}
			select {
			case <-ended:
				return
			default:
			}
		}
	}()
	err := d.Create(t.Context())
	close(ended)
	if was := <-open; was != "" || err != nil {
		t.Error(was, err)
	}
	if i, err := os.Stat(d.Path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the disk has mode %v, %v", i.Mode(), err)
	}
}

// isEmpty says what is left in a folder, and which programs and mounts of ours are.
func isEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	noneRuns(t, dir)
}

// noneRuns says which programs have dir in their command line, and what is mounted there.
func noneRuns(t *testing.T, dir string) {
	t.Helper()
	if left := running(dir); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("still mounted below %s, or %v", dir, err)
	}
}

// running are the command lines of programs with dir in them.
func running(dir string) []string {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is valid
	var found []string
	for _, p := range lines {
		text, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(text), dir) {
			found = append(found, string(text))
		}
	}
	return found
}

// readDisk runs debugfs's commands on a disk that is made.
func readDisk(t *testing.T, d Disk, script string) map[string]string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := run(t.Context(), "qemu-img", "convert", "-O", "raw", d.Path, raw); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "e2fsck", "-fn", raw); err != nil {
		t.Error(err)
	}
	out, err := debugfs(t.Context(), raw, "", script)
	if err != nil {
		t.Fatal(err)
	}
	return answers(out)
}

func TestDiskHoldsItsFilesAndFillsItsSize(t *testing.T) {
	d := tinyDisk(tinyBase(t), t.TempDir())
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := readDisk(t, d, "cat /etc/hosts\nstat /etc/ssh/key\nstat "+wants+"here.service\nstats -h\n")
	if diff := cmp.Diff("127.0.0.1 localhost", strings.TrimSpace(got["cat /etc/hosts"])); diff != "" {
		t.Error(diff)
	}
	if !hasMode(got["stat /etc/ssh/key"], File{Mode: 0o600}) {
		t.Error("the key is not root's alone:", got["stat /etc/ssh/key"])
	}
	if !strings.Contains(got["stat "+wants+"here.service"], `"/usr/lib/systemd/system/here.service"`) {
		t.Error("the service is not enabled:", got["stat "+wants+"here.service"])
	}
	if want := fmt.Sprintf("Block count:              %d\n", d.Bytes/4096); !strings.Contains(got["stats -h"], want) {
		t.Errorf("the file system does not fill the disk: want %q in %s", want, got["stats -h"])
	}
	base, err := backingFile(d.Path)
	if err != nil || base != d.Base.Disk() {
		t.Errorf("it stands on %q, %v", base, err)
	}
	i, err := os.Stat(d.Path)
	if err != nil || i.Sys().(*syscall.Stat_t).Blocks*512 > 16<<20 {
		t.Errorf("it takes %d bytes of the host's disk, %v", i.Sys().(*syscall.Stat_t).Blocks*512, err)
	}
}

func TestDiskCreateMendsWhatAnInterruptedRunLeft(t *testing.T) {
	d := tinyDisk(tinyBase(t), t.TempDir())
	err := errors.Join(os.WriteFile(d.part(), []byte("half"), 0o600), os.Mkdir(d.scratch(), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := d.State(t.Context()); s != host.Partial || err != nil {
		t.Errorf("half made it is %v, %v", s, err)
	}
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(d.Path + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDiskThatCannotBeMadeLeavesNothing(t *testing.T) {
	base := tinyBase(t)
	for name, c := range map[string]struct {
		change func(*Disk)
		want   string
	}{
		"too small": {func(d *Disk) { d.Bytes = 64 << 20 }, "64 MiB are too few: the image tiny needs 256 MiB"},
		"no service": {func(d *Disk) {
			d.Files = func() ([]File, error) {
				return []File{{Path: wants + "gone.service", Link: "/usr/lib/systemd/system/gone.service"}}, nil
			}
		}, "the image has no /usr/lib/systemd/system/gone.service"},
		"no keys": {func(d *Disk) { d.Files = func() ([]File, error) { return nil, os.ErrNotExist } }, "not exist"},
		"no base": {func(d *Disk) { d.Base.Dir = "/nonexistent" }, "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := tinyDisk(base, dir)
			c.change(&d)
			err := d.Create(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			isEmpty(t, dir)
		})
	}
}

func TestDiskCreateInterrupted(t *testing.T) {
	dir := t.TempDir()
	d := tinyDisk(tinyBase(t), dir)
	ctx, cancel := context.WithCancel(t.Context())
	files := d.Files
	d.Files = func() ([]File, error) {
		cancel() // the overlay is made, the export is not
		return files()
	}
	if err := d.Create(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	isEmpty(t, dir)
}

// An interrupt while the export is served ends the daemon too.
func TestExportInterrupted(t *testing.T) {
	base := tinyBase(t)
	ctx, cancel := context.WithCancel(t.Context())
	e, err := openExport(ctx, base.Disk(), base.DiskBytes)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), base.Dir) {
		t.Errorf("the export is mounted for others to see, or %v", err)
	}
	cancel()
	_ = e.Close() // the daemon's end by a signal is no news here
	noneRuns(t, base.Dir)
}

func TestDisksAtOnce(t *testing.T) {
	base, dir := tinyBase(t), t.TempDir()
	var g errgroup.Group
	for i := range 8 {
		d := tinyDisk(base, dir)
		d.Path = filepath.Join(dir, fmt.Sprintf("%d.qcow2", i))
		g.Go(func() error { return d.Create(t.Context()) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	noneRuns(t, dir)
}

func TestDiskWithoutRoom(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) { // for its own mounts
		for _, size := range []string{"100k", "1m", "2m"} {
			t.Run(size, func(t *testing.T) {
				dir := t.TempDir()
				if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
				d := tinyDisk(tinyBase(t), dir)
				d.Bytes = 200 << 30
				err := d.Create(t.Context())
				if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
					t.Errorf("got %v", err)
				}
				left, err := os.ReadDir(dir)
				if err != nil || len(left) > 0 {
					t.Errorf("left: %v, %v", left, err)
				}
			})
		}
	})
}
