package images

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Recipe says what goes into a base image.
type Recipe struct {
	Name     string   `yaml:"-"`
	System   string   `yaml:"system"`   // GuestDebian or GuestAlpine
	Release  string   `yaml:"release"`  // of the system: bookworm, v3.22
	Packages []string `yaml:"packages"` // beside those that the system cannot do without
	Exclude  []string `yaml:"exclude"`  // paths that are left out of packages, in dpkg's patterns
	Start    []string `yaml:"start"`    // units started at boot; no other is
	Folders  []string `yaml:"folders"`
	Files    []struct {
		Path string `yaml:"path"`
		Text string `yaml:"text"`
	} `yaml:"files"`
}

//go:embed recipes/*.yaml
var recipes embed.FS

// guest is what every base image gets beside its packages, by service manager, laid out as on its disk.
//
//go:embed all:guest
var guest embed.FS

// Recipes are the names of the built-in recipes.
func Recipes() []string {
	entries, err := recipes.ReadDir("recipes")
	if err != nil {
		panic(err) // embedded: cannot be
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// BuiltIn returns the built-in recipe of that name.
func BuiltIn(name string) (Recipe, error) {
	if !slices.Contains(Recipes(), name) {
		return Recipe{}, fmt.Errorf("no recipe %q: there are %s", name, strings.Join(Recipes(), ", "))
	}
	src, err := recipes.ReadFile(path.Join("recipes", name+".yaml"))
	if err != nil {
		return Recipe{}, err
	}
	return parseRecipe(name, src)
}

func parseRecipe(name string, src []byte) (Recipe, error) {
	r := Recipe{Name: name}
	d := yaml.NewDecoder(bytes.NewReader(src))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil {
		return Recipe{}, fmt.Errorf("recipe %s: %w", name, err)
	}
	return r, nil
}

// Digest identifies the base image made from the recipe: SHA-256, in
// hexadecimal, of everything of ours that goes into it.
func (r Recipe) Digest() string {
	digest := sha256.Sum256(r.inputs())
	return hex.EncodeToString(digest[:])
}

// inputs is everything of ours that goes into the base image; Format stands for the code.
func (r Recipe) inputs() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	_ = e.Encode(Format) // a buffer takes all
	_ = e.Encode(r)
	_ = e.Encode([]any{CommandLine, modules, initScript, unwanted, unwantedGenerators, started})
	err := fs.WalkDir(guest, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := guest.ReadFile(p)
		_ = e.Encode([]any{p, text})
		return err
	})
	if err != nil {
		panic(err) // embedded: cannot be
	}
	return b.Bytes()
}

// ID is the name of the recipe's folder in the cache.
func (r Recipe) ID() string { return r.Name + "-" + r.Digest()[:12] }
