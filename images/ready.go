package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Ready is a base image that the user brings: a QCOW2 image of a disk which boots
// by itself.
type Ready struct {
	Name      string
	Path      string
	SHA256    string // hexadecimal; "" where any content will do
	Guest     string // GuestDebian, …
	Configure string // ConfigureDisk, …; "" for what suits the guest
}

// Find returns the ready image out of the cache dir, where its files are not read.
// The image itself is read only where SHA256 does not tell which it is. The error is
// a NotBuilt or a Corrupt where it is either.
func (r Ready) Find(ctx context.Context, dir string) (Base, error) {
	r, err := r.decide(ctx)
	if err != nil {
		return Base{}, err
	}
	return r.find(dir)
}

func (r Ready) find(dir string) (Base, error) {
	return findBase(filepath.Join(dir, r.id()), r.digest(), NotBuilt{r.Name, r.Path})
}

// Import returns the ready image in the cache dir, copied there unless it is there
// already and whole. The image itself stays as it is. tell is called with each
// step. It needs root. What fails or is interrupted leaves nothing.
func (r Ready) Import(ctx context.Context, dir string, tell func(string)) (Base, error) {
	pinned := r.SHA256 != ""
	r, err := r.decide(ctx)
	if err != nil {
		return Base{}, err
	}
	find := func() (Base, error) {
		b, err := r.find(dir)
		if err != nil {
			return Base{}, err
		}
		return b, b.Verify(ctx)
	}
	return enter(ctx, dir, r.id(), "image import "+r.Name, tell, find, func(work string) (Base, error) {
		b, err := r.bring(ctx, work, pinned, tell)
		if err != nil {
			err = fmt.Errorf("import the image %s: %w", r.Name, full(dir, err))
		}
		return b, err
	})
}

// decide fills in what the file leaves to us.
func (r Ready) decide(ctx context.Context) (Ready, error) {
	if r.Configure == "" {
		r.Configure = ConfigureDisk
		if r.Guest == GuestCloudInit {
			r.Configure = ConfigureSeed
		}
	}
	if r.Guest == GuestCloudInit && r.Configure == ConfigureDisk {
		return Ready{}, fmt.Errorf("the image %s: configure: disk does not go with guest: cloud-init\n  say guest: debian or guest: alpine, or leave configure: out", r.Name)
	}
	r.SHA256 = strings.ToLower(r.SHA256)
	if r.SHA256 == "" {
		if err := isFile(r.Path); err != nil {
			return Ready{}, fmt.Errorf("the image %s: %w", r.Name, err)
		}
		s, err := sum(ctx, r.Path)
		if err != nil {
			return Ready{}, fmt.Errorf("the image %s: %w", r.Name, err)
		}
		r.SHA256 = s.SHA256
	}
	return r, nil
}

// isFile refuses what is no regular file, which may have no end.
func isFile(path string) error {
	i, err := os.Stat(path)
	if err == nil && !i.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s: a QCOW2 image is wanted", path, kind(i))
	}
	return err
}

func kind(i os.FileInfo) string {
	if i.IsDir() {
		return "folder"
	}
	return "special file"
}

// digest identifies what stands in the cache: the image and how it is used.
func (r Ready) digest() string {
	digest := sha256.Sum256(fmt.Append(nil, Format, "\n", r.SHA256, "\n", r.Guest, "\n", r.Configure, "\n"))
	return hex.EncodeToString(digest[:])
}

// id is the name of the image's folder in the cache.
func (r Ready) id() string { return r.Name + "-" + r.digest()[:12] }

// bring makes the base image in the folder work.
func (r Ready) bring(ctx context.Context, work string, pinned bool, tell func(string)) (Base, error) {
	b := Base{Dir: work, Manifest: Manifest{
		Format: Format, Recipe: r.Name, Digest: r.digest(), Source: r.SHA256, Guest: r.Guest, Configure: r.Configure,
	}}
	tell("copying " + r.Path)
	got, err := r.copy(ctx, b.Disk())
	if err != nil {
		return Base{}, err
	}
	switch {
	case got.SHA256 == r.SHA256:
	case pinned:
		return Base{}, fmt.Errorf("%s is not the image that is wanted: its SHA-256 is\n  %s, and the file says\n  %s", r.Path, got.SHA256, r.SHA256)
	default:
		return Base{}, changed(r.Path)
	}
	tell("looking what is on it")
	if err := run(ctx, "qemu-img", "check", "-q", "-f", "qcow2", b.Disk()); err != nil && exitCode(err) != leaked {
		return Base{}, fmt.Errorf("%s is damaged\n  bring it anew: %w", r.Path, err)
	}
	if b.DiskBytes, err = qcow2Size(b.Disk()); err != nil {
		return Base{}, fmt.Errorf("%s %w", r.Path, err)
	}
	mended, err := r.inspect(ctx, &b)
	if err != nil {
		return Base{}, fmt.Errorf("%s: %w", r.Path, err)
	}
	if !mended {
		b.Files = map[string]Sum{diskFile: got}
	}
	return seal(ctx, b)
}

// leaked is how qemu-img check ends where room is lost in an image, and nothing else.
const leaked = 3

func changed(path string) error {
	return fmt.Errorf("%s changed while it was copied\n  run labctl again once nothing writes to it", path)
}

// copy copies the image to a new file.
func (r Ready) copy(ctx context.Context, to string) (s Sum, err error) {
	if err := isFile(r.Path); err != nil {
		return Sum{}, err
	}
	from, err := os.Open(r.Path)
	if err != nil {
		return Sum{}, err
	}
	defer from.Close()
	before, err := from.Stat()
	if err != nil {
		return Sum{}, err
	}
	if _, err := checkQCOW2(from); err != nil { // before it is copied in vain
		if errors.Is(err, errNotQCOW2) {
			err = fmt.Errorf("%w\n  qemu-img convert -O qcow2 %s %s.qcow2 makes one", err, r.Path, r.Path)
		}
		return Sum{}, fmt.Errorf("%s %w", r.Path, err)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Sum{}, err
	}
	s, err = copySum(ctx, f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return Sum{}, err
	}
	after, err := from.Stat()
	if err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
		err = changed(r.Path)
	}
	return s, err
}

// qcow2Size is the size of the disk in an image that QEMU may open.
func qcow2Size(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return checkQCOW2(f)
}
