package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// What ends the names of nodes' disks, and of those half made.
const (
	overlayExt = ".qcow2"
)

// Disk is a node's own disk: an overlay on a base image, with a file system that
// fills it and the node's own files in it.
type Disk struct {
	Node  string
	Path  string // in the lab's folder, NODE.qcow2
	Base  Base   // not needed to look or to remove
	Kept  string // a copy of the whole disk as it was once, which it begins as; "": it is made from Base
	Bytes int64
	Files func() ([]File, error) // asked at Create: keys are made just before
}

func (d Disk) String() string { return "disk/" + d.Node }

func (d Disk) part() string    { return d.Path + host.PartExt }
func (d Disk) scratch() string { return d.Path + ".files" }

// State is Present where the disk is there, which is only when it is whole, and
// Partial where an interrupted run left some of it.
func (d Disk) State(context.Context) (host.State, error) {
	_, err := os.Stat(d.Path)
	if err == nil {
		return host.Present, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return host.Absent, err
	}
	for _, p := range []string{d.part(), d.scratch()} {
		if _, err := os.Stat(p); err == nil {
			return host.Partial, nil
		}
	}
	return host.Absent, nil
}

// Create makes the disk beside its place, reads back what it wrote, and renames.
// An interrupted or failed Create leaves nothing.
func (d Disk) Create(ctx context.Context) error {
	if s, err := d.State(ctx); s == host.Present || err != nil {
		return err
	}
	if err := d.Fits(); err != nil {
		return err
	}
	if err := d.removeParts(); err != nil {
		return err
	}
	err := d.write(ctx)
	if err == nil {
		err = host.PutInPlace(d.part(), d.Path)
	}
	if err != nil {
		err = full(filepath.Dir(d.Path), err)
	}
	return errors.Join(err, d.removeParts())
}

// Fits refuses a size that the base cannot have.
func (d Disk) Fits() error {
	if d.Bytes < d.Base.DiskBytes {
		return fmt.Errorf("%d MiB are too few: the image %s needs %d MiB", d.Bytes>>20, d.Base.Recipe, d.Base.DiskBytes>>20)
	}
	return d.growable()
}

// Destroy removes the disk and what an interrupted run left of it.
func (d Disk) Destroy(context.Context) error {
	return errors.Join(d.removeParts(), remove(d.Path))
}

func (d Disk) removeParts() error {
	return errors.Join(remove(d.part()), remove(d.part()+".raw"), os.RemoveAll(d.scratch()))
}

// write makes the whole disk under its name for parts.
func (d Disk) write(ctx context.Context) error {
	if d.Kept != "" {
		return CopyDisk(ctx, d.Kept, d.part())
	}
	var files []File
	if d.Base.Configure == "" || d.Base.Configure == ConfigureDisk {
		var err error
		if files, err = d.Files(); err != nil {
			return err
		}
	}
	if err := os.Mkdir(d.scratch(), 0o700); err != nil {
		return err
	}
	// it will hold private keys: qemu-img leaves the mode of a file that is there,
	// and libvirt lends it to QEMU
	if err := os.WriteFile(d.part(), nil, 0o600); err != nil {
		return err
	}
	err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", d.Base.Disk(), d.part(), strconv.FormatInt(d.Bytes, 10))
	if err != nil {
		return err
	}
	root, err := d.grow(ctx)
	if err != nil || !d.writes() {
		return err
	}
	e, err := serve(ctx, d.part(), part{Start: root.Start, Bytes: root.Bytes, writable: true})
	if err != nil {
		return err
	}
	if err = run(ctx, "resize2fs", e.Path); err == nil && d.Base.Configure != ConfigureAgent {
		err = inject(ctx, e.Path, d.scratch(), files)
	}
	return errors.Join(err, e.Close())
}

// writes says that the root file system is written to: cloud-init does all by
// itself, and before the agent there is only room to be made.
func (d Disk) writes() bool {
	switch d.Base.Configure {
	case ConfigureSeed:
		return false
	case ConfigureAgent:
		return d.Bytes > d.Base.DiskBytes
	default:
		return true
	}
}

// full tells whether err is for want of room in dir, which programs tell in many ways or not at all.
func full(dir string, err error) error {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil || s.Bavail*uint64(s.Bsize) > 4<<20 {
		return err
	}
	return fmt.Errorf("%s: %w", dir, errors.Join(syscall.ENOSPC, err))
}
