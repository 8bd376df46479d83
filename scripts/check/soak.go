package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// soak runs the tests again and again beside busy loops and one writer to the disk. Nothing runs twice there: each must
// pass each time.
func soak(ctx context.Context, o options, all, chosen []test) (bool, error) {
	runtime.LockOSThread() // the load dies with this thread, and so with this process
	defer runtime.UnlockOSThread()
	r := newRun(o, all, chosen)
	if !r.prepare(ctx, false) {
		r.report()
		return false, nil
	}
	dir, err := os.MkdirTemp(o.results, "soak-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	commands := []string{"while :; do dd if=/dev/zero of=" + filepath.Join(dir, "written") + " bs=1M count=256 conv=fsync status=none; done"}
	for range o.hogs {
		commands = append(commands, "while :; do :; done")
	}
	for _, c := range commands {
		hog := exec.CommandContext(ctx, "sh", "-c", c)
		alone(hog)
		if err := hog.Start(); err != nil {
			return false, err
		}
		defer func() {
			_ = hog.Cancel()
			_ = hog.Wait()
		}()
	}
	ok := true
	var lines []string
	for n := 1; n <= o.times && ctx.Err() == nil; n++ {
		o.results = filepath.Join(r.results, fmt.Sprintf("soak-%d", n))
		if err := os.MkdirAll(o.results, 0o755); err != nil {
			return false, err
		}
		one := newRun(o, all, chosen)
		one.begun, one.retries, one.programs = time.Now(), false, r.programs
		one.tests(ctx)
		green := one.report()
		ok = ok && green
		load, _ := os.ReadFile("/proc/loadavg")
		lines = append(lines, fmt.Sprintf("soak %d of %d: green %v, %s, load %s", n, o.times, green, time.Since(one.begun).Round(time.Second), strings.Join(strings.Fields(string(load))[:3], " ")))
		fmt.Println(lines[len(lines)-1])
	}
	fmt.Println(strings.Join(lines, "\n"))
	return ok && len(lines) == o.times, nil
}
