package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

const module = "github.com/mami-project/labctl/"

// changedFiles are the files that differ from a revision, those that are not committed too.
func changedFiles(ctx context.Context, base string) ([]string, error) {
	if base == "" {
		return nil, errors.New("the revision that the change began at is missing: BASE=REV")
	}
	out, err := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "diff", "--name-only", base).Output()
	if err != nil {
		return nil, fmt.Errorf("git diff %s: %w: is it a revision?", base, err)
	}
	others, err := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "ls-files", "--others", "--exclude-standard").Output()
	return strings.Fields(string(out) + string(others)), err
}

// room is a package as go list knows it.
type room struct {
	ImportPath                string
	Deps                      []string // all that it stands on
	TestImports, XTestImports []string // what its tests import themselves
}

// listRooms lists the module's packages.
func listRooms(ctx context.Context) ([]room, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-tags=e2e", "-json=ImportPath,Deps,TestImports,XTestImports", "./...").Output()
	if err != nil {
		return nil, err
	}
	var all []room
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var r room
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
}

// uses returns for each room the rooms that its tests stand on, itself among them.
func uses(rooms []room) map[string][]string {
	deps := map[string][]string{}
	for _, r := range rooms {
		deps[r.ImportPath] = append(r.Deps, r.ImportPath)
	}
	all := map[string][]string{}
	for _, r := range rooms {
		name := strings.TrimPrefix(r.ImportPath, module)
		for _, i := range slices.Concat([]string{r.ImportPath}, r.TestImports, r.XTestImports) {
			for _, d := range deps[i] {
				if own, ours := strings.CutPrefix(d, module); ours {
					all[name] = append(all[name], own)
				}
			}
		}
	}
	return all
}

// Files that change nothing that a test on a real machine would see, and those that change all.
var (
	harmless   = []string{"decisions/", ".gitignore", "LICENSE", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", promisesFile, ".golangci.yml", flakyFile, ".ci/base", "scripts/check/"}
	everything = []string{"go.mod", "go.sum", "Makefile", "scripts/", ".ci/"}
)

// touchedTests are the tests on real machines that files can break: those of packages by the import graph; those of whole
// labs (e2e) by the files that their part of the table names. What no part names touches all of these.
func touchedTests(ctx context.Context, files []string, all []test, sections []section) ([]test, error) {
	rooms, err := listRooms(ctx)
	if err != nil {
		return nil, err
	}
	return touched(files, all, sections, uses(rooms)), nil
}

func touched(files []string, all []test, sections []section, uses map[string][]string) []test {
	return filter(all, func(t test) bool {
		return t.real && slices.ContainsFunc(files, func(file string) bool { return touches(file, t, all, sections, uses) })
	})
}

// touches says whether a file can break a test.
func touches(file string, t test, all []test, sections []section, uses map[string][]string) bool {
	switch {
	case within(file, harmless):
		return false
	case within(file, everything):
		return true
	case strings.HasSuffix(file, "_test.go"):
		hasTests := slices.ContainsFunc(all, func(o test) bool { return o.file == file })
		return file == t.file || !hasTests && path.Dir(file) == t.room // helpers are for all
	}
	owner := roomOf(file, uses)
	if t.room != "e2e" {
		return slices.Contains(uses[t.room], owner)
	}
	named := false
	for _, s := range sections {
		if within(file, s.touched) {
			named = true
			if s.name == t.section {
				return true
			}
		}
	}
	return !named
}

// within says whether a file is one of a list, or in a folder of it (with a / at its end), or matches a pattern of it.
func within(file string, list []string) bool {
	return slices.ContainsFunc(list, func(l string) bool {
		match, _ := path.Match(l, file)
		return match || strings.HasSuffix(l, "/") && strings.HasPrefix(file, l)
	})
}

// roomOf is the package that a file belongs to, by its folder or the nearest above it.
func roomOf(file string, uses map[string][]string) string {
	dir := path.Dir(file)
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := uses[dir]; ok {
			return dir
		}
	}
	return dir
}
