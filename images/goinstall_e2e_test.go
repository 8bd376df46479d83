//go:build e2e

package images

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
)

// goProxy is a module proxy in a folder, with example.org/hello v1.0.0: a command,
// and below it a package that is none.
func goProxy(t *testing.T) {
	t.Helper()
	const mod = "module example.org/hello\n\ngo 1.21\n"
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"go.mod":      mod,
		"main.go":     "package main\n\nfunc main() { println(\"hello\") }\n",
		"lib/lib.go":  "package lib\n",
		"bad/main.go": "package main\n\nfunc main() { nothing() }\n",
	} {
		w, err := z.Create("example.org/hello@v1.0.0/" + name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := layFiles(t, map[string]string{
		"example.org/hello/@v/list":        "v1.0.0\n",
		"example.org/hello/@v/v1.0.0.info": `{"Version":"v1.0.0"}`,
		"example.org/hello/@v/v1.0.0.mod":  mod,
		"example.org/hello/@v/v1.0.0.zip":  b.String(),
	})
	for name, value := range map[string]string{
		"GOPROXY": "file://" + dir, "GONOSUMDB": "*", "GOMODCACHE": filepath.Join(t.TempDir(), "mod"), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local",
	} {
		t.Setenv(name, value)
	}
	// the module cache is read-only, which a test's folder must not be
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+w", os.Getenv("GOMODCACHE")).Run() })
}

func TestGoInstall(t *testing.T) {
	goProxy(t)
	var built []string
	for range 2 {
		root, added, err := options(t, Recipe{Go: []string{"example.org/hello@v1.0.0"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		in := added["/usr/local/bin/hello"]
		if !strings.HasPrefix(in.From, "example.org/hello@v1.0.0 by go1.") || in.Bytes == 0 {
			t.Errorf("what was built is noted as %+v", added)
		}
		built = append(built, in.SHA256)
		program := filepath.Join(root.Name(), "usr/local/bin/hello")
		out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
		if err != nil || string(out) != "hello\n" {
			t.Errorf("it says %q, %v", out, err)
		}
		f, err := elf.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Error("it is not static")
		}
		_ = f.Close()
		left, err := os.ReadDir(filepath.Dir(root.Name()))
		if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == "tmp" }) {
			t.Errorf("left beside the tree: %v, %v", left, err)
		}
	}
	if built[0] != built[1] {
		t.Error("two builds differ")
	}
	for pkg, want := range map[string]string{
		"example.org/hello/lib@v1.0.0": "example.org/hello/lib@v1.0.0",
		"example.org/hello/bad@v1.0.0": "undefined: nothing",
		"example.org/hello@v1.0.1":     "v1.0.1",
	} {
		_, _, err := options(t, Recipe{Go: []string{pkg}}, nil)
		if err == nil || !strings.Contains(err.Error(), "go-install "+pkg) || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s: %v", pkg, err)
		}
	}
}

func TestGoInstallWithoutGo(t *testing.T) {
	before := goPlaces
	goPlaces = []string{filepath.Join(t.TempDir(), "go")}
	t.Cleanup(func() { goPlaces = before })
	_, _, err := options(t, Recipe{Go: []string{"example.org/hello@v1.0.0"}}, nil)
	if unfit := (host.Unfit{}); !errors.As(err, &unfit) || !strings.Contains(unfit.Fix, "binaries:") {
		t.Errorf("got %v", err)
	}
}
