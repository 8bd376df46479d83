package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, text := range []string{"first", "second, in its place"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if i, err := os.Stat(path); err != nil || i.Mode() != 0o600 {
		t.Errorf("%v, %v", i, err)
	}
	if _, err := os.Stat(path + PartExt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was written beside is left: %v", err)
	}
}

// What does not get to the disk does not take the place of what is there.
func TestWriteFileThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	// /dev/full takes a file's opening, and none of its bytes
	if err := os.Symlink("/dev/full", path+PartExt); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err == nil {
		t.Error("a full disk is no error")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Lstat(path + PartExt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was written beside is left: %v", err)
	}
}

// What could not be written is not put in place either.
func TestWriteFileWhereNothingCanBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Mkdir(path+PartExt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err == nil {
		t.Error("a folder was written to")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// What does not get to the disk is not put in place: /dev/full cannot be synced.
func TestPutInPlaceThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Symlink("/dev/full", path+PartExt); err != nil {
		t.Fatal(err)
	}
	if err := PutInPlace(path+PartExt, path); err == nil {
		t.Error("a failed sync is no error")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}
