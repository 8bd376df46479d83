package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// promisesFile is the table of promises and their tests.
const promisesFile = "PROMISES.md"

// section is one part of the table: promises of one kind.
type section struct {
	name    string
	touched []string // files and folders (with a / at the end) whose change may break its promises
	rows    []row
}

// row is a promise with its tests, by name.
type row struct {
	promise    string
	check, all []string
}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^[a-z0-9/]+\.Test\w+$`)
)

// readPromises reads the table.
func readPromises(path string) ([]section, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []section
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		name, isSection := strings.CutPrefix(line, "## ")
		if isSection {
			all = append(all, section{name: name})
		}
		if len(all) == 0 || isSection {
			continue
		}
		last := &all[len(all)-1]
		if rest, ok := strings.CutPrefix(line, "Touched by"); ok {
			last.touched = names(rest)
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|"), "|")
		if len(cells) != 3 {
			return nil, fmt.Errorf("%s:%d: %d cells, want three: promise | tests in check | tests in check-all", path, n, len(cells))
		}
		r := row{strings.TrimSpace(cells[0]), names(cells[1]), names(cells[2])}
		for _, t := range append(r.check, r.all...) {
			if !testName.MatchString(t) {
				return nil, fmt.Errorf("%s:%d: %q is no test: want PACKAGE.TestName", path, n, t)
			}
		}
		last.rows = append(last.rows, r)
	}
	return all, lines.Err()
}

func names(text string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// test is a test of this module.
type test struct {
	room    string // its package, by its folder
	fn      string
	file    string
	real    bool // on real machines: it has the tag e2e
	inCheck bool
	section string  // where it stands in the table
	seconds float64 // how long it is expected to take
}

func (t test) name() string { return t.room + "." + t.fn }

// findTests finds all tests below a folder.
func findTests(dir string) ([]test, error) {
	var all []test
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != dir && (e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		found, err := testsIn(path)
		all = append(all, found...)
		return err
	})
	return all, err
}

// testsIn finds the tests of one file.
func testsIn(path string) ([]test, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	onMachines, elsewhere := false, false
	for _, group := range parsed.Comments {
		tags, isTag := strings.CutPrefix(group.List[0].Text, "//go:build ")
		if isTag && group.Pos() < parsed.Package {
			onMachines = strings.Contains(tags, "e2e")
			elsewhere = !onMachines // benchmarks, and tests that another test builds for its guest
		}
	}
	if elsewhere {
		return nil, nil
	}
	var all []test
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") || f.Name.Name == "TestMain" {
			continue
		}
		all = append(all, test{room: filepath.ToSlash(filepath.Dir(path)), fn: f.Name.Name, file: filepath.ToSlash(path), real: onMachines})
	}
	return all, nil
}

// place gives each test its section, and the time it is expected to take.
func place(all []test, sections []section) ([]test, error) {
	seconds, err := readSeconds(secondsFile)
	if err != nil {
		return nil, err
	}
	for i, t := range all {
		all[i].seconds = defaultSeconds
		if s, ok := seconds[t.name()]; ok {
			all[i].seconds = s
		}
		for _, s := range sections {
			for _, r := range s.rows {
				inCheck := slices.Contains(r.check, t.name())
				if all[i].section == "" && (inCheck || slices.Contains(r.all, t.name())) {
					all[i].section = s.name
				}
				all[i].inCheck = all[i].inCheck || inCheck
			}
		}
		if t.real && all[i].section == "" {
			return nil, fmt.Errorf("%s: %s shows no promise of %s: it needs a place there", t.file, t.name(), promisesFile)
		}
	}
	return all, nil
}
