package images

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// archive is an exported base image that is being read: nothing in it is trusted.
type archive struct {
	raw      io.Reader
	tar      *tar.Reader
	text     []byte // of the manifest
	manifest Manifest
}

const (
	largestManifest = 16 << 20
	largestTail     = 64 << 10 // zeros behind the last entry: tar pads its blocks
)

// notExported says that an archive is not one that Export wrote.
func notExported(format string, args ...any) error {
	return fmt.Errorf("%s\n  expected a file that labctl image export wrote: export it again", fmt.Sprintf(format, args...))
}

// openArchive reads an archive's manifest and looks whether it makes sense.
func openArchive(r io.Reader) (*archive, error) {
	a := &archive{raw: r, tar: tar.NewReader(r)}
	size, err := a.next(manifestFile)
	if err != nil {
		return nil, err
	}
	if size > largestManifest {
		return nil, notExported("its manifest has %d MiB", size>>20)
	}
	if a.text, err = io.ReadAll(a.tar); err != nil {
		return nil, notExported("its manifest is cut short: %v", err)
	}
	if err := json.Unmarshal(a.text, &a.manifest); err != nil {
		return nil, notExported("its manifest cannot be read: %v", err)
	}
	return a, a.manifest.check()
}

// next goes to the next entry, which must be a plain file of that name, and
// returns its size.
func (a *archive) next(name string) (int64, error) {
	h, err := a.tar.Next()
	if errors.Is(err, io.EOF) {
		return 0, notExported("it ends before %s", name)
	}
	if err != nil {
		return 0, notExported("it cannot be read: %v", err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg {
		return 0, notExported("it holds %q of type %q where the file %s is expected", h.Name, h.Typeflag, name)
	}
	return h.Size, nil
}

// check looks whether the manifest can be of a base image that this labctl uses.
func (m Manifest) check() error {
	switch {
	case m.Format > Format:
		return fmt.Errorf("it was made by a newer labctl (format %d)\n  this one reads formats up to %d: update it", m.Format, Format)
	case !recipeName.MatchString(m.Recipe) || !sha256Hex.MatchString(m.Digest):
		return notExported("its manifest names no recipe and digest")
	case m.DiskBytes <= 0:
		return notExported("its manifest has no size of the disk")
	}
	known := []string{diskFile, kernelFile, initrdFile}
	for name, s := range m.Files {
		if !slices.Contains(known, name) || !sha256Hex.MatchString(s.SHA256) || s.Bytes < 0 {
			return notExported("its manifest has the file %q of %d bytes", name, s.Bytes)
		}
	}
	for _, name := range m.needs() {
		if _, ok := m.Files[name]; !ok {
			return notExported("its manifest lacks %s", name)
		}
	}
	for _, word := range []struct {
		is    string
		known []string
	}{
		{m.Guest, []string{GuestDebian, GuestAlpine, GuestCloudInit}},
		{m.Configure, []string{ConfigureDisk, ConfigureSeed, ConfigureAgent}},
		{m.Boot, []string{BootKernel, BootBIOS, BootUEFI}},
	} {
		if !slices.Contains(word.known, word.is) {
			return notExported("its manifest says %q where %s is expected", word.is, strings.Join(word.known, " or "))
		}
	}
	return nil
}

// id is the name of the base's folder in the cache.
func (m Manifest) id() string { return m.Recipe + "-" + m.Digest[:12] }

// unpack writes the archive's files to the folder work, each compared with the manifest.
func (a *archive) unpack(ctx context.Context, work string) error {
	if err := a.fits(work); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.manifest.Files)) {
		if err := a.unpackFile(ctx, work, name); err != nil {
			return err
		}
	}
	if err := a.ends(); err != nil {
		return err
	}
	if err := standsAlone(filepath.Join(work, diskFile), a.manifest.DiskBytes); err != nil {
		return err
	}
	path := filepath.Join(work, manifestFile)
	return errors.Join(os.WriteFile(path, a.text, 0o444), host.Sync(path), host.Sync(work))
}

// fits looks for room beforehand.
func (a *archive) fits(work string) error {
	var need uint64
	for _, s := range a.manifest.Files {
		need += uint64(s.Bytes)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(work, &s); err != nil {
		return err
	}
	if room := s.Bavail * uint64(s.Bsize); need > room {
		return fmt.Errorf("%w: it takes %d MiB, and %s has %d MiB of room", unix.ENOSPC, need>>20, filepath.Dir(work), room>>20)
	}
	return nil
}

func (a *archive) unpackFile(ctx context.Context, work, name string) error {
	want := a.manifest.Files[name]
	size, err := a.next(name)
	if err != nil {
		return err
	}
	if size != want.Bytes {
		return notExported("%s has %d bytes, where its manifest says %d", name, size, want.Bytes)
	}
	path := filepath.Join(work, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	got, err := copySum(ctx, f, a.tar)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = notExported("it is cut short in %s", name)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got != want {
		return notExported("%s is not what its manifest says: SHA-256 %s, expected %s", name, got.SHA256, want.SHA256)
	}
	return host.Sync(path)
}

// ends looks that nothing follows.
func (a *archive) ends() error {
	h, err := a.tar.Next()
	if err == nil {
		return notExported("it holds %q, which its manifest does not name", h.Name)
	}
	if !errors.Is(err, io.EOF) {
		return notExported("it does not end as it should: %v", err)
	}
	tail, err := io.ReadAll(io.LimitReader(a.raw, largestTail+1))
	if err != nil {
		return err
	}
	if len(tail) > largestTail || strings.Trim(string(tail), "\x00") != "" {
		return notExported("something stands behind its end")
	}
	return nil
}

// standsAlone looks in a QCOW2 image's header that it makes QEMU open no other
// file of this host, and has the size that is said of it.
func standsAlone(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var header struct {
		Magic, Version uint32
		Backing        uint64
		BackingLength  uint32
		ClusterBits    uint32
		Size           uint64
		Other          [40]byte
		Incompatible   uint64
	}
	if err := binary.Read(f, binary.BigEndian, &header); err != nil {
		return notExported("its disk is no QCOW2 image: %v", err)
	}
	const magic, external = 'Q'<<24 | 'F'<<16 | 'I'<<8 | 0xfb, 1 << 2
	if header.Magic != magic || header.Backing != 0 || header.Version != 2 && (header.Version != 3 || header.Incompatible&external != 0) {
		return notExported("its disk is no QCOW2 image that stands alone")
	}
	if header.Size != uint64(size) {
		return notExported("its disk has %d bytes, where its manifest says %d", header.Size, size)
	}
	return nil
}
