package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// input is something from outside which a recipe lays into the image.
type input struct {
	from  string // as the recipe has it
	place string // absolute, in the image
	path  string // on this host; "" where from is a URL
	mode  fs.FileMode
	sum   Sum // a URL's Bytes are not known beforehand
}

// What a recipe may take from outside: more is a mistake in a path.
var (
	largestInput int64 = 1 << 30 // bytes of a file, and of trafic's folder
	mostInputs         = 20_000  // files of trafic's
)

// traficDir is where trafic's own guide keeps its flows and scripts, in which ~/share's links end.
const traficDir = "/root/go/src/github.com/mami-project/trafic/docker/etc"

func checkBinaries(c *recipeChecker) {
	for i, b := range c.r.Binaries {
		if strings.HasSuffix(b.To, "/") {
			b.To = path.Join(b.To, path.Base(b.From))
		}
		fits := b.SHA256 == "" || sha256Hex.MatchString(b.SHA256)
		if !fits {
			c.doc.Add(fmt.Sprintf("sha256 of %s is %q", b.From, b.SHA256), "expected 64 hexadecimal digits, as sha256sum prints them", "binaries", i, "sha256")
		}
		if !c.take(b.To, "binaries", i, "to") || !fits {
			continue
		}
		place := path.Clean(b.To)
		if !strings.Contains(b.From, "://") {
			c.fromHost(b.From, place, 0o755, b.SHA256, "binaries", i, "from")
			continue
		}
		if u, err := url.Parse(b.From); err != nil || u.Scheme != "https" || u.Host == "" {
			c.doc.Add(fmt.Sprintf("from is %q", b.From), "expected a path or a URL by https", "binaries", i, "from")
			continue
		}
		if b.SHA256 == "" {
			c.doc.Add(b.From+" has no sha256", "what a URL gives may change: write the SHA-256 of what is expected", "binaries", i)
			continue
		}
		c.r.inputs = append(c.r.inputs, input{from: b.From, place: place, mode: 0o755, sum: Sum{SHA256: b.SHA256}})
	}
}

// checkTrafic takes the flows and scripts of trafic, and links them from ~/share.
func checkTrafic(c *recipeChecker) {
	if c.r.Trafic == "" {
		return
	}
	dir := c.onHost(c.r.Trafic)
	if etc := filepath.Join(dir, "docker/etc"); isFolder(filepath.Join(etc, "flows")) {
		dir = etc
	}
	for _, part := range []string{"flows", "scripts"} {
		if !isFolder(filepath.Join(dir, part)) {
			c.doc.Add(fmt.Sprintf("trafic is %s, which has no folder %s", c.r.Trafic, part),
				"expected a checkout of trafic's sources, or a folder that holds flows and scripts", "trafic")
			continue
		}
		if err := c.fromFolder(filepath.Join(dir, part), path.Join(traficDir, part)); err != nil {
			c.doc.Add("trafic: "+err.Error(), "expected files and folders, less than 1 GiB of them", "trafic")
		}
		c.take(path.Join("/root/share", part), "trafic")
	}
}

// fromFolder takes all the files of a folder of this host.
func (c *recipeChecker) fromFolder(dir, place string) error {
	var files int
	var bytes int64
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		inside, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		in := input{from: filepath.Join(c.r.Trafic, filepath.Base(dir), inside), place: path.Join(place, inside), path: p, mode: 0o644}
		if in.sum, err = inputSum(p); err != nil {
			return err
		}
		if i, err := d.Info(); err == nil && i.Mode()&0o111 != 0 {
			in.mode = 0o755
		}
		files++
		if bytes += in.sum.Bytes; bytes > largestInput || files > mostInputs {
			return fmt.Errorf("%s is too large", dir)
		}
		c.take(in.place, "trafic")
		c.r.inputs = append(c.r.inputs, in)
		return nil
	})
}

// fromHost takes a file of this host; wanted is its SHA-256, "" for any.
func (c *recipeChecker) fromHost(from, place string, mode fs.FileMode, wanted string, at ...any) {
	in := input{from: from, place: place, path: c.onHost(from), mode: mode}
	var err error
	if in.sum, err = inputSum(in.path); err != nil {
		c.doc.Add(err.Error(), "expected a file; paths are relative to the recipe's folder", at...)
		return
	}
	if wanted != "" && wanted != in.sum.SHA256 {
		c.doc.Add(fmt.Sprintf("%s has the SHA-256 %s", in.path, in.sum.SHA256), "expected "+wanted, at...)
		return
	}
	c.r.inputs = append(c.r.inputs, in)
}

// onHost is a path of the recipe as one of this host.
func (c *recipeChecker) onHost(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// inputSum is the sum of a regular file of fair size.
func inputSum(p string) (Sum, error) {
	i, err := os.Stat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Sum{}, fmt.Errorf("there is no %s", p)
	case err != nil:
		return Sum{}, err
	case !i.Mode().IsRegular():
		return Sum{}, fmt.Errorf("%s is no regular file", p)
	case i.Size() > largestInput:
		return Sum{}, fmt.Errorf("%s has %d MiB, more than the %d MiB that an image takes from a file", p, i.Size()>>20, largestInput>>20)
	}
	return sum(context.Background(), p)
}

func isFolder(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.IsDir()
}

// mode is the file's mode, which has been checked.
func (f RecipeFile) mode() fs.FileMode {
	if f.Mode == "" {
		return 0o644
	}
	mode, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil {
		return 0o644
	}
	return fs.FileMode(mode)
}
