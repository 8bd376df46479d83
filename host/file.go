package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// PartExt ends the name of a file that is not yet whole.
const PartExt = ".part"

// WriteFile writes a file beside its place and puts it there when it is whole on
// the disk: what is there is whole, whatever happens meanwhile.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	part := path + PartExt
	err := os.WriteFile(part, content, mode)
	if err == nil {
		err = PutInPlace(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
	}
	return err
}

// PutInPlace renames a file once it is on the disk, and waits until the name is
// as well. One that does not get to the disk is not renamed.
func PutInPlace(part, path string) error {
	if err := Sync(part); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return Sync(filepath.Dir(path))
}

// Sync waits until a file or a folder is on the disk.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
