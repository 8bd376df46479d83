package hosttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mami-project/labctl/host"
)

// daemons are part of every host that runs labs.
var daemons = []string{"libvirtd", "virtlogd"}

func lookProcesses(t *testing.T, _ *host.Host, found Inventory) {
	tests := ancestors(t)
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, dir := range dirs {
		words, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(words) == 0 { // ended meanwhile, or the kernel's own
			continue
		}
		args := strings.Split(strings.TrimRight(string(words), "\x00"), "\x00")
		if !slices.Contains(tests, filepath.Base(dir)) && !slices.Contains(daemons, filepath.Base(args[0])) {
			found.add("process %s", strings.Join(args, " "))
		}
	}
}

// ancestors are the process ids of this test and of those which started it.
func ancestors(t *testing.T) []string {
	t.Helper()
	var pids []string
	for pid := strconv.Itoa(os.Getpid()); pid != "0"; {
		pids = append(pids, pid)
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		must(t, err)
		_, rest, _ := strings.Cut(string(stat), ") ") // "PID (NAME) STATE PARENT …"
		pid = strings.Fields(rest)[1]
	}
	return pids
}

func lookMounts(t *testing.T, _ *host.Host, found Inventory) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	found.addText("mount", string(mounts))
}

// folders are where a lab, libvirt and QEMU write.
var folders = []string{
	"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/run/libvirt/qemu", "/run/libvirt/network",
	host.DefaultDir, "/run/labctl", "/run/netns",
}

// daemonFiles hold the process ids of libvirt's daemons, which may be restarted.
var daemonFiles = []string{"/run/libvirt/qemu/driver.pid", "/run/libvirt/network/driver.pid"}

func lookFiles(t *testing.T, h *host.Host, found Inventory) {
	test, _, _ := strings.Cut(t.Name(), "/") // whose subtests have folders of their own
	for _, root := range append(folders, os.TempDir()) {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // no such folder, or gone while we looked
				return nil
			case err != nil:
				return err
			case path == h.KeptDir() || filepath.Dir(path) == h.KeptDir():
				return nil
			case path == h.ImageDir() || isKept(path, h.KeptDir()) || filepath.Dir(path) == os.TempDir() && strings.HasPrefix(e.Name(), test):
				return fs.SkipDir
			case slices.Contains(daemonFiles, path):
				return nil
			}
			info, err := e.Info()
			if err != nil {
				return nil // gone while we looked
			}
			owner := info.Sys().(*syscall.Stat_t)
			found.add("file %s: %v, owner %d:%d%s", path, info.Mode(), owner.Uid, owner.Gid, content(path, info))
			return nil
		})
		must(t, err)
	}
}

// isKept says whether a folder is of a ready state that is whole, or of keys.
func isKept(path, store string) bool {
	return filepath.Dir(filepath.Dir(path)) == store && !strings.HasSuffix(path, host.PartExt)
}

// content is what is in a file, as far as it is quickly told.
func content(path string, info fs.FileInfo) string {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(path)
		return ", to " + to
	case !info.Mode().IsRegular():
		return ""
	case info.Size() > 1<<20:
		return ", " + strconv.FormatInt(info.Size(), 10) + " bytes"
	}
	b, _ := os.ReadFile(path)
	sum := sha256.Sum256(b)
	return ", sha256 " + hex.EncodeToString(sum[:4])
}
