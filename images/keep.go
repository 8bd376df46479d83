package images

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/mami-project/labctl/host"
	"golang.org/x/sys/unix"
)

// CopyDisk copies a node's disk that no machine writes to, readable for root only. Where
// the file system can, both share what neither changes.
func CopyDisk(ctx context.Context, from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = unix.IoctlFileClone(int(w.Fd()), int(r.Fd())); err != nil {
		_, err = io.Copy(w, host.Until(ctx, r))
	}
	return errors.Join(err, w.Close())
}
