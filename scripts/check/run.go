package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lanes is how many tests run at once: two fill two cores, since each has several machines.
const lanes = 2

// machinesFile is the variable that names the file in which tests note the machines that they start.
const machinesFile = "LABCTL_TEST_MACHINES"

// testRun is one run of steps and tests.
type testRun struct {
	options
	begun    time.Time // of make
	all      []test
	chosen   []test
	programs string        // the folder of what is built for the tests
	retries  bool          // what failed once runs again
	until    time.Duration // since begun: no test begins that is expected to end later; 0: no limit
	mu       sync.Mutex
	steps    []step
	outcomes []outcome
	left     []test // not run, for want of time
}

// outcome is how a test ended.
type outcome struct {
	test
	took   time.Duration
	passed bool
	flaky  bool // it failed, and passed when run again
	hung   bool // its time was up
	events string
}

func newRun(o options, all, chosen []test) *testRun {
	begun := time.Now()
	var unix int64
	if _, err := fmt.Sscan(os.Getenv("CHECK_BEGUN"), &unix); err == nil { // make's, set-up included
		begun = time.Unix(unix, 0)
	}
	return &testRun{options: o, begun: begun, all: all, chosen: chosen, programs: filepath.Join(o.results, "programs"), retries: true}
}

// tests runs the chosen tests, longest first, and once more those that failed.
func (r *testRun) tests(ctx context.Context) {
	r.until = r.within * 5 / 6 // what is left is for those that run again
	r.inLanes(ctx, longestFirst(r.chosen))
	var again []test
	for _, o := range r.outcomes {
		if !o.passed && !o.hung {
			again = append(again, o.test)
		}
	}
	const most = 5 // more are no chance
	if ctx.Err() != nil || !r.retries || len(again) == 0 || len(again) > most {
		return
	}
	fmt.Printf("%d tests failed: they run again\n", len(again))
	first := r.outcomes
	for _, o := range first {
		if !o.passed { // what it said stays, to be read
			_ = os.Rename(o.events, strings.TrimSuffix(o.events, ".json")+".first.json")
		}
	}
	r.outcomes, r.until = nil, 0
	r.inLanes(ctx, again)
	second := r.outcomes
	r.outcomes = first
	for i, o := range r.outcomes {
		j := slices.IndexFunc(second, func(s outcome) bool { return s.name() == o.name() })
		if j >= 0 && second[j].passed && !o.passed {
			r.outcomes[i] = second[j]
			r.outcomes[i].flaky = true
		}
	}
}

// inLanes runs tests in their order, as many at once as there are lanes.
func (r *testRun) inLanes(ctx context.Context, queue []test) {
	var lane sync.WaitGroup
	for range lanes {
		lane.Go(func() {
			runtime.LockOSThread() // what is started dies with its thread, and so with this process
			defer runtime.UnlockOSThread()
			for ctx.Err() == nil {
				t, ok := r.next(&queue)
				if !ok {
					return
				}
				o := r.test(ctx, t)
				r.mu.Lock()
				r.outcomes = append(r.outcomes, o)
				r.mu.Unlock()
			}
		})
	}
	lane.Wait()
	r.left = append(r.left, queue...)
}

// next takes the first test from the queue that is expected to end in time.
func (r *testRun) next(queue *[]test) (test, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slower := r.slower()
	for i, t := range *queue {
		if r.until > 0 && time.Since(r.begun)+time.Duration(t.seconds*slower*float64(time.Second)) > r.until {
			continue
		}
		*queue = slices.Delete(*queue, i, i+1)
		return t, true
	}
	return test{}, false
}

// slower is how many times longer than expected tests took until now, at least 1.
func (r *testRun) slower() float64 {
	took, expected := 0.0, 0.0
	for _, o := range r.outcomes {
		took, expected = took+o.took.Seconds(), expected+o.seconds
	}
	if expected == 0 {
		return 1
	}
	return max(1, took/expected)
}

// limit is how long a test may take: many times what it takes on a quiet machine, and waiting for tests that want to be alone.
func (t test) limit() time.Duration {
	return max(20*time.Minute, time.Duration(t.seconds*10)*time.Second)
}

// binary is where the test program of a room is.
func (r *testRun) binary(room string) string {
	return filepath.Join(r.programs, strings.ReplaceAll(room, "/", "-")+".test")
}

// labctl is where labctl with the race detector is; beside it stands labctl.plain.
func (r *testRun) labctl() string { return filepath.Join(r.programs, "labctl") }

// test runs one test; its events go to a file.
func (r *testRun) test(ctx context.Context, t test) outcome {
	o := outcome{test: t, events: filepath.Join(r.results, strings.ReplaceAll(t.name(), "/", "-")+".json")}
	start := time.Now()
	err := r.execute(ctx, &o)
	o.took = time.Since(start)
	o.passed = err == nil
	word, why := "ok  ", ""
	if err != nil {
		word, why = "FAIL", ": "+err.Error()
	}
	fmt.Printf("%s %4.0f s  %s%s\n", word, o.took.Seconds(), t.name(), why)
	return o
}

var errNoVerdict = errors.New("it did not pass: no verdict, or skipped")

// execute runs a test's program to its end.
func (r *testRun) execute(ctx context.Context, o *outcome) error {
	args := []string{"-test.v=test2json", "-test.count=1", "-test.paniconexit0", "-test.run=^" + o.fn + "$", "-test.timeout=" + o.limit().String()}
	if o.room == "e2e" && r.mode != "check" && r.mode != "soak" {
		args = append(args, manyKills...)
	}
	if seed := os.Getenv("SEED"); seed != "" && o.room == "e2e" {
		args = append(args, "-crash.seed", seed)
	}
	cmd := exec.CommandContext(ctx, r.binary(o.room), args...)
	cmd.Dir = o.room
	cmd.Env = append(os.Environ(), "LABCTL_UNDER_TEST="+r.labctl(), machinesFile+"="+filepath.Join(r.results, "machines"))
	if r.mode == "check" || r.mode == "soak" { // labs resume from snapshots that tests share
		cmd.Env = append(cmd.Env, "LABCTL_TEST_RESUME=1")
	}
	alone(cmd)
	var said bytes.Buffer
	convert := exec.CommandContext(context.WithoutCancel(ctx), "go", "tool", "test2json", "-t", "-p", o.room)
	events, err := os.Create(o.events)
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	convert.Stdout, convert.Stderr = io.MultiWriter(events, &said), os.Stderr
	pipe, err := convert.StdinPipe()
	if err != nil {
		return err
	}
	if err := convert.Start(); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = pipe, pipe
	ended := cmd.Run()
	_ = pipe.Close()
	if err := convert.Wait(); err != nil {
		return err
	}
	o.hung = bytes.Contains(said.Bytes(), []byte("panic: test timed out"))
	if ended != nil {
		return ended
	}
	if readEvents(&said)[event{o.room, o.fn}] != "pass" { // a test that is skipped, or not there, exits 0 as well
		return errNoVerdict
	}
	return nil
}

// alone has a command and all that it starts end with this process, or with the command's context.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// event names a test in the events of a runner.
type event struct{ Package, Test string }

// readEvents returns the last verdict on each test (pass, fail, skip) in the events of a runner; of a whole package its
// Test is empty.
func readEvents(from io.Reader) map[event]string {
	verdicts := map[event]string{}
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadBytes('\n')
		var e struct {
			event
			Action string
		}
		if json.Unmarshal(line, &e) == nil && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
			verdicts[e.event] = e.Action
		}
		if err != nil {
			return verdicts
		}
	}
}
