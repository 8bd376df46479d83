package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mami-project/labctl/host"
)

// A base image is carried in a plain tar archive: its manifest, and then the files
// that the manifest names, sorted. The same base gives the same archive.

// Export writes a base image to w as one file. Its files are compared with what
// was built as they are read; after an error, what was written is of no use.
func Export(ctx context.Context, b Base, w io.Writer) error {
	text, err := os.ReadFile(filepath.Join(b.Dir, manifestFile))
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(entry(manifestFile, int64(len(text)))); err != nil {
		return err
	}
	if _, err := t.Write(text); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(b.Files)) {
		if err := exportFile(ctx, b, name, t); err != nil {
			return err
		}
	}
	return t.Close()
}

func exportFile(ctx context.Context, b Base, name string, t *tar.Writer) error {
	path, want := filepath.Join(b.Dir, name), b.Files[name]
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Corrupt{b.Recipe, path, "is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	changed := Corrupt{b.Recipe, path, "has changed since it was built"}
	if i, err := f.Stat(); err != nil || i.Size() != want.Bytes {
		return errors.Join(err, changed)
	}
	if err := t.WriteHeader(entry(name, want.Bytes)); err != nil {
		return err
	}
	got, err := copySum(ctx, t, io.LimitReader(f, want.Bytes))
	if err == nil && got != want {
		err = changed
	}
	return err
}

// entry is the header of a file in the archive, which tells nothing of this host.
func entry(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444, ModTime: time.Unix(Epoch, 0)}
}

// Import puts a base image that Export wrote into the cache dir, unless it is there
// already. Everything is compared with the archive's manifest before; after an
// error the cache is as it was. It waits for builds, and to replace a base of the
// same digest and other content, for holds.
func Import(ctx context.Context, dir string, r io.Reader, tell func(string)) (Base, error) {
	unlock, err := host.Lock(ctx, "images", "image import", func(holder string) { tell("waiting for " + holder) })
	if err != nil {
		return Base{}, err
	}
	defer unlock()
	a, err := openArchive(r)
	if err != nil {
		return Base{}, err
	}
	b := Base{Dir: filepath.Join(dir, a.manifest.id()), Manifest: a.manifest}
	old, err := readBase(b.Dir)
	if err == nil && maps.Equal(old.Files, b.Files) && old.Verify(ctx) == nil {
		tell(b.ID() + " is there already")
		return old, nil
	}
	if err := unused(dir, b.Dir); err != nil {
		return Base{}, err
	}
	work, err := newWork(dir, b.ID())
	if err != nil {
		return Base{}, err
	}
	tell("checking " + b.ID())
	if err := a.unpack(ctx, work); err != nil {
		return Base{}, errors.Join(err, os.RemoveAll(work))
	}
	if err := replace(ctx, b.Dir, work, tell); err != nil {
		return Base{}, errors.Join(err, os.RemoveAll(work))
	}
	return b, nil
}

// ReadManifest reads the manifest of a base image: from its folder, from an
// exported file or from the manifest itself.
func ReadManifest(path string) (Manifest, error) {
	i, err := os.Stat(path)
	if err != nil {
		return Manifest{}, err
	}
	if i.IsDir() {
		path = filepath.Join(path, manifestFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	first := make([]byte, 1)
	if _, err := f.ReadAt(first, 0); err == nil && first[0] == '{' {
		var m Manifest
		if err := json.NewDecoder(f).Decode(&m); err != nil {
			return Manifest{}, fmt.Errorf("%s is no manifest: %w", path, err)
		}
		return m, nil
	}
	a, err := openArchive(f)
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	return a.manifest, nil
}
