package hosttest

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

//go:embed private-host
var script string

// inside names the test that this process was started for, in its private host.
const inside = "LABCTL_PRIVATE_HOST"

// Private runs test as root on a private KVM host: the test binary starts itself
// again inside, for t alone, and that run's verdict is t's. What t does before
// Private is done twice, outside and inside: call it first.
//
// Inside, qemu:///system is an empty libvirt, labctl's folder is empty but for
// the machine's base images, there is a loopback link and no other, and nothing
// outlives the test. The machine's own libvirt, links and firewall cannot be
// reached. Without root, libvirt or iproute2 the test fails and says what to do.
func Private(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		test(t)
		return
	}
	again(t, attempts{1, 0}, "bash", "-c", script, "private-host")
}

// hostDied is the exit status of a host that was not there to the end of its test.
const hostDied = 125

// attempts are how many hosts are tried for a test: one that dies or hangs under it has shown nothing.
type attempts struct {
	hosts int
	most  time.Duration // so long at the most is each waited for, but for the last; 0: for ever
}

// again runs this test binary for t alone by host, a command whose next arguments
// are a command to run inside; that run's verdict is t's.
func again(t *testing.T, left attempts, host ...string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ; ; left.hosts-- {
		ctx, cancel := t.Context(), func() {}
		if left.hosts > 1 && left.most > 0 {
			ctx, cancel = context.WithTimeout(ctx, left.most)
		}
		cmd := exec.CommandContext(ctx, host[0], slices.Concat(host[1:], []string{binary}, innerFlags(t))...)
		cmd.Env = append(os.Environ(), inside+"="+t.Name())
		// The host dies with the thread that starts it, and so with this process, however it ends.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := passes(cmd, t.Name(), t.Output())
		tooLong := errors.Is(ctx.Err(), context.DeadlineExceeded)
		cancel()
		var ended *exec.ExitError
		if left.hosts > 1 && (tooLong || errors.As(err, &ended) && ended.ExitCode() == hostDied) {
			t.Log("the host died or hung under the test: above are its last words; another one is tried")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// requirePrivate keeps what changes a host off the machine's own.
func requirePrivate(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Fatal("this changes the host: call it inside hosttest.Private")
	}
}

// innerFlags are the flags which make this test binary run t and nothing else.
func innerFlags(t *testing.T) []string {
	run := pattern(t.Name(), flag.Lookup("test.run").Value.String())
	flags := []string{"-test.v", "-test.count=1", "-test.paniconexit0", "-test.run=" + run}
	// The inner deadline comes first, the host's start on a busy machine included, so that it is the inner run that shows its goroutines.
	if end, ok := t.Deadline(); ok {
		left := time.Until(end)
		flags = append(flags, fmt.Sprintf("-test.timeout=%v", left-min(left/2, time.Minute)))
	}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") || slices.Contains([]string{"test.short", "test.parallel", "test.skip"}, f.Name) {
			flags = append(flags, "-"+f.Name+"="+f.Value.String())
		}
	})
	return append(flags, flag.Args()...)
}

// pattern selects the test of that name, and those of its subtests that -run asked for.
func pattern(name, run string) string {
	parts := strings.Split(name, "/")
	asked := strings.Split(run, "/")
	asked = asked[min(len(parts), len(asked)):]
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(append(parts, asked...), "/")
}

// passes runs a verbose test binary, copies what it says to out, line by line as
// it comes, and says why the test of that name did not pass.
func passes(cmd *exec.Cmd, name string, out io.Writer) error {
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	verdict := "none"
	isVerdict := regexp.MustCompile(`^ *--- ([A-Z]+): ` + regexp.QuoteMeta(name) + ` \(`)
	for lines := bufio.NewReader(pipe); err == nil; {
		var line string
		if line, err = lines.ReadString('\n'); line == "" {
			continue
		}
		// The bar keeps test runners from taking the inner verdicts for outer ones.
		_, _ = fmt.Fprintln(out, "| "+strings.TrimSuffix(line, "\n"))
		if m := isVerdict.FindStringSubmatch(line); m != nil {
			verdict = m[1]
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("on the private host: %w", err)
	}
	if verdict != "PASS" { // a run that was skipped, or selected no test, exits 0 as well
		return fmt.Errorf("on the private host: %s did not pass: verdict %s", name, verdict)
	}
	return nil
}
