package images

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

// layFiles writes files below a new folder, by path.
func layFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for p, text := range files {
		p = filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// whole is a recipe with every option, and what it takes from outside.
var whole = map[string]string{
	"mine.yaml": `system: debian
release: bookworm
packages: [linux-image-amd64, busybox-static]
folders: [/srv/data]
files:
  - {path: /etc/motd, text: "hello\n"}
  - {path: /srv/taken, from: taken.txt, mode: 0600}
links:
  - {path: /srv/link, target: taken}
binaries:
  - {from: bin/tool, to: /usr/local/bin/}
  - {from: "https://example.org/other", sha256: 0000000000000000000000000000000000000000000000000000000000000000, to: /usr/local/bin/other}
go-install: [example.org/hello@v1.0.0]
trafic: trafic
run: ["true"]
start: []
`,
	"taken.txt":                            "taken",
	"bin/tool":                             "#!/bin/sh\n",
	"trafic/docker/etc/flows/75/a.yaml":    "label: a\n",
	"trafic/docker/etc/scripts/run.sh":     "#!/bin/sh\n",
	"trafic/docker/etc/nothing/of/use.txt": "?",
}

func readRecipe(t testing.TB, dir string) Recipe {
	t.Helper()
	r, err := ReadRecipe(filepath.Join(dir, "mine.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReadRecipe(t *testing.T) {
	dir := layFiles(t, whole)
	r := readRecipe(t, dir)
	if r.Name != "mine" || r.argument() != filepath.Join(dir, "mine.yaml") {
		t.Errorf("the recipe is %s, from %s", r.Name, r.argument())
	}
	var places []string
	for _, in := range r.inputs {
		places = append(places, in.place+" < "+in.from)
	}
	want := []string{
		"/root/go/src/github.com/mami-project/trafic/docker/etc/flows/75/a.yaml < trafic/flows/75/a.yaml",
		"/root/go/src/github.com/mami-project/trafic/docker/etc/scripts/run.sh < trafic/scripts/run.sh",
		"/srv/taken < taken.txt",
		"/usr/local/bin/other < https://example.org/other",
		"/usr/local/bin/tool < bin/tool",
	}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Error(diff)
	}
	keys, err := r.keys()
	if err != nil || keys["trafic"] != "trafic" || keys["go-install"] == nil || keys["start"] != nil {
		t.Errorf("the recipe's keys are %v, %v", keys, err)
	}
	var read map[string]any // out of a manifest
	text, err := json.Marshal(keys)
	if err = errors.Join(err, json.Unmarshal(text, &read)); err != nil || cmp.Diff(keys, read) != "" {
		t.Errorf("the recipe's keys read back as %v, %v", read, err)
	}
}

// A copy of a recipe elsewhere is the same; with other content it is another.
func TestDigestCoversWhatComesFromOutside(t *testing.T) {
	was := readRecipe(t, layFiles(t, whole)).Digest()
	if got := readRecipe(t, layFiles(t, whole)).Digest(); got != was {
		t.Error("in another folder the digest is another")
	}
	for p := range whole {
		if strings.Contains(p, "nothing") || p == "mine.yaml" {
			continue
		}
		dir := layFiles(t, whole)
		if err := os.WriteFile(filepath.Join(dir, p), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if readRecipe(t, dir).Digest() == was {
			t.Errorf("with another %s the digest is the same", p)
		}
	}
	for from, to := range map[string]string{
		"hello": "goodbye", "v1.0.0": "v1.0.1", "/srv/data": "/srv/more", "target: taken": "target: other", `"true"`: `"false"`,
		"0600": "0644", "sha256: 0": "sha256: 1", "busybox": "bash",
	} {
		dir := layFiles(t, whole)
		text := strings.Replace(whole["mine.yaml"], from, to, 1)
		if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if readRecipe(t, dir).Digest() == was {
			t.Errorf("with %s in place of %s the digest is the same", to, from)
		}
	}
}

// Every mistake is told at its line, all in one run, with what was expected.
func TestMistakesInRecipes(t *testing.T) {
	dir := layFiles(t, map[string]string{"a": "a", "half/flows/x": "x", "Bad Name.yaml": "system: debian\nrelease: bookworm\n", "big": "123456789", "mine.yaml": `system: windows
release: -x
packages: [bash, "--option"]
exclude: [usr/share]
start: ["ssh service"]
folders: [relative]
files:
  - {path: /a, text: x, from: a}
  - {path: /b, from: none}
  - {path: /b, mode: 0999}
  - {path: /c, from: big}
links: [{path: /d}]
binaries:
  - {from: "http://example.org/x", to: /x, sha256: 00}
  - {from: "http://example.org/y", to: /y}
  - {from: "https://example.org/z", to: /z}
  - {from: a, to: /w, sha256: 0000000000000000000000000000000000000000000000000000000000000000}
go-install: [example.org/a@latest, example.org/a@main, example.org/a, "-x@v1.0.0"]
trafic: half
run: [" "]
`})
	largest := largestInput
	largestInput = 5
	t.Cleanup(func() { largestInput = largest })
	_, err := ReadRecipe(filepath.Join(dir, "mine.yaml"))
	var problems topology.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	got := strings.ReplaceAll(err.Error(), dir+"/", "")
	for _, want := range []string{
		"mine.yaml:1: system is \"windows\"\n  expected debian or alpine",
		"mine.yaml:2: release is",
		"mine.yaml:3: value 2 of packages is \"--option\"\n  expected a package's name",
		"mine.yaml:4: value 1 of exclude",
		"mine.yaml:5: value 1 of start",
		"mine.yaml:6: \"relative\" is no place in the image",
		"mine.yaml:8: file /a has both text and from",
		"mine.yaml:9: there is no none",
		"mine.yaml:10: /b is there twice: from files and from files",
		"mine.yaml:10: mode of file /b is \"0999\"",
		"mine.yaml:11: big has 0 MiB, more than",
		"mine.yaml:12: link /d has no target",
		"mine.yaml:14: sha256 of http://example.org/x is \"00\"",
		"mine.yaml:15: from is \"http://example.org/y\"\n  expected a path or a URL by https",
		"mine.yaml:16: https://example.org/z has no sha256",
		"mine.yaml:17: a has the SHA-256 ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n  expected 0000",
		"mine.yaml:18: value 1 of go-install is \"example.org/a@latest\"\n  expected PACKAGE@VERSION",
		"mine.yaml:18: value 2 of go-install", "mine.yaml:18: value 3 of go-install", "mine.yaml:18: value 4 of go-install",
		"mine.yaml:19: trafic is half, which has no folder scripts",
		"mine.yaml:20: value 1 of run",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	for file, want := range map[string]string{"Bad Name.yaml": ":1: the recipe's name is \"Bad Name\"", "none.yaml": "no such file"} {
		if _, err := ReadRecipe(filepath.Join(dir, file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s: %v, want %s", file, err, want)
		}
	}
}

func TestRecipeWithUnknownKey(t *testing.T) {
	_, err := parseRecipe("x", "x.yaml", []byte("system: debian\npakages: [bash]\nrun: {}\n"))
	for _, want := range []string{"x.yaml:2: unknown key pakages\n  did you mean packages?", "x.yaml:3: run is a map\n  expected a list"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
