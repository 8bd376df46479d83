package images

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Recipe says what goes into a base image.
type Recipe struct {
	Name     string       `yaml:"-"`
	System   string       `yaml:"system"`   // GuestDebian or GuestAlpine
	Release  string       `yaml:"release"`  // of the system: bookworm, v3.22
	Packages []string     `yaml:"packages"` // beside those that the system cannot do without
	Exclude  []string     `yaml:"exclude"`  // paths that are left out of packages, in dpkg's patterns
	Start    []string     `yaml:"start"`    // units started at boot; no other is
	Folders  []string     `yaml:"folders"`
	Files    []RecipeFile `yaml:"files"`
	Links    []RecipeLink `yaml:"links"`
	Binaries []Binary     `yaml:"binaries"`
	Go       []string     `yaml:"go-install"` // PACKAGE@VERSION, built on this host into goBin
	Trafic   string       `yaml:"trafic"`     // the folder of trafic's sources, or of its flows and scripts
	Run      []string     `yaml:"run"`        // shell commands, as root in the finished image, without a network
	Apk      `yaml:",inline" json:",omitzero"`

	file   string  // where it was read; "" for a built-in one
	dir    string  // that its relative paths start from
	inputs []input // what it takes from outside, by place
}

// RecipeFile is a file of a recipe's own. Without Text and From it is empty.
type RecipeFile struct {
	Path string `yaml:"path"` // in the image
	Text string `yaml:"text"`
	From string `yaml:"from"` // a file beside the recipe, in place of Text
	Mode string `yaml:"mode"` // octal; default 0644
}

// RecipeLink is a symbolic link.
type RecipeLink struct {
	Path   string `yaml:"path"`
	Target string `yaml:"target"`
}

// Binary is a program that is put into the image as it is.
type Binary struct {
	From   string `yaml:"from"`   // a file beside the recipe, or a URL by https
	SHA256 string `yaml:"sha256"` // hexadecimal; a URL needs it
	To     string `yaml:"to"`     // the program, or the folder that ends with /
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
	return parseRecipe(name, name+".yaml", src)
}

// Digest identifies the base image made from the recipe: SHA-256, in
// hexadecimal, of everything of ours that goes into it.
func (r Recipe) Digest() string {
	digest := sha256.Sum256(r.ingredients())
	return hex.EncodeToString(digest[:])
}

// ingredients is everything that goes into the base image beside the system's
// packages; Format stands for the code.
func (r Recipe) ingredients() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	_ = e.Encode(Format) // a buffer takes all
	_ = e.Encode(r)
	for _, in := range r.inputs {
		_ = e.Encode([]any{in.place, in.sum.SHA256, in.mode})
	}
	_ = e.Encode([]any{CommandLine, modules, initScript})
	if r.System == GuestAlpine {
		_ = e.Encode([]any{startedByOpenRC, r.trusted, r.locked})
	} else {
		_ = e.Encode([]any{unwanted, unwantedGenerators, started})
	}
	files, err := treeFiles(r.guestTrees()...)
	if err != nil {
		panic(err) // embedded: cannot be
	}
	_ = e.Encode(files)
	return b.Bytes()
}

// ID is the name of the recipe's folder in the cache.
func (r Recipe) ID() string { return r.Name + "-" + r.Digest()[:12] }

// argument is what labctl's commands call the recipe.
func (r Recipe) argument() string { return cmp.Or(r.file, r.Name) }

// keys are the recipe's keys as in its file, those that it has.
func (r Recipe) keys() (map[string]any, error) {
	text, err := yaml.Marshal(r)
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return nil, err
	}
	maps.DeleteFunc(keys, func(_ string, v any) bool {
		list, ok := v.([]any)
		return v == nil || v == "" || ok && len(list) == 0
	})
	return keys, nil
}
