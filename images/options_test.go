package images

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// options lays the recipe's options into a new tree, which has the files of tree.
func options(t *testing.T, r Recipe, tree map[string]string) (*os.Root, map[string]Input, error) {
	t.Helper()
	root, err := os.OpenRoot(layFiles(t, tree))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	added, err := addOptions(t.Context(), root, r, func(string) {})
	return root, added, err
}

func TestOptions(t *testing.T) {
	dir := layFiles(t, whole)
	if err := os.Chmod(filepath.Join(dir, "trafic/docker/etc/scripts/run.sh"), 0o750); err != nil {
		t.Fatal(err)
	}
	r := readRecipe(t, dir)
	web := served(t, "other")
	r.Run, r.Go, r.Binaries[1].From = nil, nil, web+"/other"
	for i, in := range r.inputs {
		if in.path == "" {
			r.inputs[i].from, r.inputs[i].sum.SHA256 = web+"/other", "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
		}
	}
	root, added, err := options(t, r, map[string]string{"etc/motd": "of a package"})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]struct {
		text string
		mode fs.FileMode
	}{
		"etc/motd":                         {"hello\n", 0o644},
		"srv/taken":                        {"taken", 0o600},
		"srv/link":                         {"taken", 0o600},
		"usr/local/bin/tool":               {"#!/bin/sh\n", 0o755},
		"usr/local/bin/other":              {"other", 0o755},
		traficDir[1:] + "/flows/75/a.yaml": {"label: a\n", 0o644},
		traficDir[1:] + "/scripts/run.sh":  {"#!/bin/sh\n", 0o755},
	} {
		text, err := root.ReadFile(p)
		if err != nil || string(text) != want.text {
			t.Errorf("%s holds %q, %v", p, text, err)
			continue
		}
		if i, err := root.Stat(p); err != nil || i.Mode() != want.mode {
			t.Errorf("%s has the mode %v, %v; want %v", p, i.Mode(), err, want.mode)
		}
	}
	for p, want := range map[string]string{"root/share/flows": traficDir + "/flows", "root/share/scripts": traficDir + "/scripts"} {
		if to, err := root.Readlink(p); err != nil || to != want {
			t.Errorf("%s leads to %s, %v", p, to, err)
		}
	}
	if i, err := root.Stat("srv/data"); err != nil || !i.IsDir() {
		t.Error("no folder /srv/data")
	}
	if in := added["/usr/local/bin/other"]; in.Bytes != 5 || in.From != web+"/other" {
		t.Errorf("what was fetched is noted as %+v", in)
	}
	if len(added) != 5 {
		t.Errorf("%d inputs are noted: %v", len(added), added)
	}
}

// served serves a text at every path but /gone and /away by https, to recipes too.
func served(t *testing.T, text string) string {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gone":
			http.NotFound(w, r)
		case "/away":
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		default:
			_, _ = w.Write([]byte(text))
		}
	}))
	before := web.Transport
	web.Transport = s.Client().Transport
	t.Cleanup(func() { web.Transport = before; s.Close() })
	return s.URL
}

func TestOptionsThatCannotBe(t *testing.T) {
	url := served(t, "other")
	fetched := func(path string) Recipe {
		return Recipe{inputs: []input{{from: url + path, place: "/bin/x", sum: Sum{SHA256: "00"}}}}
	}
	dir := layFiles(t, map[string]string{"changed": "new"})
	local := func(file string) Recipe {
		return Recipe{inputs: []input{{from: file, path: filepath.Join(dir, file), place: "/bin/x", sum: Sum{"00", 3}}}}
	}
	for name, c := range map[string]struct {
		recipe Recipe
		want   string
	}{
		"a file for a folder":   {Recipe{Files: []RecipeFile{{Path: "/etc"}}}, "/etc is a folder of the image"},
		"a way out of the tree": {Recipe{Files: []RecipeFile{{Path: "/away/x"}}}, "/away/x: "},
		"other content":         {fetched("/x"), "has the SHA-256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa, expected 00"},
		"nothing there":         {fetched("/gone"), "/gone: 404 Not Found"},
		"no longer by https":    {fetched("/away"), "it leads to http://example.org/"},
		"changed":               {local("changed"), "changed while the image was built\n  build it again"},
		"gone":                  {local("gone"), "gone went while the image was built"},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			root, err := os.OpenRoot(layFiles(t, map[string]string{"etc/motd": ""}))
			if err == nil {
				err = errors.Join(os.Symlink(outside, filepath.Join(root.Name(), "away")))
			}
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = addOptions(t.Context(), root, c.recipe, func(string) {})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside of the tree: %v, %v", left, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openInput(ctx, fetched("/x").inputs[0], func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
