package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is run again as another process that takes locks.
const childKey = "LABCTL_TEST_LOCK_CHILD"

func TestMain(m *testing.M) {
	switch what := os.Getenv(childKey); what {
	case "":
		goleak.VerifyTestMain(patient{m})
	default:
		os.Exit(child(what))
	}
}

// patient are the tests and, on a busy machine, the time that goroutines need to end, which goleak alone does not give them.
type patient struct{ *testing.M }

func (p patient) Run() int {
	exit := p.M.Run()
	for end := time.Now().Add(time.Minute); exit == 0 && goleak.Find() != nil && time.Now().Before(end); {
	}
	return exit
}

// child holds a lock until its standard input ends, or takes it many times.
func child(what string) int {
	LockDir = os.Args[1]
	if what == "hold" {
		unlock, err := Lock(context.Background(), "it", "holding", func(string) {})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
		unlock()
		return 0
	}
	lockPoll = hasty
	times, _ := strconv.Atoi(what)
	if err := contend(times); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hasty is how often the lock is tried by those that contend for it.
const hasty = 10 * time.Microsecond

// contendMost is what a machine that is far too busy takes for all of it.
const contendMost = 10 * time.Minute

// contend takes the lock many times; whoever is inside leaves a folder that nobody else may find.
func contend(times int) error {
	ctx, cancel := context.WithTimeout(context.Background(), contendMost)
	defer cancel()
	inside := filepath.Join(filepath.Dir(LockDir), "inside")
	for range times {
		unlock, err := Lock(ctx, "it", "contending", func(string) {})
		if err != nil {
			return err
		}
		err = errors.Join(os.Mkdir(inside, 0o700), os.Remove(inside))
		unlock()
		if err != nil {
			return fmt.Errorf("two are inside: %w", err)
		}
	}
	return nil
}

func process(t *testing.T, what string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], LockDir)
	cmd.Env = append(os.Environ(), childKey+"="+what)
	return cmd
}

// holder is another process that holds the lock, and what makes it give the lock back.
func holder(t *testing.T) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := process(t, "hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return cmd, in
}

func ownLockDir(t *testing.T) {
	t.Helper()
	before := LockDir
	LockDir = filepath.Join(t.TempDir(), "locks")
	t.Cleanup(func() { LockDir = before })
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(LockDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left (%v)", LockDir, err)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestLockWaitsForAnotherProcess(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"that gives it back": func(_ *exec.Cmd, in io.Closer) error { return in.Close() },
		"that is killed":     func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			ownLockDir(t)
			other, in := holder(t)
			var told []string
			unlock, err := Lock(within(t), "it", "testing", func(holder string) {
				told = append(told, holder)
				if err := end(other, in); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("process %d (holding)", other.Process.Pid)
			if len(told) != 1 || told[0] != want {
				t.Errorf("told %q, want %q once", told, want)
			}
			own, err := os.ReadFile(filepath.Join(LockDir, "it.lock"))
			if want := fmt.Sprintf("process %d (testing)", os.Getpid()); err != nil || string(own) != want {
				t.Errorf("the lock says %q, %v; want %q", own, err, want)
			}
			unlock()
			_ = in.Close()
			_ = other.Wait()
			nothingLeft(t)
		})
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	ownLockDir(t)
	_, in := holder(t)
	defer func() { _ = in.Close() }()
	gone := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(within(t))
	_, err := Lock(ctx, "it", "testing", func(string) { cancel(gone) })
	if !errors.Is(err, gone) || !strings.Contains(err.Error(), "(holding)") {
		t.Errorf("%v; want the cause and the holder", err)
	}
}

func TestLocksOfOtherNamesAreFree(t *testing.T) {
	ownLockDir(t)
	_, in := holder(t)
	defer func() { _ = in.Close() }()
	unlock, err := Lock(within(t), "other", "testing", func(string) { t.Error("waits") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(filepath.Join(LockDir, "it.lock")); err != nil {
		t.Errorf("another's lock went too: %v", err)
	}
}

// TestLockOfADeadProcessIsSwept leaves a lock's file behind, which goes with the next
// lock of any name; one that is held stays.
func TestLockOfADeadProcessIsSwept(t *testing.T) {
	ownLockDir(t)
	dead, _ := holder(t)
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dead.Wait()
	other, err := Lock(within(t), "other", "testing", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	third, err := Lock(within(t), "third", "testing", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	third()
	left, err := os.ReadDir(LockDir)
	if err != nil || len(left) != 1 || left[0].Name() != "other.lock" {
		t.Errorf("left are %v, %v", left, err)
	}
	other()
	nothingLeft(t)
}

func TestLockStaysInItsFolder(t *testing.T) {
	ownLockDir(t)
	for _, name := range []string{"", "../it", "/it", "a/b"} {
		if _, err := Lock(within(t), name, "testing", func(string) { t.Error("waits") }); err == nil || !strings.Contains(err.Error(), "not a name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	nothingLeft(t)
}

// A holder's words are written after its lock is taken.
func TestLockTellsNothingUnsaid(t *testing.T) {
	ownLockDir(t)
	if err := os.MkdirAll(LockDir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(LockDir, "it.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockPoll)
	defer cancel()
	if _, err := Lock(ctx, "it", "testing", func(holder string) { t.Errorf("told %q", holder) }); err == nil {
		t.Error("locked twice")
	}
	_ = f.Close()
}

func TestLockLetsOneIn(t *testing.T) {
	ownLockDir(t)
	before := lockPoll
	lockPoll = hasty
	t.Cleanup(func() { lockPoll = before })
	var others []*exec.Cmd
	for range 4 {
		cmd := process(t, "100")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		others = append(others, cmd)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := contend(50); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, cmd := range others {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	nothingLeft(t)
}

// Whoever can open a lock can hold it.
func TestLockIsForItsOwnerAlone(t *testing.T) {
	ownLockDir(t)
	unlock, err := Lock(within(t), "it", "testing", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if i, err := os.Stat(filepath.Join(LockDir, "it.lock")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
}
