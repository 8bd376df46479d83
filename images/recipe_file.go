package images

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// IsRecipeFile says whether an argument that may be a built-in recipe's name or a file is a file.
func IsRecipeFile(argument string) bool {
	return strings.Contains(argument, "/") || strings.HasSuffix(argument, ".yaml")
}

// ReadRecipe reads a recipe file, which gives the recipe its name, and what it
// takes from other files of this host. The error is a topology.Problems with every
// mistake in it.
func ReadRecipe(file string) (Recipe, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return Recipe{}, err
	}
	r, err := parseRecipe(strings.TrimSuffix(filepath.Base(file), ".yaml"), file, src)
	r.file = file
	return r, err
}

// parseRecipe reads a recipe's text; file is its path, for messages and for the
// files that it names.
func parseRecipe(name, file string, src []byte) (Recipe, error) {
	r := Recipe{Name: name}
	doc := topology.ReadDocument(file, src, "recipe", "labctl's own recipes are good to start from: images/recipes/debian-slim.yaml", &r)
	if doc.Err() != nil {
		return Recipe{}, doc.Err() // what could not be read would be told again as missing
	}
	c := recipeChecker{r: &r, doc: doc, dir: filepath.Dir(file), places: make(map[string]string)}
	for _, check := range recipeChecks {
		check(&c)
	}
	slices.SortFunc(r.inputs, func(a, b input) int { return strings.Compare(a.place, b.place) })
	return r, doc.Err()
}

// recipeChecker looks for mistakes in a recipe, and for what it takes from outside.
type recipeChecker struct {
	r      *Recipe
	doc    *topology.Document
	dir    string            // of the recipe's file
	places map[string]string // what lies where in the image, by the recipe's words
}

var recipeChecks = []func(*recipeChecker){
	checkRecipeName, checkSystem, checkWords, checkFolders, checkFiles, checkLinks, checkBinaries, checkGo, checkTrafic, checkAlpine,
}

var (
	recipeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
	// None of these can be taken for an option, or for two.
	release     = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+:=~<>@/-]*$`)
	unitName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:@\\-]*$`)
	octal       = regexp.MustCompile(`^0?[0-7]{3}$`)
	sha256Hex   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	goPackage   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*@v[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]*$`)
)

func checkRecipeName(c *recipeChecker) {
	if !recipeName.MatchString(c.r.Name) {
		c.doc.Add(fmt.Sprintf("the recipe's name is %q", c.r.Name), "it is the file's own, without .yaml: expected lower-case letters, digits and dashes")
	}
}

func checkSystem(c *recipeChecker) {
	systems := []string{GuestDebian, GuestAlpine}
	if !slices.Contains(systems, c.r.System) {
		c.doc.Add(fmt.Sprintf("system is %q", c.r.System), "expected "+strings.Join(systems, " or "), "system")
	}
	if !release.MatchString(c.r.Release) {
		c.doc.Add(fmt.Sprintf("release is %q", c.r.Release), "expected one of the system's, such as bookworm of debian", "release")
	}
}

// checkWords looks at the lists of single words.
func checkWords(c *recipeChecker) {
	for _, list := range []struct {
		key      string
		words    []string
		fits     func(string) bool
		expected string
	}{
		{"packages", c.r.Packages, packageName.MatchString, "a package's name"},
		{"exclude", c.r.Exclude, path.IsAbs, "an absolute path, in which * stands for anything"},
		{"start", c.r.Start, unitName.MatchString, "the name of a service"},
		{"run", c.r.Run, func(s string) bool { return strings.TrimSpace(s) != "" }, "a shell command"},
	} {
		for i, w := range list.words {
			if !list.fits(w) {
				c.doc.Add(fmt.Sprintf("value %d of %s is %q", i+1, list.key, w), "expected "+list.expected, list.key, i)
			}
		}
	}
}

func checkFolders(c *recipeChecker) {
	for i, dir := range c.r.Folders {
		c.isPlace(dir, "folders", i)
	}
}

func checkFiles(c *recipeChecker) {
	for i, f := range c.r.Files {
		if f.Mode != "" && !octal.MatchString(f.Mode) {
			c.doc.Add(fmt.Sprintf("mode of file %s is %q", f.Path, f.Mode), "expected three octal digits, such as 0755", "files", i, "mode")
		}
		if !c.take(f.Path, "files", i, "path") || f.From == "" {
			continue
		}
		if f.Text != "" {
			c.doc.Add(fmt.Sprintf("file %s has both text and from", f.Path), "keep one of them", "files", i)
			continue
		}
		c.fromHost(f.From, path.Clean(f.Path), f.mode(), "", "files", i, "from")
	}
}

func checkLinks(c *recipeChecker) {
	for i, l := range c.r.Links {
		c.take(l.Path, "links", i, "path")
		if l.Target == "" {
			c.doc.Add(fmt.Sprintf("link %s has no target", l.Path), "expected the path that it leads to", "links", i)
		}
	}
}

func checkGo(c *recipeChecker) {
	for i, p := range c.r.Go {
		if !goPackage.MatchString(p) {
			c.doc.Add(fmt.Sprintf("value %d of go-install is %q", i+1, p),
				"expected PACKAGE@VERSION with the version in full, such as example.org/tool/cmd/tool@v1.2.3: others (latest, a branch) are not repeatable", "go-install", i)
		}
	}
}

// isPlace looks whether p, which stands at the path at, is a path in the image.
func (c *recipeChecker) isPlace(p string, at ...any) bool {
	if path.IsAbs(p) && path.Clean(p) != "/" && !strings.ContainsAny(p, "\x00\n") {
		return true
	}
	c.doc.Add(fmt.Sprintf("%q is no place in the image", p), "expected an absolute path, such as /usr/local/bin/tool", at...)
	return false
}

// take is isPlace for what nothing else of the recipe may lie at.
func (c *recipeChecker) take(p string, at ...any) bool {
	if !c.isPlace(p, at...) {
		return false
	}
	p = path.Clean(p)
	if by := c.places[p]; by != "" {
		c.doc.Add(fmt.Sprintf("%s is there twice: from %s and from %s", p, by, at[0]), "keep one of them", at...)
		return false
	}
	c.places[p] = fmt.Sprint(at[0])
	return true
}
