package images

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func builtIn(t testing.TB, name string) Recipe {
	t.Helper()
	r, err := BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBuiltInRecipes(t *testing.T) {
	if diff := cmp.Diff([]string{"debian", "debian-slim"}, Recipes()); diff != "" {
		t.Error(diff)
	}
	full, slim := builtIn(t, "debian"), builtIn(t, "debian-slim")
	var more []string
	for _, p := range full.Packages {
		if !slices.Contains(slim.Packages, p) {
			more = append(more, p)
		}
	}
	if diff := cmp.Diff([]string{"git", "golang-go", "libc6-dev", "make"}, more); diff != "" {
		t.Error("what debian has beside debian-slim:", diff)
	}
	for _, p := range slim.Packages {
		if !slices.Contains(full.Packages, p) {
			t.Errorf("debian lacks %s of debian-slim", p)
		}
	}
}

func TestUnknownRecipe(t *testing.T) {
	_, err := BuiltIn("debiam")
	if err == nil || !strings.Contains(err.Error(), "debian, debian-slim") {
		t.Errorf("got %v, want an error naming the recipes", err)
	}
}

func TestRecipeWithUnknownKey(t *testing.T) {
	_, err := parseRecipe("x", []byte("suite: bookworm\npakages: [bash]\n"))
	if err == nil || !strings.Contains(err.Error(), "pakages") {
		t.Errorf("got %v, want an error naming the key", err)
	}
}

func TestDigestTellsRecipesApart(t *testing.T) {
	r := builtIn(t, "debian-slim")
	if r.Digest() != builtIn(t, "debian-slim").Digest() {
		t.Error("the same recipe has two digests")
	}
	if !regexp.MustCompile(`^debian-slim-[0-9a-f]{12}$`).MatchString(r.ID()) {
		t.Errorf("ID is %s", r.ID())
	}
	for name, change := range map[string]func(*Recipe){
		"name":     func(r *Recipe) { r.Name = "other" },
		"suite":    func(r *Recipe) { r.Suite = "trixie" },
		"packages": func(r *Recipe) { r.Packages = r.Packages[1:] },
		"exclude":  func(r *Recipe) { r.Exclude = nil },
		"start":    func(r *Recipe) { r.Start = nil },
		"folders":  func(r *Recipe) { r.Folders = []string{"/srv"} },
		"files":    func(r *Recipe) { r.Files = builtIn(t, "debian").Files },
	} {
		other := builtIn(t, "debian-slim")
		change(&other)
		if other.Digest() == r.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestDigestCoversWhatEveryImageGets(t *testing.T) {
	r := builtIn(t, "debian-slim")
	was := r.Digest()
	lists := map[string]*[]string{
		"modules": &modules, "unwanted": &unwanted, "unwantedGenerators": &unwantedGenerators, "started": &started,
	}
	for name, list := range lists {
		whole := *list
		*list = whole[1:]
		if r.Digest() == was {
			t.Errorf("with less in %s the digest is the same", name)
		}
		*list = whole
	}
	script, files := initScript, guest
	t.Cleanup(func() { initScript, guest = script, files })
	if initScript = ""; r.Digest() == was {
		t.Error("without /init the digest is the same")
	}
	initScript = script
	if guest = (embed.FS{}); r.Digest() == was {
		t.Error("without the guest's files the digest is the same")
	}
	if want := fmt.Sprintf("%d\n", Format); !strings.HasPrefix(string(r.inputs()), want) {
		t.Error("Format is no part of the digest")
	}
	if !strings.Contains(string(r.inputs()), CommandLine) {
		t.Error("CommandLine is no part of the digest")
	}
}
