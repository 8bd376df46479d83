package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakes are programs in place of rooms' tests, which end in every way. They note each of their starts.
var fakes = map[string]string{
	"passes":      `say PASS`,
	"fails":       `echo "it is broken"; say FAIL; exit 1`,
	"flaky":       `[ -e failed ] && say PASS && exit; touch failed; say FAIL; exit 1`,
	"skipped":     `say SKIP`,
	"nothing":     `echo PASS`,
	"dies":        `kill -9 $$`,
	"hangs":       `printf 'panic: test timed out after 1s\ngoroutine 7 [select (no cases)]:\nmain.deliberate()\n'; exit 2`,
	"interrupted": `sleep 1000 & echo $! > child; wait`,
}

// runOf makes a run of those rooms, in a folder of its own.
func runOf(t *testing.T, o options, rooms ...string) *testRun {
	t.Helper()
	t.Setenv("CHECK_BEGUN", "") // of the run that these tests are part of
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.MkdirAll(".ci", 0o755))
	must(t, os.WriteFile(flakyFile, []byte("# a list\n"), 0o644))
	must(t, os.WriteFile(".ci/failed", []byte("#!/bin/sh\ncat \"$@\"\n"), 0o755))
	o.results = filepath.Join(dir, "results")
	must(t, os.MkdirAll(filepath.Join(o.results, "programs"), 0o755))
	var chosen []test
	for _, room := range rooms {
		must(t, os.Mkdir(room, 0o755))
		chosen = append(chosen, test{room: room, fn: "TestIt", real: true, seconds: 1, section: "A part"})
	}
	r := newRun(o, chosen, chosen)
	for _, test := range chosen {
		script := "#!/bin/sh\nsay() { printf '\\026=== RUN   TestIt\\n\\026--- %s: TestIt (0.00s)\\n\\026%s\\n' $1 $(echo $1 | sed s,SKIP,PASS,); }\necho start >> starts\n" + fakes[test.room] + "\n"
		must(t, os.WriteFile(r.binary(test.room), []byte(script), 0o755))
	}
	return r
}

// reported runs a run to its end, and returns what it printed.
func reported(t *testing.T, r *testRun) (ok bool, said string) {
	t.Helper()
	read, write, err := os.Pipe()
	must(t, err)
	out := os.Stdout
	os.Stdout = write
	defer func() { os.Stdout = out }()
	all := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, read)
		all <- b.String()
	}()
	r.tests(t.Context())
	ok = r.report()
	_ = write.Close()
	return ok, <-all
}

func starts(t *testing.T, room string) int {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(room, "starts"))
	return strings.Count(string(text), "start")
}

func TestVerdicts(t *testing.T) {
	for room, want := range map[string]struct {
		ok     bool
		starts int
		says   []string
	}{
		"passes":  {true, 1, []string{"ok  ", "A part: 1 tests", "1 passed, 0 failed"}},
		"fails":   {false, 2, []string{"FAIL", "it is broken", "failed: fails.TestIt", "0 passed, 1 failed"}},
		"flaky":   {true, 2, []string{"flaky: flaky.TestIt failed once and passed when run again", "1 passed, 0 failed"}},
		"skipped": {false, 2, []string{"no verdict, or skipped", "0 passed, 1 failed"}},
		"nothing": {false, 2, []string{"no verdict, or skipped", "0 passed, 1 failed"}},
		"dies":    {false, 2, []string{"signal: killed", "0 passed, 1 failed"}},
		"hangs":   {false, 1, []string{"main.deliberate()", "0 passed, 1 failed"}},
	} {
		t.Run(room, func(t *testing.T) {
			r := runOf(t, options{mode: "check"}, room)
			ok, said := reported(t, r)
			if ok != want.ok {
				t.Errorf("all is well: %v, want %v:\n%s", ok, want.ok, said)
			}
			for _, text := range want.says {
				if !strings.Contains(said, text) {
					t.Errorf("it does not say %q:\n%s", text, said)
				}
			}
			if n := starts(t, room); n != want.starts {
				t.Errorf("it ran %d times, want %d", n, want.starts)
			}
		})
	}
}

// One test that fails fails the run, whatever passes beside it.
func TestOneFailure(t *testing.T) {
	if ok, said := reported(t, runOf(t, options{mode: "check"}, "passes", "fails", "flaky")); ok || !strings.HasSuffix(said, "2 passed, 1 failed\n") {
		t.Errorf("%v:\n%s", ok, said)
	}
}

// A flaky test is noted; one that stands in the list already fails the run.
func TestFlakyTwice(t *testing.T) {
	r := runOf(t, options{mode: "check"}, "flaky")
	if ok, said := reported(t, r); !ok {
		t.Fatalf("a test that is flaky for the first time fails the run:\n%s", said)
	}
	listed, err := readFlaky(flakyFile)
	if err != nil || len(listed) != 1 || listed[0] != "flaky.TestIt" {
		t.Fatalf("the list has %q, %v", listed, err)
	}
	if first, err := os.ReadFile(filepath.Join(r.results, "flaky.TestIt.first.json")); err != nil || !strings.Contains(string(first), "FAIL") {
		t.Errorf("what it said when it failed is lost: %s, %v", first, err)
	}
	must(t, os.Remove("flaky/failed"))
	ok, said := reported(t, newRun(r.options, r.all, r.chosen))
	if ok || !strings.Contains(said, "stands in .ci/flaky already") || !strings.HasSuffix(said, ", 1 failed\n") {
		t.Errorf("%v:\n%s", ok, said)
	}
}

// A soak lets nothing run again.
func TestNoRetries(t *testing.T) {
	r := runOf(t, options{mode: "soak"}, "flaky")
	r.retries = false
	if ok, said := reported(t, r); ok || starts(t, "flaky") != 1 {
		t.Errorf("%v:\n%s", ok, said)
	}
}

// What would not end in time does not begin, and is named.
func TestWithin(t *testing.T) {
	r := runOf(t, options{mode: "changed", within: 10 * time.Second}, "passes", "fails")
	r.chosen[1].seconds = 1000
	ok, said := reported(t, r)
	if !ok || !strings.Contains(said, "not run, for want of time (1):\n  fails.TestIt") || starts(t, "fails") != 0 {
		t.Errorf("%v:\n%s", ok, said)
	}
}

// contextUntil is a context that ends when something holds.
func contextUntil(t *testing.T, holds func() bool) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil && !holds() {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}

// What failed runs again beyond the limit too: whether it fails by chance is to be known.
func TestRetryKnowsNoLimit(t *testing.T) {
	r := runOf(t, options{mode: "changed", within: time.Hour}, "flaky")
	if ok, said := reported(t, r); !ok || starts(t, "flaky") != 2 {
		t.Errorf("%v:\n%s", ok, said)
	}
	late := newRun(r.options, r.all, r.chosen)
	late.begun = time.Now().Add(-2 * time.Hour)
	late.until = r.until // as it was when the test ran again
	queue := slices.Clone(r.chosen)
	if _, ok := late.next(&queue); !ok {
		t.Error("late, a test that failed does not run again")
	}
}

// A run that is interrupted ends what it has started.
func TestInterrupted(t *testing.T) {
	r := runOf(t, options{mode: "check"}, "interrupted")
	ctx, cancel := contextUntil(t, func() bool {
		child, _ := os.ReadFile("interrupted/child") // not there yet
		return strings.HasSuffix(string(child), "\n")
	})
	defer cancel()
	r.tests(ctx)
	child, err := os.ReadFile("interrupted/child")
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what the test started lives")
		}
	}
}

// The list of flaky tests can be read, and no test stands in it twice.
func TestFlakyFile(t *testing.T) {
	listed, err := readFlaky(flakyFile)
	must(t, err)
	all, err := findTests(".")
	must(t, err)
	seen := map[string]bool{}
	for _, name := range listed {
		if seen[name] {
			t.Errorf("%s was flaky twice: it wants mending", name)
		}
		seen[name] = true
		there := false
		for _, test := range all {
			there = there || test.name() == name || strings.HasPrefix(name, test.name()+"/")
		}
		if !there {
			t.Errorf("there is no test %s", name)
		}
	}
}

func TestMachines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machines")
	must(t, os.WriteFile(path, []byte("start\nrestore\nstart\nstart\n"), 0o644))
	if got := machines(path); got != "machines: 2 booted, 1 resumed from a saved state" {
		t.Error(got)
	}
}
