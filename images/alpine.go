package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Apk is what a recipe of Alpine may say beside the rest. A place is a URL, a
// path (absolute, or from ./ or ../ at the recipe's folder), or else a path under
// the mirror.
type Apk struct {
	Repositories []string          `yaml:"repositories" json:",omitempty"`       // places; none: RELEASE/main and RELEASE/community
	Extra        []ExtraRepository `yaml:"extra-repositories" json:",omitempty"` // for packages that the others do not have
	Keys         []string          `yaml:"keys" json:"-"`                        // files of public keys, trusted beside Alpine's own
	Minirootfs   Minirootfs        `yaml:"minirootfs,omitempty"`
	Lock         string            `yaml:"lock" json:"-"` // a file of NAME=VERSION lines: exactly what is installed

	trusted map[string][]byte // the keys by their files' names
	locked  map[string]string // versions by name; nil where there is no lock
}

// ExtraRepository is a place of packages that are only taken where the recipe
// says so, by NAME@TAG.
type ExtraRepository struct {
	From string `yaml:"from"`
	Tag  string `yaml:"tag"`
	Key  string `yaml:"key" json:"-"` // the file of its public key; "" where its key is among the others
}

// alpineMirror is where Alpine's packages come from where no other mirror is named.
const alpineMirror = "https://dl-cdn.alpinelinux.org/alpine"

// tagName is what apk takes as a repository's tag.
var tagName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// apkPackage is what a recipe may ask apk for.
var apkPackage = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9+._:-]*(@[A-Za-z0-9._-]+)?([<>~=]+[A-Za-z0-9._-]+)?$`)

// checkAlpine looks at what the recipe says of Alpine and reads the files that it names.
func checkAlpine(c *recipeChecker) {
	r := c.r
	r.dir = c.dir
	if r.System != GuestAlpine {
		for key, there := range map[string]bool{
			"repositories": r.Repositories != nil, "extra-repositories": r.Extra != nil, "keys": r.Keys != nil,
			"lock": r.Lock != "", "minirootfs": r.Minirootfs != (Minirootfs{}),
		} {
			if there {
				c.doc.Add(key+" is for system: "+GuestAlpine, "remove it", key)
			}
		}
		return
	}
	if len(r.Exclude) > 0 {
		c.doc.Add("exclude is for system: "+GuestDebian, "remove it: Alpine's packages hold no documentation to leave out", "exclude")
	}
	if err := r.Minirootfs.check(); err != nil {
		c.doc.Add(err.Error(), "write minirootfs: {from: PLACE, sha512: …}: its apk and its keys decide what is trusted", "minirootfs")
	}
	for i, p := range r.Packages {
		if !apkPackage.MatchString(p) {
			c.doc.Add(fmt.Sprintf("value %d of packages is %q", i+1, p), "expected NAME, NAME@TAG or NAME=VERSION", "packages", i)
		}
	}
	c.readKeys()
	if r.Lock == "" {
		return
	}
	text, err := os.ReadFile(r.path(r.Lock))
	if err == nil {
		r.locked, err = parseLock(r.Lock, string(text))
	}
	if err != nil {
		c.doc.Add("lock: "+err.Error(), "expected a file as labctl image lock prints it", "lock")
	}
}

// readKeys reads the public keys that the recipe trusts.
func (c *recipeChecker) readKeys() {
	r := c.r
	r.trusted = make(map[string][]byte)
	read := func(file string, at ...any) {
		text, err := os.ReadFile(r.path(file))
		if err != nil {
			c.doc.Add("a key: "+err.Error(), "expected the file of a public key; paths are relative to the recipe's folder", at...)
			return
		}
		r.trusted[filepath.Base(file)] = text // a signature names the key's file
	}
	for i, k := range r.Keys {
		read(k, "keys", i)
	}
	for i, e := range r.Extra {
		if e.From == "" || !tagName.MatchString(e.Tag) {
			c.doc.Add(fmt.Sprintf("an extra repository has from %q and tag %q", e.From, e.Tag), "it needs both; a tag is letters, digits, dots and dashes", "extra-repositories", i)
		}
		if e.Key != "" {
			read(e.Key, "extra-repositories", i, "key")
		}
	}
}

// path is a path in the recipe, seen from its folder.
func (r Recipe) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.dir, p)
}

// place is where one of the recipe's places is, on a mirror or not: a URL or an absolute path.
func (r Recipe) place(p, mirror string) (string, error) {
	switch {
	case isURL(p) || filepath.IsAbs(p):
		return p, nil
	case strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../"):
		return filepath.Abs(r.path(p))
	}
	if mirror == "" {
		mirror = alpineMirror
	}
	if !isURL(mirror) {
		dir, err := filepath.Abs(mirror)
		return filepath.Join(dir, p), err
	}
	return strings.TrimSuffix(mirror, "/") + "/" + p, nil
}

func isURL(p string) bool { return strings.Contains(p, "://") }

// repository is a place of packages as this build has it.
type repository struct{ at, tag string }

// repositories are those that the recipe's packages come from.
func (r Recipe) repositories(mirror string) ([]repository, error) {
	from := r.Repositories
	if from == nil {
		from = []string{r.Release + "/main", r.Release + "/community"}
	}
	var all []repository
	for _, p := range from {
		all = append(all, repository{at: p})
	}
	for _, e := range r.Extra {
		all = append(all, repository{e.From, e.Tag})
	}
	for i := range all {
		var err error
		if all[i].at, err = r.place(all[i].at, mirror); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// installAlpine has a minirootfs's own apk install the recipe's packages in the
// new folder tree, and returns the versions of all that it installed.
func installAlpine(ctx context.Context, tree string, r Recipe, o Options) error {
	repositories, err := r.repositories(o.Mirror)
	if err != nil {
		return err
	}
	mini := filepath.Join(filepath.Dir(tree), "minirootfs")
	if err := r.unpackMinirootfs(ctx, mini, o.Mirror); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(tree, 0o755), os.Chmod(tree, 0o755)); err != nil {
		return err
	}
	a := apk{root: mini, tree: tree, keys: r.trusted, repositories: repositories}
	if err := a.add(ctx, r); err != nil {
		return err
	}
	return os.RemoveAll(mini)
}
