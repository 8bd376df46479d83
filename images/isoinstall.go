package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// ISO is an Alpine ISO image that is to become a base image, by the way that the
// description of the test bed goes by hand: boot it, answer setup-alpine, restart
// from the disk, add what the nodes need.
type ISO struct {
	Path    string // of the image, of Alpine's flavour "virt"
	SHA256  string // of the image, in hexadecimal; "" is not checked
	Name    string // of the base image
	Mirror  string // URL of an Alpine mirror, or a folder that holds one; "" is Alpine's own
	Release string // whose packages are installed: v3.22, edge; "" is the ISO's own
}

const (
	isoDisk = 5 << 30 // bytes, as the description asks; a node's disk can be larger
	isoWork = ".iso-" // marks the folder in which an ISO installs itself
)

// BuildISO makes a base image of an ISO in the cache dir, a new one each time. tell
// is called with each step. It needs root and Alpine's packages. An interrupted
// build leaves nothing; of two at once the second waits for the first.
func BuildISO(ctx context.Context, dir string, i ISO, tell func(string)) (Base, error) {
	b, err := i.build(ctx, dir, tell)
	if err != nil {
		return Base{}, fmt.Errorf("build the base image %s of %s: %w", i.Name, i.Path, err)
	}
	return b, nil
}

func (i ISO) build(ctx context.Context, dir string, tell func(string)) (Base, error) {
	iso, err := filepath.Abs(i.Path) // QEMU reads protocols into other names
	if err != nil {
		return Base{}, err
	}
	if err := i.check(ctx); err != nil {
		return Base{}, err
	}
	unlock, err := host.Lock(ctx, "iso", "image build --iso "+i.Path, func(holder string) { tell("waiting for " + holder) })
	if err != nil {
		return Base{}, err
	}
	defer unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Base{}, err
	}
	// under the lock, what is there is left over from a dead process
	stale, err := filepath.Glob(filepath.Join(dir, isoWork+"*"))
	for _, s := range stale {
		err = errors.Join(err, os.RemoveAll(s))
	}
	if err != nil {
		return Base{}, err
	}
	work := filepath.Join(dir, isoWork+i.Name)
	if err := os.Mkdir(work, 0o700); err != nil {
		return Base{}, err
	}
	disk := filepath.Join(work, diskFile)
	err = i.install(ctx, iso, disk, tell)
	var b Base
	if err == nil {
		b, err = Ready{Name: i.Name, Path: disk, Guest: GuestAlpine, Configure: ConfigureDisk}.Import(ctx, dir, tell)
	}
	return b, errors.Join(err, os.RemoveAll(work))
}

// Valid says what is wrong with how the ISO is to be built, without a look at it.
func (i ISO) Valid() error {
	if !isName.MatchString(i.Name) {
		return fmt.Errorf("%q is no name for a base image: lower-case letters, digits and dashes are", i.Name)
	}
	if i.SHA256 != "" && !isSHA256.MatchString(i.SHA256) {
		return fmt.Errorf("%q is no SHA-256: 64 hexadecimal digits are", i.SHA256)
	}
	if i.Release != "" && !isRelease.MatchString(i.Release) {
		return fmt.Errorf("%q is no release of Alpine: edge and v3.22 are", i.Release)
	}
	return nil
}

// check looks at the ISO before anything is made.
func (i ISO) check(ctx context.Context) error {
	if err := i.Valid(); err != nil {
		return err
	}
	f, err := os.Open(i.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	// the first volume descriptor of ISO 9660, behind sixteen sectors of 2 KiB
	magic := make([]byte, 5)
	_, err = f.ReadAt(magic, 16*2048+1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(magic) != "CD001" {
		return errors.New("that is no ISO 9660 image\n  download alpine-virt-VERSION-x86_64.iso from https://alpinelinux.org/downloads, or name a disk image by path: in the lab's file")
	}
	if i.SHA256 == "" {
		return nil
	}
	got, err := sum(ctx, i.Path)
	if err != nil {
		return err
	}
	if want := strings.ToLower(i.SHA256); got.SHA256 != want {
		return fmt.Errorf("its SHA-256 is %s, --sha256 says %s\n  download it again, or see whether the digest is of another release", got.SHA256, want)
	}
	return nil
}

var (
	isName    = regexp.MustCompile(`^[a-z0-9-]+$`)
	isSHA256  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	isRelease = regexp.MustCompile(`^(edge|v[0-9]+\.[0-9]+)$`)
)

// install makes the new disk, on which the ISO has installed itself.
func (i ISO) install(ctx context.Context, iso, disk string, tell func(string)) error {
	grown := disk + ".grown"
	if err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", grown, fmt.Sprint(isoDisk)); err != nil {
		return err
	}
	mirror, err := openMirror(ctx, i.Mirror)
	if err != nil {
		return err
	}
	defer mirror.Close()
	ctx, stop := watchRoom(ctx, filepath.Dir(disk))
	defer stop()
	s := &isoSystem{mirror: mirror.URL, kept: mirror.Kept, release: i.Release, tell: tell}
	for _, b := range isoBoots {
		tell(b.what)
		from := ""
		if b.fromISO {
			from = iso
		}
		if err := b.run(ctx, from, grown, s); err != nil {
			return err
		}
	}
	tell("compressing the disk")
	return run(ctx, "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-c", "-o", "compression_type=zstd", grown, disk)
}

// roomLeast is what a build leaves of the host's disk: on a full one QEMU would stop the machine, and wait.
const roomLeast = 64 << 20

// watchRoom ends a context when the disk of the folder dir is full.
func watchRoom(ctx context.Context, dir string) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		for ctx.Err() == nil {
			var s unix.Statfs_t
			if err := unix.Statfs(dir, &s); err == nil && s.Bavail*uint64(s.Bsize) < roomLeast {
				end(fmt.Errorf("the host's disk at %s: %w\n  free some GiB there, or name another folder by --dir", filepath.Dir(dir), unix.ENOSPC))
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return ctx, func() { end(nil) }
}
