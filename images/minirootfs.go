package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// Minirootfs is the smallest Alpine, an archive that Alpine publishes. Its apk
// installs a recipe's packages and its keys are trusted, so it is pinned.
type Minirootfs struct {
	From   string `yaml:"from"`   // a place, see Apk
	SHA256 string `yaml:"sha256"` // hexadecimal; one of the two
	SHA512 string `yaml:"sha512"`
}

// minirootfsMost is far above the size of Alpine's (bytes).
const minirootfsMost = 64 << 20

func (m Minirootfs) check() error {
	if m.From == "" || (m.SHA256 == "") == (m.SHA512 == "") {
		return errors.New("minirootfs needs from, and sha256 or sha512")
	}
	return nil
}

// verify compares the archive with its pin.
func (m Minirootfs) verify(at string, archive []byte) error {
	kind, want := "sha256", strings.ToLower(m.SHA256)
	got := fmt.Sprintf("%x", sha256.Sum256(archive))
	if m.SHA512 != "" {
		sum := sha512.Sum512(archive)
		kind, want, got = "sha512", strings.ToLower(m.SHA512), hex.EncodeToString(sum[:])
	}
	if got != want {
		return fmt.Errorf("the minirootfs %s is not the one that the recipe pins: its %s is %s, and %s was expected\n  it is damaged, or another release: pin that one only if you trust it", at, kind, got, want)
	}
	return nil
}

// unpackMinirootfs gets the recipe's minirootfs into the new folder dir.
func (r Recipe) unpackMinirootfs(ctx context.Context, dir, mirror string) error {
	at, err := r.place(r.Minirootfs.From, mirror)
	if err != nil {
		return err
	}
	archive, err := fetch(ctx, at)
	if err != nil {
		return fmt.Errorf("get the minirootfs: %w\n  a build needs an Alpine mirror: name one by --mirror, a URL or a local folder", err)
	}
	if err := r.Minirootfs.verify(at, archive); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	c, err := command(ctx, "tar", "--extract", "--gzip", "--numeric-owner", "--directory", dir)
	if err != nil {
		return err
	}
	c.Stdin = bytes.NewReader(archive)
	_, err = finish(ctx, c)
	return err
}

// fetch reads a small file by its URL or its path.
func fetch(ctx context.Context, at string) ([]byte, error) {
	if !isURL(at) {
		f, err := os.Open(at)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readMost(f, at)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", at, answer.Status)
	}
	return readMost(answer.Body, at)
}

func readMost(from io.Reader, at string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, minirootfsMost+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if len(text) > minirootfsMost {
		return nil, fmt.Errorf("%s has more than %d MiB", at, minirootfsMost>>20)
	}
	return text, nil
}
