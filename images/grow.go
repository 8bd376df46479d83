package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// root is the place of the root file system before it grows; the base has made sure
// that it is ext4 where that matters.
func (d Disk) root() Partition {
	if d.Base.Root != nil {
		return *d.Base.Root
	}
	return Partition{Bytes: d.Base.DiskBytes, FS: fsExt4, Last: true}
}

// growable refuses a disk larger than the base where the root file system cannot
// fill it. cloud-init is let do what it can.
func (d Disk) growable() error {
	if d.Bytes == d.Base.DiskBytes || d.Base.Configure == ConfigureSeed {
		return nil
	}
	var why string
	switch root := d.root(); {
	case root.FS != fsExt4:
		why = "is on " + root.FS
	case !root.Last:
		why = "has another partition behind it"
	default:
		return nil
	}
	return fmt.Errorf("a disk of %d MiB is asked for, and the root file system of the image %s cannot fill it: it %s\n"+
		"  say disk: %dMiB, the image's own size, or bring an image whose root is on the last partition, with ext4",
		d.Bytes>>20, d.Base.Recipe, why, d.Base.DiskBytes>>20)
}

// grow makes the root partition end where the disk does, and returns its place.
func (d Disk) grow(ctx context.Context) (Partition, error) {
	root := d.root()
	switch {
	case d.Bytes == d.Base.DiskBytes, !d.writes():
		return root, nil
	case root.Number == 0: // the whole disk
		root.Bytes = d.Bytes
		return root, nil
	}
	e, err := openExport(ctx, d.part(), d.Bytes)
	if err != nil {
		return root, err
	}
	root, err = growPartition(ctx, e.Path, d.Bytes, root)
	return root, errors.Join(err, e.Close())
}

// growPartition gives a disk's last partition all that is behind it, and a GPT's
// copy its place at the disk's new end.
func growPartition(ctx context.Context, disk string, size int64, root Partition) (Partition, error) {
	c, err := command(ctx, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", strconv.Itoa(root.Number), disk)
	if err != nil {
		return root, err
	}
	c.Stdin = strings.NewReader(", +\n")
	if _, err := finish(ctx, c); err != nil {
		return root, err
	}
	f, err := os.Open(disk)
	if err != nil {
		return root, err
	}
	defer f.Close()
	t, err := readTable(f, size)
	if err != nil {
		return root, err
	}
	i := slices.IndexFunc(t.Partitions, func(p tableEntry) bool { return p.Number == root.Number })
	if i < 0 || t.Partitions[i].Start != root.Start || t.Partitions[i].Bytes < root.Bytes {
		return root, fmt.Errorf("partition %d did not grow as it should: %+v", root.Number, t.Partitions)
	}
	root.Bytes = t.Partitions[i].Bytes
	return root, nil
}
