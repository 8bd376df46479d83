package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints how the run ended, the counts in its last line, and says whether all is well.
func (r *testRun) report() bool {
	ok := true
	var failed []string // files of events
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Println()
	line := func(part string, took time.Duration, what string) {
		_, _ = fmt.Fprintf(table, "%s\t  %s\t\n", took.Round(time.Second), part+what)
	}
	for _, part := range unique(r.steps, func(s step) string { return s.part }) {
		took := time.Duration(0)
		for _, s := range r.steps {
			if s.part == part {
				took += s.took
				ok = ok && s.err == nil
			}
		}
		line(part, took, "")
	}
	for _, name := range unique(r.outcomes, func(o outcome) string { return o.section }) {
		took, n := time.Duration(0), 0
		for _, o := range r.outcomes {
			if o.section == name {
				took += o.took
				n++
			}
		}
		line(name, took, fmt.Sprintf(": %d tests", n))
	}
	line("in all, two at a time", time.Since(r.begun), "")
	_ = table.Flush()

	passes, fails := r.count()
	for _, o := range r.outcomes {
		if !o.passed {
			ok = false
			failed = append(failed, o.events)
		}
	}
	if len(failed) > 0 || fails > 0 {
		show := exec.CommandContext(context.Background(), ".ci/failed", append(failed, r.unitEvents()...)...)
		show.Stdout, show.Stderr = os.Stdout, os.Stderr
		_ = show.Run()
		for _, o := range r.outcomes {
			if !o.passed {
				fmt.Printf("failed: %s, all that it said is in %s\n", o.name(), o.events)
			}
		}
	}
	if err := writeSeconds(r.results, r.all, r.outcomes); err != nil {
		fmt.Printf("what tests took is not noted: %v\n", err)
	}
	fmt.Println(machines(filepath.Join(r.results, "machines")))
	if len(r.left) > 0 {
		fmt.Printf("not run, for want of time (%d):\n", len(r.left))
		for _, t := range r.left {
			fmt.Printf("  %s\n", t.name())
		}
	}
	ok = r.flaky() && ok && fails == 0
	if !ok {
		fails = max(fails, 1) // a step that failed
	}
	fmt.Printf("%d passed, %d failed\n", passes, fails)
	return ok
}

// unique are the names that list has, in its order.
func unique[T any](list []T, name func(T) string) []string {
	var all []string
	for _, x := range list {
		if n := name(x); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// unitEvents is the file in which make test-race leaves the events of unit tests, where it was part of this run.
func (r *testRun) unitEvents() []string {
	path := filepath.Join(r.results, "test.json")
	_, err := os.Stat(path)
	if err != nil || !slices.ContainsFunc(r.steps, func(s step) bool { return s.part == "unit tests" }) {
		return nil
	}
	return []string{path}
}

// count counts tests by their last verdicts, subtests too; a package that failed without a failed test (it did not
// build, it died) counts as one.
func (r *testRun) count() (passes, fails int) {
	files := r.unitEvents()
	for _, o := range r.outcomes {
		files = append(files, o.events)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			fails++
			continue
		}
		verdicts := readEvents(bytes.NewReader(text))
		told := map[string]bool{}
		for e, verdict := range verdicts {
			switch {
			case e.Test != "" && verdict == "pass":
				passes++
			case e.Test != "" && verdict == "fail":
				fails++
				told[e.Package] = true
			}
		}
		for e, verdict := range verdicts {
			if e.Test == "" && verdict == "fail" && !told[e.Package] {
				fails++
			}
		}
	}
	for _, o := range r.outcomes {
		if !o.passed && fails == 0 {
			fails++
		}
	}
	return passes, fails
}

// machines tells how many machines tests started, by what was noted: a line "start" for each, and "restore" too where it
// resumed from a saved state. Machines inside nested hosts are not counted.
func machines(path string) string {
	text, _ := os.ReadFile(path) // none where none was started
	started, resumed := strings.Count(string(text), "start\n"), strings.Count(string(text), "restore\n")
	return fmt.Sprintf("machines: %d booted, %d resumed from a saved state", started-resumed, resumed)
}
