package domains

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var delivered = []File{
	{Path: "/etc/systemd/system/multi-user.target.wants/influxdb.service", Link: "/usr/lib/systemd/system/influxdb.service"},
	{Path: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n")},
	{Path: "/etc/empty", Mode: 0o444},
	{Path: "/root/.ssh/id_ed25519", Mode: 0o600, Data: bytes.Repeat([]byte{0, 1, '\n'}, 5000)},
}

func TestArchiveReadsBack(t *testing.T) {
	archive, err := pack(delivered)
	must(t, err)
	again, err := pack(delivered)
	must(t, err)
	if !bytes.Equal(archive, again) {
		t.Error("the same files give another archive")
	}
	must(t, compareFiles(archive, delivered))
}

// The guest's tar is another's: it unpacks what is sent.
func TestArchiveIsTars(t *testing.T) {
	archive, err := pack(delivered)
	must(t, err)
	dir := t.TempDir()
	tarFile := filepath.Join(dir, "files.tar")
	must(t, os.WriteFile(tarFile, archive, 0o600))
	run(t, "tar", "-xmf", tarFile, "-C", dir)
	for _, f := range delivered {
		path := filepath.Join(dir, f.Path)
		s, err := os.Lstat(path)
		must(t, err)
		if f.Link != "" {
			if to, err := os.Readlink(path); to != f.Link || err != nil {
				t.Errorf("%s leads to %q, %v", f.Path, to, err)
			}
			continue
		}
		data, err := os.ReadFile(path)
		must(t, err)
		if d := cmp.Diff(string(f.Data), string(data)); d != "" || s.Mode() != f.Mode {
			t.Errorf("%s: %v %s", f.Path, s.Mode(), d)
		}
	}
}

func TestCompareFilesSeesWhatIsOther(t *testing.T) {
	with := func(change func(*tar.Header, *[]byte)) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h, data := &tar.Header{Name: "etc/hosts", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("localhost\n")
		change(h, &data)
		h.Size = int64(len(data))
		must(t, w.WriteHeader(h))
		_, err := w.Write(data)
		must(t, err)
		must(t, w.Close())
		return b.Bytes()
	}
	file := []File{{Path: "/etc/hosts", Mode: 0o644, Data: []byte("localhost\n")}}
	link := []File{{Path: "/etc/hosts", Link: "/run/hosts"}}
	plain := with(func(*tar.Header, *[]byte) {})
	for name, test := range map[string]struct {
		archive []byte
		files   []File
		want    string
	}{
		"as written":         {plain, file, ""},
		"content":            {with(func(_ *tar.Header, d *[]byte) { *d = []byte("localhosu\n") }), file, "/etc/hosts reads back other"},
		"mode":               {with(func(h *tar.Header, _ *[]byte) { h.Mode = 0o600 }), file, "/etc/hosts reads back other"},
		"owner":              {with(func(h *tar.Header, _ *[]byte) { h.Uid = 1000 }), file, "/etc/hosts reads back other"},
		"another's":          {with(func(h *tar.Header, _ *[]byte) { h.Name = "etc/passwd" }), file, "/etc/hosts reads back other"},
		"a file for a link":  {plain, link, "/etc/hosts reads back other"},
		"nothing":            {nil, file, "/etc/hosts reads back other"},
		"no archive":         {[]byte("tar: not found, and so on, for more than one block of an archive" + string(make([]byte, 600))), file, "guest's tar"},
		"an archive cut off": {plain[:515], file, "guest's tar"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" {
				says(t, compareFiles(test.archive, test.files))
				return
			}
			says(t, compareFiles(test.archive, test.files), test.want)
		})
	}
}
