package domains

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// File is a file of root's in a node: a regular one, or a symbolic link.
type File struct {
	Path string      // absolute
	Mode fs.FileMode // permissions of a regular file
	Data []byte
	Link string // where a symbolic link leads; "" for a regular file
}

// pack is a tar archive of the files; the same files give the same bytes.
func pack(files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: inRoot(f.Path), Typeflag: tar.TypeReg, Mode: int64(f.Mode.Perm()), Size: int64(len(f.Data))}
		if f.Link != "" {
			h = &tar.Header{Name: inRoot(f.Path), Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: f.Link}
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err := w.Close() // which ends the archive
	return b.Bytes(), err
}

// inRoot is an absolute path as seen from the root folder.
func inRoot(path string) string { return strings.TrimPrefix(path, "/") }

// compareFiles says which of the files are other in a guest's archive of them, of
// which nothing is shown: it holds keys.
func compareFiles(archive []byte, files []File) error {
	left := map[string]File{}
	for _, f := range files {
		left[inRoot(f.Path)] = f
	}
	var errs []error
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("what the guest's tar gives: %w", err))...)
		}
		f, asked := left[h.Name]
		if !asked {
			continue
		}
		if !sameFile(r, h, f) {
			continue // it stays among those that are left
		}
		delete(left, h.Name)
	}
	for _, f := range files {
		if _, other := left[inRoot(f.Path)]; other {
			errs = append(errs, fmt.Errorf("%s reads back other than written", f.Path))
		}
	}
	return errors.Join(errs...)
}

func sameFile(content io.Reader, h *tar.Header, f File) bool {
	if h.Uid != 0 || h.Gid != 0 {
		return false
	}
	if f.Link != "" {
		return h.Typeflag == tar.TypeSymlink && h.Linkname == f.Link
	}
	if h.Typeflag != tar.TypeReg || fs.FileMode(h.Mode).Perm() != f.Mode.Perm() || h.Size != int64(len(f.Data)) {
		return false
	}
	data, err := io.ReadAll(content)
	return err == nil && bytes.Equal(data, f.Data)
}
