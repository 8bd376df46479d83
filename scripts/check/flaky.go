package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// flakyFile lists the tests that failed once and passed when run again, a line "DATE TEST" each. Whoever mends a test
// takes its line out.
const flakyFile = ".ci/flaky"

// readFlaky returns the tests in the list.
func readFlaky(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []string
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		words := strings.Fields(line)
		if len(words) != 2 {
			return nil, fmt.Errorf("%s:%d: want DATE TEST", path, n)
		}
		if _, err := time.Parse(time.DateOnly, words[0]); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		all = append(all, words[1])
	}
	return all, nil
}

// flaky reports the tests that failed once and then passed, adds them to the list, and says whether each is there for the
// first time.
func (r *testRun) flaky() bool {
	now := r.flakyUnits()
	for _, o := range r.outcomes {
		if o.flaky {
			now = append(now, o.name())
		}
	}
	if len(now) == 0 {
		return true
	}
	before, err := readFlaky(flakyFile)
	if err != nil {
		fmt.Println(err)
		return false
	}
	ok := true
	var lines strings.Builder
	for _, name := range now {
		again := ""
		if slices.Contains(before, name) {
			again = fmt.Sprintf("; it stands in %s already, and so fails", flakyFile)
			ok = false
		}
		fmt.Printf("flaky: %s failed once and passed when run again%s\n", name, again)
		fmt.Fprintf(&lines, "%s %s\n", time.Now().UTC().Format(time.DateOnly), name)
	}
	f, err := os.OpenFile(flakyFile, os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(lines.String())
		_ = f.Close()
	}
	if err != nil {
		fmt.Println(err)
	}
	return ok
}

// flakyUnits are the unit tests that gotestsum ran again and that passed then, from its report:
// a line "PACKAGE.TEST: 2 runs, 1 failures" each.
func (r *testRun) flakyUnits() []string {
	f, err := os.Open(filepath.Join(r.results, "test.rerun"))
	if err != nil || !slices.ContainsFunc(r.steps, func(s step) bool { return s.part == "unit tests" && s.err == nil }) {
		return nil
	}
	defer func() { _ = f.Close() }()
	var all []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, _, ok := strings.Cut(lines.Text(), ": "); ok {
			all = append(all, strings.TrimPrefix(name, module))
		}
	}
	return all
}
