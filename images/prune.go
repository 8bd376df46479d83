package images

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mami-project/labctl/host"
)

// Prune removes the base images from the cache dir on which no lab's disk
// stands and whose recipe is not among keep or whose manifest cannot be read, and
// returns those; of the latter only Dir is known. Disks are looked for in labctl's
// folder, the one dir is in. tell is called when it must wait for a build or for
// disks that are being made.
func Prune(ctx context.Context, dir string, keep []Recipe, tell func(string)) ([]Base, error) {
	unlock, err := host.Lock(ctx, "images", "image prune", func(holder string) { tell("waiting for " + holder) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	release, err := holdAlone(ctx, dir, tell)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer release()
	return prune(dir, keep)
}

// prune is Prune under its locks.
func prune(dir string, keep []Recipe) ([]Base, error) {
	folders, err := folders(dir)
	if err != nil {
		return nil, err
	}
	used, err := usedBases(dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	var pruned []Base
	for _, folder := range folders {
		b, err := readBase(folder)
		unreadable := errors.As(err, new(Corrupt))
		if err != nil && !unreadable {
			errs = append(errs, err)
			continue
		}
		b.Dir = folder
		kept := !unreadable && slices.ContainsFunc(keep, func(r Recipe) bool { return r.ID() == b.ID() })
		if kept || used[b.Disk()] != "" {
			continue
		}
		if err := os.RemoveAll(b.Dir); err != nil {
			errs = append(errs, err)
			continue
		}
		pruned = append(pruned, b)
	}
	return pruned, errors.Join(errs...)
}

// unused returns an error where a lab's disk stands on the base in the folder base.
func unused(dir, base string) error {
	used, err := usedBases(dir)
	if err != nil {
		return err
	}
	if disk := used[filepath.Join(base, diskFile)]; disk != "" {
		lab := filepath.Base(filepath.Dir(disk))
		return fmt.Errorf("%s stands on the base image in %s\n  labctl down %s", disk, base, lab)
	}
	return nil
}

// usedBases returns the disks of bases that labs' disks stand on, each with one of those.
func usedBases(dir string) (map[string]string, error) {
	labs := filepath.Join(filepath.Dir(dir), "labs")
	used := make(map[string]string)
	for _, pattern := range []string{"*" + overlayExt, "*" + overlayExt + host.PartExt} {
		overlays, err := filepath.Glob(filepath.Join(labs, "*", pattern))
		if err != nil {
			return nil, err
		}
		for _, o := range overlays {
			backing, err := backingFile(o)
			if err != nil {
				return nil, err
			}
			used[backing] = o
		}
	}
	return used, nil
}

// BaseOf is the base image that a node's disk stands on.
func BaseOf(disk string) (Base, error) {
	backing, err := backingFile(disk)
	if err != nil {
		return Base{}, err
	}
	return readBase(filepath.Dir(backing))
}

// backingFile reads in a QCOW2 image's header the path of the file it stands on.
func backingFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var header struct {
		Magic, Version uint32
		Offset         uint64 // of the path
		Length         uint32
	}
	if err := binary.Read(f, binary.BigEndian, &header); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	const magic, longest = 'Q'<<24 | 'F'<<16 | 'I'<<8 | 0xfb, 1023 // QEMU's own limit
	if header.Magic != magic || header.Length == 0 || header.Length > longest {
		return "", fmt.Errorf("%s is no QCOW2 image on a base", path)
	}
	name := make([]byte, header.Length)
	_, err = f.ReadAt(name, int64(header.Offset))
	return string(name), err
}
