package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain runs tests where the Makefile runs check: in the module's folder.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The table of promises and the tests that there are agree: each promise has a test in make check, each test in the table
// is there, and each test on real machines is in the table, once.
func TestPromises(t *testing.T) {
	all, err := findTests(".")
	must(t, err)
	sections, err := readPromises(promisesFile)
	must(t, err)
	_, err = place(all, sections)
	must(t, err)
	there := map[string]bool{}
	for _, test := range all {
		there[test.name()] = true
	}
	checked := map[string]bool{}
	rows := 0
	for _, s := range sections {
		for _, r := range s.rows {
			rows++
			if len(r.check) == 0 {
				t.Errorf("%s: %q has no test in make check", s.name, r.promise)
			}
			for _, name := range r.check {
				checked[name] = true
			}
			for _, name := range slices.Concat(r.check, r.all) {
				if !there[name] {
					t.Errorf("%s: %q: there is no test %s", s.name, r.promise, name)
				}
			}
		}
	}
	for _, s := range sections {
		for _, r := range s.rows {
			for _, name := range r.all {
				if checked[name] {
					t.Errorf("%s: %s runs in make check, and stands beside those that do not", s.name, name)
				}
			}
		}
	}
	if rows < 30 {
		t.Errorf("the table has %d promises", rows)
	}
}

// What a part of the table is touched by is there.
func TestTouchedFilesAreThere(t *testing.T) {
	sections, err := readPromises(promisesFile)
	must(t, err)
	for _, s := range sections {
		for _, pattern := range s.touched {
			if found, err := filepath.Glob(strings.TrimSuffix(pattern, "/")); err != nil || len(found) == 0 {
				t.Errorf("%s: no file is %s: %v", s.name, pattern, err)
			}
		}
	}
}

func TestTableWithMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"## A\n| b | `e2e.TestX` |\n":           ":2: 2 cells, want three",
		"## A\n| b | `e2e.TestX` | `reset` |\n": `:2: "reset" is no test`,
	} {
		path := filepath.Join(t.TempDir(), "table.md")
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := readPromises(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestRealTestHasAPlace(t *testing.T) {
	_, err := place([]test{{room: "e2e", fn: "TestNew", file: "e2e/new_test.go", real: true}}, nil)
	if err == nil || !strings.Contains(err.Error(), "e2e/new_test.go: e2e.TestNew shows no promise") {
		t.Errorf("%v", err)
	}
}

// Parts have each test once, whatever their number, and take about as long as one another.
func TestPartition(t *testing.T) {
	var all []test
	for i := range 50 {
		all = append(all, test{room: "e2e", fn: "Test" + string(rune('A'+i)), seconds: float64(1 + i*7%40)})
	}
	for _, n := range []int{1, 3, 8, 60} {
		seen := map[string]int{}
		least, most := 1e9, 0.0
		for _, part := range partition(all, n) {
			sum := 0.0
			for _, test := range part {
				seen[test.name()]++
				sum += test.seconds
			}
			least, most = min(least, sum), max(most, sum)
		}
		if len(seen) != len(all) {
			t.Errorf("%d parts have %d of %d tests", n, len(seen), len(all))
		}
		for name, times := range seen {
			if times != 1 {
				t.Errorf("in %d parts %s stands %d times", n, name, times)
			}
		}
		if most-least > 40 {
			t.Errorf("of %d parts one takes %g s, another %g s", n, least, most)
		}
	}
}

func TestParsePart(t *testing.T) {
	if k, n, err := parsePart("3/8"); k != 3 || n != 8 || err != nil {
		t.Error(k, n, err)
	}
	for _, bad := range []string{"0/8", "9/8", "8", "a/b", "1/0"} {
		if _, _, err := parsePart(bad); err == nil {
			t.Errorf("%s is a part", bad)
		}
	}
}

func TestTouched(t *testing.T) {
	all := []test{
		{room: "networks", fn: "TestWire", file: "networks/wire_e2e_test.go", real: true},
		{room: "images", fn: "TestBuild", file: "images/build_e2e_test.go", real: true},
		{room: "e2e", fn: "TestReset", file: "e2e/reset_test.go", real: true, section: "Snapshots"},
		{room: "e2e", fn: "TestRun", file: "e2e/run_test.go", real: true, section: "Runs"},
		{room: "lab", fn: "TestUnit", file: "lab/up_test.go"},
	}
	sections := []section{{name: "Snapshots", touched: []string{"lab/keep*.go", "lab/kept/"}}, {name: "Runs", touched: []string{"flows/"}}}
	uses := map[string][]string{
		"networks": {"networks", "host", "topology"}, "images": {"images", "host", "topology"}, "e2e": {"e2e", "lab", "flows", "networks", "images", "host", "topology"},
		"host": {"host"}, "topology": {"topology"}, "flows": {"flows"}, "lab": {"lab"},
	}
	for file, want := range map[string]string{
		"networks/wire.go":          "networks.TestWire e2e.TestReset e2e.TestRun", // no part names it
		"flows/mixes/smoke.yaml":    "e2e.TestRun",
		"flows/results.go":          "e2e.TestRun",
		"lab/kept/draft.go":         "e2e.TestReset",
		"lab/keep.go":               "e2e.TestReset",
		"host/lock.go":              "networks.TestWire images.TestBuild e2e.TestReset e2e.TestRun",
		"go.mod":                    "networks.TestWire images.TestBuild e2e.TestReset e2e.TestRun",
		"e2e/reset_test.go":         "e2e.TestReset",
		"e2e/helper_test.go":        "e2e.TestReset e2e.TestRun",
		"images/build_e2e_test.go":  "images.TestBuild",
		"images/testdata/some/file": "images.TestBuild e2e.TestReset e2e.TestRun",
		"lab/up_test.go":            "",
		"decisions/0001.md":         "",
		"CHANGELOG.md":              "",
	} {
		var got []string
		for _, test := range touched([]string{file}, all, sections, uses) {
			got = append(got, test.name())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s touches %q, want %q", file, got, want)
		}
	}
}

// A pattern that matches nothing is a mistake: nothing would run, and all would be well.
func TestChooseByPattern(t *testing.T) {
	all := []test{{room: "e2e", fn: "TestReset", real: true}, {room: "e2e", fn: "TestResetTwice", real: true}, {room: "lab", fn: "TestReset"}}
	for pattern, want := range map[string]int{"TestReset": 2, "TestReset$": 1, "e2e.": 2, "lab": 0, "TestNo": 0, "(": 0} {
		chosen, _, err := choose(t.Context(), options{mode: "e2e", run: pattern}, all, nil)
		if len(chosen) != want || (err != nil) != (want == 0) {
			t.Errorf("%s chooses %d, %v; want %d", pattern, len(chosen), err, want)
		}
	}
}
