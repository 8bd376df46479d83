// Command check runs labctl's tests, two at a time, and says at the end what each part took, which tests
// are flaky, and how many machines were booted. The Makefile calls it:
//
//	check check    lint, unit tests, fuzzing, and of the tests on real machines those that make check runs
//	check all      everything; -part 3/8 for the third of eight parts
//	check changed  the tests that a change touches, beyond those of make check
//	check e2e      tests on real machines whose names match -run
//	check soak     make check's tests on real machines, again and again, on a loaded machine
//
// Which test shows which promise, and where it runs, stands in PROMISES.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// options are the command's words.
type options struct {
	mode    string
	results string        // the folder for logs and events
	part    string        // "3/8"
	base    string        // the revision that a change began at
	within  time.Duration // how long all may take; 0: no limit
	run     string        // a regular expression for tests' names
	times   int           // how often the soak runs
	hogs    int           // its busy loops
}

func main() {
	var o options
	flag.StringVar(&o.results, "results", "bin/results", "folder for logs and events")
	flag.StringVar(&o.part, "part", "", "of all: run part K of N, as K/N")
	flag.StringVar(&o.base, "base", "", "of changed: the revision that the change began at")
	flag.DurationVar(&o.within, "within", 0, "begin no test that would make the run longer than this, but for those that failed")
	flag.StringVar(&o.run, "run", ".", "of e2e: a regular expression for tests' names")
	flag.IntVar(&o.times, "n", 10, "of soak: how often")
	flag.IntVar(&o.hogs, "hogs", 2, "of soak: busy loops beside the tests")
	if len(os.Args) < 2 {
		fail(errors.New("check, all, changed, e2e or soak?"))
	}
	o.mode = os.Args[1]
	_ = flag.CommandLine.Parse(os.Args[2:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	switch {
	case ctx.Err() != nil:
		fail(errors.New("interrupted"))
	case err != nil:
		fail(err)
	case !ok:
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "check: %v\n", err)
	os.Exit(1)
}

// run runs what the words ask for, and says whether all is well.
func run(ctx context.Context, o options) (bool, error) {
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return false, err
	}
	results, err := filepath.Abs(o.results)
	if err != nil {
		return false, err
	}
	o.results = results
	all, err := findTests(".")
	if err != nil {
		return false, err
	}
	sections, err := readPromises(promisesFile)
	if err != nil {
		return false, err
	}
	if all, err = place(all, sections); err != nil {
		return false, err
	}
	chosen, static, err := choose(ctx, o, all, sections)
	if err != nil {
		return false, err
	}
	stop, err := sharePackages(ctx, packagesDir)
	if err != nil {
		return false, err
	}
	defer stop()
	if o.mode == "soak" {
		return soak(ctx, o, all, chosen)
	}
	r := newRun(o, all, chosen)
	if !r.prepare(ctx, static) {
		r.report()
		return false, nil
	}
	r.tests(ctx)
	return r.report(), nil
}

// choose returns the tests on real machines that are to run, and whether what needs no machine runs as well.
func choose(ctx context.Context, o options, all []test, sections []section) (chosen []test, static bool, err error) {
	switch o.mode {
	case "check":
		return filter(all, func(t test) bool { return t.real && t.inCheck }), true, nil
	case "soak":
		return filter(all, func(t test) bool { return t.real && t.inCheck }), false, nil
	case "e2e":
		pattern, err := regexp.Compile(o.run)
		if err != nil {
			return nil, false, err
		}
		chosen := filter(all, func(t test) bool { return t.real && pattern.MatchString(t.name()) })
		if len(chosen) == 0 {
			return nil, false, fmt.Errorf("no test on real machines matches %q: names are such as e2e.TestReset, and make takes $$ for $", o.run)
		}
		return chosen, false, nil
	case "changed":
		files, err := changedFiles(ctx, o.base)
		if err != nil {
			return nil, false, err
		}
		touched, err := touchedTests(ctx, files, all, sections)
		return filter(touched, func(t test) bool { return !t.inCheck }), false, err
	case "all":
		k, n, err := parsePart(o.part)
		chosen := partition(filter(all, func(t test) bool { return t.real }), n)[k-1]
		return chosen, k == 1, err
	}
	return nil, false, fmt.Errorf("%q: check, all, changed, e2e or soak?", o.mode)
}

// parsePart reads "3/8"; nothing is the one part of one.
func parsePart(text string) (k, n int, err error) {
	if text == "" {
		return 1, 1, nil
	}
	m := regexp.MustCompile(`^(\d+)/(\d+)$`).FindStringSubmatch(text)
	if m != nil {
		k, _ = strconv.Atoi(m[1])
		n, _ = strconv.Atoi(m[2])
	}
	if k < 1 || k > n {
		return 1, 1, fmt.Errorf("PART=%s: want one as 3/8, the third of eight", text)
	}
	return k, n, nil
}

// filter keeps the tests that are wanted, in their order.
func filter(all []test, wanted func(test) bool) []test {
	var some []test
	for _, t := range all {
		if wanted(t) {
			some = append(some, t)
		}
	}
	return some
}
