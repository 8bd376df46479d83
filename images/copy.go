package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// copySum copies until r or ctx ends, and returns the sum of what it copied.
func copySum(ctx context.Context, w io.Writer, r io.Reader) (Sum, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), interruptible{ctx, r})
	return Sum{hex.EncodeToString(h.Sum(nil)), n}, err
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}
