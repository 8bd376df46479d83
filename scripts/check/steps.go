package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// manyKills are flags of the crash tests for more kills than make check tries.
var manyKills = []string{"-crash.share=0.05", "-crash.late=0.01", "-crash.boots=3", "-crash.times=20"}

// plainRooms have tests that only start other programs: these have the race detector where it matters.
var plainRooms = []string{"e2e", "images", "flows/report"}

// step is something to do before the tests on real machines.
type step struct {
	part string // its line in the closing table
	args []string
	took time.Duration
	err  error
}

// prepare does all steps that the chosen tests need, and with static those of make check that need no machine.
func (r *testRun) prepare(ctx context.Context, static bool) bool {
	_ = os.Remove(filepath.Join(r.results, "machines"))
	r.steps = append(r.steps, step{part: "set-up", took: time.Since(r.begun)})
	first := r.builds()
	if static {
		first = append(first,
			step{part: "unit tests", args: []string{"make", "test-race", "RESULTS=" + r.results}},
			step{part: "lint", args: []string{"make", "lint"}},
			step{part: "fuzz", args: []string{"make", "fuzz"}},
		)
	}
	second := []step{}
	for _, stand := range []string{"images", "nested", "cloud-image", "chromium", "ovs", "alpine-iso", "alpine-packages"} {
		second = append(second, step{part: "caches", args: []string{"make", "--no-print-directory", stand}})
	}
	if len(r.chosen) == 0 {
		first, second = slices.DeleteFunc(first, func(s step) bool { return s.part == "programs" }), nil
	}
	var both sync.WaitGroup
	for _, lane := range [][]step{first, second} {
		both.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for _, s := range lane {
				r.step(ctx, s)
			}
		})
	}
	both.Wait()
	return ctx.Err() == nil && !slices.ContainsFunc(r.steps, func(s step) bool {
		return s.err != nil && (s.part == "programs" || s.part == "caches")
	})
}

// builds are the steps which build what is tested and the tests, each once.
func (r *testRun) builds() []step {
	build := func(args ...string) step {
		return step{part: "programs", args: append([]string{"go"}, args...)}
	}
	all := []step{
		build("build", "-buildvcs=false", "-o", r.labctl()+".plain", "./cmd/labctl"),
		build("build", "-buildvcs=false", "-race", "-o", r.labctl(), "./cmd/labctl"),
	}
	rooms := map[string]bool{}
	for _, t := range r.chosen {
		if !rooms[t.room] {
			rooms[t.room] = true
			all = append(all, build("test", "-c", "-vet=off", fmt.Sprintf("-race=%v", !slices.Contains(plainRooms, t.room)), "-tags", "e2e", "-o", r.binary(t.room), "./"+t.room))
		}
	}
	return all
}

// step does one step, shows what it said where it failed, and notes how long it took.
func (r *testRun) step(ctx context.Context, s step) {
	start := time.Now()
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	alone(cmd)
	said, err := cmd.CombinedOutput()
	s.took, s.err = time.Since(start), err
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, s)
	if err != nil {
		fmt.Printf("%s\nFAIL %4.0f s  %s: %q: %v\n", said, s.took.Seconds(), s.part, s.args, err)
		return
	}
	if s.took > time.Second {
		fmt.Printf("ok   %4.0f s  %s: %s\n", s.took.Seconds(), s.part, s.args[len(s.args)-1])
	}
}
