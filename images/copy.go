package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"github.com/mami-project/labctl/host"
)

// copySum copies until r or ctx ends, and returns the sum of what it copied.
func copySum(ctx context.Context, w io.Writer, r io.Reader) (Sum, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), host.Until(ctx, r))
	return Sum{hex.EncodeToString(h.Sum(nil)), n}, err
}
