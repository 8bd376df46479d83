package images

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// isoSector is the size of an ISO 9660 image's sectors (bytes).
const isoSector = 2048

// The places of what is written at the sectors' beginnings.
const (
	isoVolume = 16 * isoSector // the primary volume descriptor
	isoRoot   = 18 * isoSector // the root folder, behind the descriptors' end
)

// writeISO makes an image with the files in its root folder, by their names with
// Rock Ridge; the same files give the same bytes. scratch is a folder to be made,
// which is gone afterwards.
func writeISO(path, scratch, label string, files map[string][]byte) (err error) {
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(scratch, name), data, 0o600); err != nil {
			return err
		}
	}
	for _, name := range append(slices.Sorted(maps.Keys(files)), ".") {
		if err := os.Chtimes(filepath.Join(scratch, name), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	image, err := iso9660.Create(file.New(f, false), 0, 0, isoSector, scratch)
	if err != nil {
		return err
	}
	if err := image.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label}); err != nil { //nolint:misspell // its name
		return err
	}
	return timeless(f)
}

// timeless puts the beginning of 1970 for the times at which the image and its files came to be.
func timeless(f *os.File) error {
	volume, root := make([]byte, isoSector), make([]byte, isoSector)
	if _, err := f.ReadAt(volume, isoVolume); err != nil {
		return err
	}
	// ECMA-119 section 8.4: creation, modification, expiration, effective
	const times, size, count = 813, 17, 4
	for i := range count {
		copy(volume[times+i*size:], "1970010100000000\x00")
	}
	if _, err := f.WriteAt(volume, isoVolume); err != nil {
		return err
	}
	if _, err := f.ReadAt(root, isoRoot); err != nil {
		return err
	}
	// RRIP section 4.1.6: modification, which is ours, then access and attribute change
	mark := []byte{'T', 'F', 26, 1, 0b1110}
	const stamp = 7
	for at := 0; ; {
		i := bytes.Index(root[at:], mark)
		if i < 0 {
			break
		}
		at += i + len(mark)
		ours := root[at : at+stamp]
		copy(root[at+stamp:], ours)
		copy(root[at+2*stamp:], ours)
	}
	_, err := f.WriteAt(root, isoRoot)
	return err
}
