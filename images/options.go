package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"time"
)

// addOptions lays into the tree what the recipe has beside packages, runs its
// commands there, and returns what came from outside.
func addOptions(ctx context.Context, root *os.Root, r Recipe, tell func(string)) (map[string]Input, error) {
	for _, dir := range r.Folders {
		if err := root.MkdirAll(relative(dir), 0o755); err != nil {
			return nil, fmt.Errorf("folder %s: %w", dir, err)
		}
	}
	for _, f := range r.Files {
		if f.From != "" {
			continue // one of the inputs
		}
		if err := put(root, f.Path, func(p string) error { return writeFile(root, p, []byte(f.Text), f.mode()) }); err != nil {
			return nil, err
		}
	}
	added, err := addInputs(ctx, root, r, tell)
	if err != nil {
		return nil, err
	}
	for _, l := range r.links() {
		if err := put(root, l.Path, func(p string) error { return symlink(root, l.Target, p) }); err != nil {
			return nil, err
		}
	}
	if err := goInstall(ctx, root, r, added, tell); err != nil {
		return nil, err
	}
	for i, c := range r.Run {
		tell(fmt.Sprintf("running command %d of %d in the image", i+1, len(r.Run)))
		if err := runInside(ctx, root.Name(), c); err != nil {
			return nil, fmt.Errorf("command %d of run, %q: %w", i+1, c, err)
		}
	}
	return added, nil
}

// links are the recipe's, and those that trafic's scripts look for.
func (r Recipe) links() []RecipeLink {
	if r.Trafic == "" {
		return r.Links
	}
	links := r.Links[:len(r.Links):len(r.Links)]
	for _, part := range []string{"flows", "scripts"} {
		links = append(links, RecipeLink{path.Join("/root/share", part), path.Join(traficDir, part)})
	}
	return links
}

// put writes something at an absolute path of the image, in place of all but a folder.
func put(root *os.Root, place string, write func(p string) error) error {
	p := relative(place)
	if i, err := root.Lstat(p); err == nil && i.IsDir() {
		return fmt.Errorf("%s is a folder of the image: a recipe cannot replace it", place)
	}
	if err := write(p); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	return nil
}

// addInputs lays the recipe's inputs into the tree, each only if it is still what it was.
func addInputs(ctx context.Context, root *os.Root, r Recipe, tell func(string)) (map[string]Input, error) {
	added := make(map[string]Input)
	for _, in := range r.inputs {
		var got Sum
		err := put(root, in.place, func(p string) (err error) {
			got, err = copyInput(ctx, root, p, in, tell)
			return err
		})
		if err != nil {
			return nil, err
		}
		added[in.place] = Input{in.from, got}
	}
	return added, nil
}

// copyInput lays one input into the tree, at p.
func copyInput(ctx context.Context, root *os.Root, p string, in input, tell func(string)) (Sum, error) {
	from, err := openInput(ctx, in, tell)
	if err != nil {
		return Sum{}, err
	}
	defer from.Close()
	if err := writeFile(root, p, nil, in.mode); err != nil {
		return Sum{}, err
	}
	to, err := root.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return Sum{}, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, h), io.LimitReader(from, largestInput+1))
	if err = errors.Join(err, to.Close()); err != nil {
		return Sum{}, err
	}
	if n > largestInput {
		return Sum{}, fmt.Errorf("%s has more than the %d MiB that an image takes from a file", in.from, largestInput>>20)
	}
	got := Sum{hex.EncodeToString(h.Sum(nil)), n}
	switch {
	case got.SHA256 == in.sum.SHA256:
		return got, nil
	case in.path == "":
		return Sum{}, fmt.Errorf("%s has the SHA-256 %s, expected %s\n  write that one in the recipe if it is what you want", in.from, got.SHA256, in.sum.SHA256)
	default:
		return Sum{}, fmt.Errorf("%s changed while the image was built\n  build it again", in.path)
	}
}

// web fetches what recipes name by URL.
var web = &http.Client{
	Timeout: time.Hour,
	CheckRedirect: func(to *http.Request, via []*http.Request) error {
		if to.URL.Scheme != "https" || len(via) > 10 {
			return fmt.Errorf("it leads to %s", to.URL)
		}
		return nil
	},
}

func openInput(ctx context.Context, in input, tell func(string)) (io.ReadCloser, error) {
	if in.path != "" {
		f, err := os.Open(in.path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s went while the image was built", in.path)
		}
		return f, err
	}
	tell("fetching " + in.from)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.from, nil)
	if err != nil {
		return nil, err
	}
	answer, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", in.from, answer.Status), answer.Body.Close())
	}
	return answer.Body, nil
}
