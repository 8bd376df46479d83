package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mami-project/labctl/"

// layout says which of the module's packages each of them may import. It is the
// one place that decides: a package without a row fails the test.
var layout = map[string][]string{
	"topology":       {},
	"host":           {},
	"host/hosttest":  {"host"},
	"networks":       {"host", "topology", "networks/shape"},
	"networks/shape": {"topology"},
	"networks/probe": {"topology"},
	"images":         {"host", "topology"},
	"domains":        {"host", "topology"},
	"flows":          {"topology"},
	"flows/report":   {"flows", "lab/graph", "topology"},
	"lab":            {"host", "topology", "networks", "networks/shape", "networks/probe", "images", "domains", "flows", "lab/kept"},
	"lab/graph":      {"topology"},
	"lab/kept":       {"host"},
	"cmd/labctl":     {"host", "topology", "networks", "networks/probe", "images", "domains", "flows", "flows/report", "lab", "lab/graph"},
	"scripts/check":  {},
	"e2e":            {"host", "topology", "networks", "networks/probe", "images", "domains", "flows", "lab", "lab/kept"},
}

// furnished are packages of others that belong to one of ours.
var furnished = map[string]string{
	"github.com/urfave/cli/v2": "cmd/labctl",
}

func TestLayout(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if len(p.IgnoredGoFiles) > 0 {
			t.Errorf("%s is not looked at in %s: a tag is missing in this test", p.IgnoredGoFiles, room)
		}
		allowed, ok := layout[room]
		if !ok {
			t.Errorf("%s has no row in the layout: does it need a room of its own?", room)
			continue
		}
		for _, i := range p.Imports {
			if other, ours := strings.CutPrefix(i, module); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s; it may import %q", room, other, allowed)
			}
			if owner, ok := furnished[i]; ok && owner != room {
				t.Errorf("%s imports %s, which is for %s", room, i, owner)
			}
		}
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
			if other, ours := strings.CutPrefix(i, module); ours && !slices.Contains(append(allowed, room, "host", "host/hosttest"), other) {
				t.Errorf("a test of %s imports %s; it may import %q and hosttest", room, other, allowed)
			}
		}
	}
}

// listed is a package as go list knows it, with the files of every rung of tests.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	IgnoredGoFiles                     []string // for their tags
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags=e2e,bench,guest", "-json=ImportPath,Imports,TestImports,XTestImports,IgnoredGoFiles", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
