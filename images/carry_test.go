package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// carried is a base image as it may be exported, and its export.
func carried(t *testing.T, dir string) (Base, []byte) {
	t.Helper()
	host.LockDir = t.TempDir()
	b := fakeBase(t, dir, builtIn(t, "debian-slim"))
	fakeOverlay(t, b.Disk(), "") // the header of a disk of no size
	return exported(t, b, func(m *Manifest) {
		m.Guest, m.Configure, m.Boot, m.DiskBytes = GuestDebian, ConfigureDisk, BootKernel, 1<<20
	})
}

// exported changes a base's manifest, and exports the base.
func exported(t *testing.T, b Base, change func(*Manifest)) (Base, []byte) {
	t.Helper()
	disk, err := os.ReadFile(b.Disk())
	if err != nil {
		t.Fatal(err)
	}
	disk = append(disk, make([]byte, max(0, 104-len(disk)))...)
	clear(disk[8:24])                                     // stands on nothing
	copy(disk[24:32], "\x00\x00\x00\x00\x00\x10\x00\x00") // 1 MiB
	if err := os.WriteFile(b.Disk(), disk, 0o644); err != nil {
		t.Fatal(err)
	}
	if b.Files[diskFile], err = sum(t.Context(), b.Disk()); err != nil {
		t.Fatal(err)
	}
	change(&b.Manifest)
	var out bytes.Buffer
	err = errors.Join(os.Remove(filepath.Join(b.Dir, manifestFile)), writeManifest(b), Export(t.Context(), b, &out))
	if err != nil {
		t.Fatal(err)
	}
	return b, out.Bytes()
}

func quiet(string) {}

func TestCarry(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "images")
	b, file := carried(t, from)
	if _, again := exported(t, b, func(*Manifest) {}); !bytes.Equal(file, again) {
		t.Error("two exports differ")
	}
	for _, what := range []string{"into an empty cache", "again"} {
		got, err := Import(t.Context(), to, bytes.NewReader(append(file, make([]byte, 5000)...)), quiet) // tar pads so
		if err != nil {
			t.Fatal(what, err)
		}
		found, err := Open(t.Context(), to, builtIn(t, "debian-slim"))
		if err != nil {
			t.Fatal(what, err)
		}
		if diff := cmp.Diff(found, got); diff != "" {
			t.Error(what, diff)
		}
		b.Dir = found.Dir
		if diff := cmp.Diff(b, found); diff != "" {
			t.Error(what, diff)
		}
		if left, err := os.ReadDir(to); err != nil || len(left) != 1 {
			t.Errorf("%s, in the cache: %v, %v", what, left, err)
		}
	}
	for _, path := range []string{b.Dir, filepath.Join(b.Dir, manifestFile)} {
		if m, err := ReadManifest(path); err != nil || cmp.Diff(m, b.Manifest) != "" {
			t.Errorf("of %s: %v, %v", path, m, err)
		}
	}
}

// What replaces a base of the same recipe and other content must not pull it from below a disk.
func TestImportReplaces(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "images")
	_, file := carried(t, from)
	b := fakeBase(t, to, builtIn(t, "debian-slim"))
	overlay := filepath.Join(filepath.Dir(to), "labs/trafic/tshark.qcow2")
	fakeOverlay(t, overlay, b.Disk())
	if _, err := Import(t.Context(), to, bytes.NewReader(file), quiet); err == nil || !strings.Contains(err.Error(), "labctl down trafic") {
		t.Errorf("below a lab's disk: %v", err)
	}
	if err := errors.Join(b.Verify(t.Context()), os.Remove(overlay)); err != nil {
		t.Fatal(err)
	}
	got, err := Import(t.Context(), to, bytes.NewReader(file), quiet)
	if err = errors.Join(err, got.Verify(t.Context())); err != nil {
		t.Error(err)
	}
}

// A base that boots by its own loader has a disk alone.
func TestCarryOfADiskAlone(t *testing.T) {
	b, _ := carried(t, t.TempDir())
	b, file := exported(t, b, func(m *Manifest) {
		m.Boot, m.Files = BootUEFI, map[string]Sum{diskFile: m.Files[diskFile]}
	})
	got, err := Import(t.Context(), t.TempDir(), bytes.NewReader(file), quiet)
	if err != nil || !maps.Equal(got.Files, b.Files) {
		t.Errorf("%v, %v", got.Files, err)
	}
}

func TestExportOfACorruptBase(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"a byte changed": func(p string) error { return os.WriteFile(p, []byte("kernal"), 0o644) },
		"cut short":      func(p string) error { return os.Truncate(p, 1) },
		"gone":           os.Remove,
	} {
		b, _ := carried(t, t.TempDir())
		if err := damage(b.KernelPath()); err != nil {
			t.Fatal(err)
		}
		if err := Export(t.Context(), b, io.Discard); !errors.As(err, new(Corrupt)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// item is an entry of an archive.
type item struct {
	header tar.Header
	text   string
}

func items(t *testing.T, file []byte) []item {
	t.Helper()
	var all []item
	for r := tar.NewReader(bytes.NewReader(file)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item{*h, string(text)})
	}
}

func pack(t *testing.T, all []item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range all {
		if i.header.Typeflag == tar.TypeReg {
			i.header.Size = int64(len(i.text))
		}
		if err := w.WriteHeader(&i.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImportRefuses(t *testing.T) {
	_, file := carried(t, t.TempDir())
	manifest := func(change func(*Manifest)) func([]item) []item {
		return func(all []item) []item {
			var m Manifest
			if err := json.Unmarshal([]byte(all[0].text), &m); err != nil {
				t.Fatal(err)
			}
			change(&m)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			all[0].text = string(text)
			return all
		}
	}
	disk := func(at int, bytes string) func([]item) []item {
		return func(all []item) []item {
			text := []byte(all[1].text)
			copy(text[at:], bytes)
			all[1].text = string(text)
			return manifest(func(m *Manifest) {
				path := filepath.Join(t.TempDir(), "disk")
				s, err := Sum{}, os.WriteFile(path, text, 0o600)
				if err == nil {
					s, err = sum(context.Background(), path)
				}
				if err != nil {
					t.Fatal(err)
				}
				m.Files[diskFile] = s
			})(all)
		}
	}
	for name, c := range map[string]struct {
		change func([]item) []item
		want   string
	}{
		"the manifest last":     {func(all []item) []item { slices.Reverse(all); return all }, "where the file manifest.json is expected"},
		"no manifest":           {func(all []item) []item { return nil }, "it ends before manifest.json"},
		"a manifest of no JSON": {func(all []item) []item { all[0].text = "?"; return all }, "its manifest cannot be read"},
		"a large manifest":      {func(all []item) []item { all[0].text = strings.Repeat(" ", largestManifest+1); return all }, "its manifest has 16 MiB"},
		"one file less":         {func(all []item) []item { return all[:3] }, "it ends before kernel"},
		"one file more":         {func(all []item) []item { return append(all, all[3]) }, "it holds \"kernel\", which its manifest does not name"},
		"a file twice":          {func(all []item) []item { return slices.Insert(all, 2, all[1]) }, "where the file initrd is expected"},
		"a name that leads out": {func(all []item) []item { all[1].header.Name = "../disk.qcow2"; return all }, "../disk.qcow2"},
		"a link": {func(all []item) []item {
			all[1] = item{header: tar.Header{Typeflag: tar.TypeSymlink, Name: diskFile, Linkname: "/etc/shadow"}}
			return all
		}, "of type '2'"},
		"a device": {func(all []item) []item {
			all[1] = item{header: tar.Header{Typeflag: tar.TypeChar, Name: diskFile}}
			return all
		}, "of type '3'"},
		"other content":            {func(all []item) []item { all[2].text = "initrt"; return all }, "initrd is not what its manifest says"},
		"another size":             {func(all []item) []item { all[2].text += "."; return all }, "initrd has 7 bytes, where its manifest says 6"},
		"a newer format":           {manifest(func(m *Manifest) { m.Format++ }), "made by a newer labctl"},
		"a recipe that leads out":  {manifest(func(m *Manifest) { m.Recipe = "../../etc" }), "names no recipe"},
		"no digest":                {manifest(func(m *Manifest) { m.Digest = "short" }), "names no recipe and digest"},
		"a file that leads out":    {manifest(func(m *Manifest) { m.Files["../x"] = m.Files[diskFile] }), "has the file \"../x\""},
		"a file of less than none": {manifest(func(m *Manifest) { m.Files[diskFile] = Sum{m.Files[diskFile].SHA256, -1} }), "of -1 bytes"},
		"no kernel":                {manifest(func(m *Manifest) { delete(m.Files, kernelFile) }), "its manifest lacks kernel"},
		"no size":                  {manifest(func(m *Manifest) { m.DiskBytes = 0 }), "no size of the disk"},
		"an unknown guest":         {manifest(func(m *Manifest) { m.Guest = "plan9" }), "\"plan9\" where debian or"},
		"no room":                  {manifest(func(m *Manifest) { m.Files[diskFile] = Sum{m.Files[diskFile].SHA256, 1 << 60} }), syscall.ENOSPC.Error()},
		"a disk on another file":   {disk(15, "\x70"), "no QCOW2 image that stands alone"},
		"a disk beside its data":   {disk(79, "\x04"), "no QCOW2 image that stands alone"},
		"no disk image":            {disk(0, "RAW"), "no QCOW2 image that stands alone"},
		"a disk of another size":   {disk(31, "\x01"), "its disk has 1048577 bytes"},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, pack(t, c.change(items(t, file))), c.want) })
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":           {nil, "it ends before"},
		"no archive":        {bytes.Repeat([]byte("?"), 2000), "it cannot be read"},
		"cut in a file":     {file[:len(file)-1600], ""},
		"cut in a header":   {file[:bytes.LastIndex(file, []byte("ustar"))], ""},
		"something behind":  {append(slices.Clone(file), "more"...), "behind its end"},
		"far too many ends": {append(slices.Clone(file), make([]byte, largestTail+1)...), "behind its end"},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, c.file, c.want) })
	}
}

// refuses imports a file, which must fail and leave an empty cache and nothing beside it.
func refuses(t *testing.T, file []byte, want string) {
	t.Helper()
	dir := t.TempDir()
	_, err := Import(t.Context(), filepath.Join(dir, "images"), bytes.NewReader(file), quiet)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir && d.Name() != "images" {
			t.Error("left:", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestImportInterrupted(t *testing.T) {
	_, file := carried(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	_, err := Import(ctx, dir, bytes.NewReader(file), func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Anything at all is refused without harm.
func FuzzImport(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte) {
		if a, err := openArchive(bytes.NewReader(file)); err == nil {
			_ = a.manifest.id()
		}
	})
}
