package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// qcow2Header is that of a plain image of 64 MiB.
func qcow2Header() []byte {
	b := make([]byte, 104)
	copy(b, qcow2Magic)
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint64(b[24:], 64*mib)
	return b
}

func TestCheckQCOW2(t *testing.T) {
	header := func(change func([]byte)) []byte {
		b := qcow2Header()
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		image []byte
		want  string // in the error; "" for none
	}{
		"plain":             {qcow2Header(), ""},
		"version 2":         {header(func(b []byte) { b[7] = 2; b[79] = 0xff })[:72], ""}, // what is behind is not header
		"dirty":             {header(func(b []byte) { b[79] = 1 }), ""},                   // qemu-img check tells
		"raw":               {make([]byte, 4096), "no QCOW2 image"},
		"empty":             {nil, "no QCOW2 image"},
		"a later version":   {header(func(b []byte) { b[7] = 4 }), "version 4"},
		"on another file":   {header(func(b []byte) { b[15] = 1 }), "backing file"},
		"encrypted":         {header(func(b []byte) { b[35] = 2 }), "encrypted"},
		"data elsewhere":    {header(func(b []byte) { b[79] = 4 }), "in another file"},
		"no disk":           {header(func(b []byte) { clear(b[24:32]) }), "0 bytes"},
		"an unlikely disk":  {header(func(b []byte) { b[24] = 0xff }), "cannot be"},
		"no whole sectors":  {header(func(b []byte) { b[31] = 1 }), "cannot be"},
		"cut in the header": {qcow2Header()[:4], "version 0"},
	} {
		t.Run(name, func(t *testing.T) {
			size, err := checkQCOW2(bytes.NewReader(c.image))
			if c.want == "" {
				if err != nil || size != 64*mib {
					t.Errorf("got %d, %v", size, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What a node's base is depends on the image and on how it is used, on its place not.
func TestReadyID(t *testing.T) {
	decided := func(r Ready) string {
		d, err := r.decide(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d.id()
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const sumOfX = "2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881"
	first := Ready{Name: "mine", SHA256: sumOfX, Guest: GuestDebian}
	if !isID.MatchString(decided(first)) || !strings.HasPrefix(decided(first), "mine-") {
		t.Errorf("its ID is %s", decided(first))
	}
	for name, same := range map[string]Ready{
		"read":    {Name: "mine", Path: path, Guest: GuestDebian},
		"written": {Name: "mine", SHA256: strings.ToLower(sumOfX), Guest: GuestDebian, Configure: ConfigureDisk},
	} {
		if decided(same) != decided(first) {
			t.Errorf("%s: %s, want %s", name, decided(same), decided(first))
		}
	}
	for name, other := range map[string]Ready{
		"guest":     {Name: "mine", SHA256: sumOfX, Guest: GuestAlpine},
		"configure": {Name: "mine", SHA256: sumOfX, Guest: GuestDebian, Configure: ConfigureAgent},
		"content":   {Name: "mine", SHA256: strings.Replace(sumOfX, "2D", "2E", 1), Guest: GuestDebian},
	} {
		if decided(other) == decided(first) {
			t.Errorf("another %s has the same ID", name)
		}
	}
}

func TestReadyFind(t *testing.T) {
	dir := t.TempDir()
	r := Ready{Name: "mine", Path: "/nonexistent", SHA256: strings.Repeat("0", 64), Guest: GuestCloudInit}
	_, err := r.Find(t.Context(), dir)
	if !errors.As(err, new(NotBuilt)) || !strings.Contains(err.Error(), "labctl up imports it") {
		t.Errorf("of an empty cache: %v", err)
	}
	d, err := r.decide(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Base{Dir: filepath.Join(dir, d.id()), Manifest: Manifest{Recipe: "mine", Digest: d.digest(), Source: d.SHA256, Boot: BootUEFI}}
	if err := os.Mkdir(want.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want.Disk(), []byte("disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if want, err = seal(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := r.Find(t.Context(), dir) // the image itself is not there
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all, err := List(dir)
	if err != nil || len(all) != 1 {
		t.Errorf("the cache holds %v, %v", all, err)
	}
	if err := errors.Join(os.Remove(want.Disk()), os.WriteFile(want.Disk(), []byte("dusk"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(t.Context()); !errors.As(err, new(Corrupt)) || !strings.Contains(err.Error(), "labctl image prune, then labctl up") {
		t.Errorf("of a damaged one: %v", err)
	}
}

func TestReadyRefusesBeforeItReads(t *testing.T) {
	for want, r := range map[string]Ready{
		"no such file":                       {Path: "/nonexistent", Guest: GuestDebian},
		"is a folder":                        {Path: t.TempDir(), Guest: GuestDebian},
		"is a special file":                  {Path: "/dev/zero", Guest: GuestDebian},
		"does not go with guest: cloud-init": {Guest: GuestCloudInit, Configure: ConfigureDisk},
	} {
		if _, err := r.Find(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestReadySuits(t *testing.T) {
	ext4, xfs := Partition{FS: fsExt4}, Partition{FS: fsXFS}
	debian := contents{os: "debian", agent: true}
	for name, c := range map[string]struct {
		r    Ready
		root Partition
		has  contents
		want string // in the error; "" for none
	}{
		"Debian":                   {Ready{Guest: GuestDebian, Configure: ConfigureDisk}, ext4, debian, ""},
		"what is made of Debian":   {Ready{Guest: GuestDebian, Configure: ConfigureDisk}, ext4, contents{os: "pop", like: []string{"ubuntu", "debian"}, agent: true}, ""},
		"Alpine":                   {Ready{Guest: GuestAlpine, Configure: ConfigureDisk}, ext4, contents{os: "alpine", agent: true}, ""},
		"Alpine as Debian":         {Ready{Guest: GuestDebian, Configure: ConfigureDisk}, ext4, contents{os: "alpine", agent: true}, "says that it is alpine"},
		"Debian as Alpine":         {Ready{Guest: GuestAlpine, Configure: ConfigureAgent}, ext4, debian, "says that it is debian"},
		"anything with cloud-init": {Ready{Guest: GuestCloudInit, Configure: ConfigureSeed}, ext4, contents{os: "fedora"}, ""},
		"no agent":                 {Ready{Guest: GuestDebian, Configure: ConfigureDisk}, ext4, contents{os: "debian"}, "no guest agent"},
		"no agent to configure":    {Ready{Guest: GuestCloudInit, Configure: ConfigureAgent}, ext4, contents{os: "fedora"}, "no guest agent"},
		"xfs":                      {Ready{Guest: GuestDebian, Configure: ConfigureDisk}, xfs, contents{}, "on xfs, into which"},
		"xfs with cloud-init":      {Ready{Guest: GuestCloudInit, Configure: ConfigureSeed}, xfs, contents{}, ""},
		"xfs with an agent":        {Ready{Guest: GuestDebian, Configure: ConfigureAgent}, xfs, contents{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.r.suits(c.root, c.has)
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "\n  ")) {
				t.Errorf("got %v, want %q and a way out", err, c.want)
			}
		})
	}
}

func TestReadContents(t *testing.T) {
	for name, c := range map[string]struct {
		tree map[string]string
		want contents
	}{
		"Debian": {
			map[string]string{
				"usr/lib/os-release": "NAME=\"Some\"\nID=ubuntu\nID_LIKE=\"debian other\"\n", "usr/sbin/qemu-ga": "",
				"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5.2\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
			},
			contents{"ubuntu", []string{"debian", "other"}, true, map[string]string{"bash": "5.2"}},
		},
		"Alpine": {
			map[string]string{"etc/os-release": "ID=alpine\n", "usr/bin/qemu-ga": "", "lib/apk/db/installed": "C:Q1x\nP:musl\nV:1.2.5-r0\nF:lib\nR:x\n\n"},
			contents{"alpine", nil, true, map[string]string{"musl": "1.2.5-r0"}},
		},
		"a partition for /boot": {map[string]string{"vmlinuz": ""}, contents{packages: map[string]string{}}},
		"no end":                {map[string]string{"etc/os-release": "big"}, contents{packages: map[string]string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := hostTree(t, c.tree)
			if c.tree["etc/os-release"] == "big" {
				if err := os.Truncate(filepath.Join(tree, "etc/os-release"), 1<<40); err != nil {
					t.Fatal(err)
				}
			}
			disk := filepath.Join(t.TempDir(), "disk")
			if err := run(t.Context(), "mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "8M"); err != nil {
				t.Fatal(err)
			}
			scratch := t.TempDir()
			got, err := readContents(t.Context(), disk, scratch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(contents{})); diff != "" {
				t.Error(diff)
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A disk that its root file system cannot fill is refused, not made smaller than asked.
func TestDiskGrowable(t *testing.T) {
	for name, c := range map[string]struct {
		root      Partition
		configure string
		more      int64
		want      string
	}{
		"as it is":            {Partition{FS: fsLVM}, ConfigureAgent, 0, ""},
		"the last":            {Partition{FS: fsExt4, Last: true}, ConfigureDisk, mib, ""},
		"not the last":        {Partition{FS: fsExt4}, ConfigureDisk, mib, "another partition behind it\n  say disk: 64MiB"},
		"LVM":                 {Partition{FS: fsLVM, Last: true}, ConfigureAgent, mib, "is on lvm"},
		"cloud-init grows it": {Partition{FS: fsXFS}, ConfigureSeed, mib, ""},
	} {
		d := Disk{Base: Base{Manifest: Manifest{DiskBytes: 64 * mib, Root: &c.root, Configure: c.configure}}, Bytes: 64*mib + c.more}
		err := d.growable()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestReadyFiles(t *testing.T) {
	for _, guest := range []string{GuestDebian, GuestAlpine, GuestCloudInit} {
		files, err := ReadyFiles(guest)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]File)
		for _, f := range files {
			if _, twice := seen[f.Path]; twice {
				t.Errorf("%s is there twice", f.Path)
			}
			seen[f.Path] = f
			if err := errors.Join(plainPath(f.Path), plainLink(f)); err != nil {
				t.Error(err)
			}
		}
		if guest == GuestAlpine {
			continue
		}
		if f := seen["/usr/lib/labctl/network"]; f.Mode != 0o755 || len(f.Data) == 0 {
			t.Errorf("the network script is %+v", f)
		}
		for p, link := range map[string]string{
			"/etc/systemd/system/multi-user.target.wants/labctl-network.service": "/etc/systemd/system/labctl-network.service",
			"/etc/systemd/system/systemd-networkd.service":                       "/dev/null",
		} {
			if seen[p].Link != link {
				t.Errorf("%s leads to %q, want %q", p, seen[p].Link, link)
			}
		}
	}
}
