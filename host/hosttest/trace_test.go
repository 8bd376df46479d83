package hosttest

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// traced runs a shell's script under Trace in an empty folder, and returns the folder.
func traced(t *testing.T, script string, each func(Change) syscall.Signal) (string, Traced) {
	t.Helper()
	dir := t.TempDir()
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	must(t, err)
	defer output.Close()
	end, err := Trace(t.Context(), []string{"/bin/sh", "-c", script}, dir, output, each)
	must(t, err)
	return dir, end
}

const makesFiles = `echo a >x; mkdir d; exec mv x d/y`

func TestTraceSeesChanges(t *testing.T) {
	var before, after []string
	dir, end := traced(t, makesFiles, func(c Change) syscall.Signal {
		if c.Done {
			after = append(after, c.What)
			if c.Err != nil && c.What != "see a program end" { // a shell asks until there is none
				t.Errorf("%s: %v", c.What, c.Err)
			}
		} else {
			before = append(before, c.What)
		}
		return 0
	})
	if end != (Traced{}) {
		t.Errorf("it ended with %v", end)
	}
	if !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
	// mkdir is another program, and its change not the shell's own
	want := []string{"create " + dir + "/x", "write " + dir + "/x", "start a program", "see a program end", "rename " + dir + "/x"}
	if got := slices.Compact(before); !slices.Equal(got, want) {
		t.Errorf("changes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTraceKillsBeforeAndAfter(t *testing.T) {
	for _, c := range []struct {
		done bool
		left string
	}{{false, "x"}, {true, "d/y"}} {
		dir, end := traced(t, makesFiles, func(change Change) syscall.Signal {
			if strings.HasPrefix(change.What, "rename ") && change.Done == c.done {
				return syscall.SIGKILL
			}
			return 0
		})
		if end.Signal != syscall.SIGKILL {
			t.Errorf("done %v: it ended with %v", c.done, end)
		}
		for _, file := range []string{"x", "d/y"} {
			if _, err := os.Stat(filepath.Join(dir, file)); (err == nil) != (file == c.left) {
				t.Errorf("done %v: %s: %v, where %s is to be left", c.done, file, err, c.left)
			}
		}
	}
}

// threadsIn is the folder in which this test binary is to rename files from many threads at once.
const threadsIn = "LABCTL_THREADS_IN"

func TestTraceOfThreads(t *testing.T) {
	const threads = 50
	if dir := os.Getenv(threadsIn); dir != "" {
		var all sync.WaitGroup
		for n := range threads {
			all.Go(func() {
				runtime.LockOSThread() // which ends with it
				file := filepath.Join(dir, strconv.Itoa(n))
				must(t, os.WriteFile(file, nil, 0o600))
				must(t, os.Rename(file, file+".renamed"))
			})
		}
		all.Wait()
		return
	}
	t.Setenv(threadsIn, t.TempDir())
	renames := 0
	_, end := traced(t, "exec "+os.Args[0]+" -test.run=^TestTraceOfThreads$", func(c Change) syscall.Signal {
		if c.Done && strings.HasPrefix(c.What, "rename ") {
			renames++
		}
		return 0
	})
	if end != (Traced{}) || renames != threads {
		t.Errorf("%d renames seen of %d; it ended with %v", renames, threads, end)
	}
}

// Of a call that a signal interrupts, and that is made again, all is one change: how often that happens is chance.
func TestTraceOfInterruptedCalls(t *testing.T) {
	const waits = `exec perl -e '$p = fork // die; exec "sleep", 1000 if !$p; $SIG{USR1} = sub { kill KILL => $p }; waitpid $p, 0'`
	begun, done := 0, 0
	_, end := traced(t, waits, func(c Change) syscall.Signal {
		if c.What != "see a program end" {
			return 0
		}
		if c.Nth != 1 || c.Err != nil {
			t.Errorf("it is told as %+v", c)
		}
		if c.Done {
			done++
			return 0
		}
		begun++
		return map[bool]syscall.Signal{true: syscall.SIGUSR1}[begun == 1]
	})
	if end != (Traced{}) || begun != 2 || done != 1 {
		t.Errorf("it begins %d times and is done %d times, want 2 and 1; it ended with %v", begun, done, end)
	}
}

func TestTracePassesSignalsAndStatusOn(t *testing.T) {
	_, end := traced(t, `trap 'exit 7' INT; mkdir d; while :; do :; done`, func(c Change) syscall.Signal {
		if c.Done && c.What == "see a program end" {
			return syscall.SIGINT
		}
		return 0
	})
	if end.Code != 7 {
		t.Errorf("it ended with %v", end)
	}
}
