package images

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fileSystem is a new ext4 file system with an /etc/hosts of another's.
func fileSystem(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/hosts"), []byte("127.0.0.1 other\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "mke2fs", "-q", "-t", "ext4", "-d", tree, disk, size); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestInject(t *testing.T) {
	disk := fileSystem(t, "8M")
	files := []File{
		{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")},
		{Path: "/root/.ssh/id", Mode: 0o600, Data: bytes.Repeat([]byte{0, 1, '\n'}, 5000)},
		{Path: "/etc/empty", Mode: 0o444},
		{Path: "/etc/wants/hosts", Link: "/etc/hosts"},
	}
	if err := inject(t.Context(), disk, t.TempDir(), files); err != nil {
		t.Fatal(err)
	}
	// again, over what is there
	if err := inject(t.Context(), disk, t.TempDir(), files); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "e2fsck", "-fn", disk); err != nil {
		t.Error(err)
	}
}

func TestReadBackSeesWhatIsOther(t *testing.T) {
	disk := fileSystem(t, "8M")
	written := File{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")}
	link := File{Path: "/etc/link", Link: "/etc/hosts"}
	if err := inject(t.Context(), disk, t.TempDir(), []File{written, link}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]File{
		"content": {Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhosu\n")},
		"mode":    {Path: "/etc/hosts", Mode: 0o600, Data: written.Data},
		"missing": {Path: "/etc/none", Mode: 0o644},
		"target":  {Path: "/etc/link", Link: "/etc"},
		"no link": {Path: "/etc/hosts", Link: "/etc"},
	} {
		if err := readBack(t.Context(), disk, t.TempDir(), []File{f}); err == nil {
			t.Errorf("another %s is not seen", name)
		}
	}
}

func TestInjectServiceThatTheImageHasNot(t *testing.T) {
	f := File{Path: "/etc/systemd/system/multi-user.target.wants/x.service", Link: "/usr/lib/systemd/system/x.service"}
	err := inject(t.Context(), fileSystem(t, "8M"), t.TempDir(), []File{f})
	if err == nil || !strings.Contains(err.Error(), "the image has no /usr/lib/systemd/system/x.service") {
		t.Errorf("got %v", err)
	}
}

func TestInjectIntoFullFileSystem(t *testing.T) {
	f := File{Path: "/etc/big", Mode: 0o644, Data: make([]byte, 4<<20)}
	copy(f.Data, "not sparse")
	for i := range f.Data {
		f.Data[i] |= 1
	}
	if err := inject(t.Context(), fileSystem(t, "2M"), t.TempDir(), []File{f}); err == nil {
		t.Error("what did not fit is taken as written")
	}
}

func TestInjectRefusesNamesThatDebugfsMisreads(t *testing.T) {
	for _, p := range []string{"etc/hosts", "/etc/a b", "/etc/\"a\"", "/etc/a\nrm /etc/hosts"} {
		for _, f := range []File{{Path: p}, {Path: "/etc/link", Link: p}} {
			if _, _, err := look(t.Context(), "none", []File{f}); err == nil || strings.Contains(err.Error(), "debugfs") {
				t.Errorf("%+v: %v", f, err)
			}
		}
	}
}

func TestCommandNotInstalled(t *testing.T) {
	t.Setenv("PATH", "")
	packageOf["no-such-program"] = "its-package"
	defer delete(packageOf, "no-such-program")
	_, err := command(t.Context(), "no-such-program")
	if err == nil || !strings.Contains(err.Error(), "apt-get install its-package") {
		t.Errorf("got %v", err)
	}
	if _, err := exec.LookPath("sh"); err == nil {
		t.Error("PATH was not empty")
	}
}

// Where the guest has SELinux, a file has the label of the one that it replaces, a
// new one that of its folder, as if it had been written in the guest.
func TestInjectKeepsSecurityLabels(t *testing.T) {
	disk, scratch := fileSystem(t, "8M"), t.TempDir()
	was := map[string][]byte{
		"/":          []byte("system_u:object_r:root_t:s0\x00"),
		"/etc":       []byte("system_u:object_r:etc_t:s0\x00"),
		"/etc/hosts": []byte("system_u:object_r:net_conf_t:s0\x00"),
	}
	script, err := labelScript(scratch, was)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := debugfs(t.Context(), disk, scratch, script, "-w"); err != nil {
		t.Fatal(err)
	}
	err = inject(t.Context(), disk, t.TempDir(), []File{
		{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")},
		{Path: "/etc/ssh/keys/key", Mode: 0o600, Data: []byte("secret\n")},
		{Path: "/root/.ssh/id", Mode: 0o600},
		{Path: "/etc/link", Link: "/etc/hosts"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readLabels(t.Context(), disk, t.TempDir(), []string{"/", "/etc", "/etc/hosts", "/etc/link", "/etc/ssh", "/etc/ssh/keys", "/etc/ssh/keys/key", "/root", "/root/.ssh/id"})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"/etc/hosts": "net_conf_t", "/etc/link": "etc_t", "/etc/ssh": "etc_t", "/etc/ssh/keys": "etc_t", "/etc/ssh/keys/key": "etc_t",
		"/root": "root_t", "/root/.ssh/id": "root_t", "/etc": "etc_t", "/": "root_t",
	} {
		if label := "system_u:object_r:" + want + ":s0\x00"; string(got[p]) != label {
			t.Errorf("%s is labelled %q, want %q", p, got[p], label)
		}
	}
	if err := checkLabels(t.Context(), disk, t.TempDir(), map[string][]byte{"/etc": was["/"]}); err == nil {
		t.Error("another label is not seen")
	}
	if err := run(t.Context(), "e2fsck", "-fn", disk); err != nil {
		t.Error(err)
	}
}
