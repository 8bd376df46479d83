//go:build e2e || bench

// Package e2e proves labctl on real machines. Each test runs on a private KVM
// host of its own (host/hosttest), with the labctl binary as a user runs it.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// binary is where labctl is: built by whoever runs many tests, else by TestMain, for this process and those on private hosts.
const binary = "LABCTL_UNDER_TEST"

func TestMain(m *testing.M) {
	os.Setenv(stateLimit, "0") // tests that are not about ready states save none
	if os.Getenv(binary) != "" {
		os.Exit(m.Run())
	}
	os.Exit(withBinary(m.Run))
}

// stateLimit is the variable that says how much ready states may take.
const stateLimit = "LABCTL_STATE_LIMIT"

// closing is called when all has run.
var closing = func() {}

// withBinary builds labctl, with the race detector where the tests have it, and removes it afterwards.
func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "labctl-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "labctl")
	build := exec.Command("go", "build", "-race="+strconv.FormatBool(raced()), "-o", path, "../cmd/labctl")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	os.Setenv(binary, path)
	defer closing()
	return run()
}

// plain has a test run labctl without the race detector, where there is one: emulated machines that run machines are slow
// enough, and kills are tried at each system call.
func plain(t *testing.T) {
	t.Helper()
	path := os.Getenv(binary) + ".plain"
	if _, err := os.Stat(path); err == nil {
		t.Setenv(binary, path)
	}
}

// raced says whether the tests were built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// result is how a run of labctl ended.
type result struct {
	args     []string
	out, err string
	code     int
}

// command is labctl with those words, in an empty folder.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Getenv(binary), patient(args)...)
	cmd.Dir = t.TempDir()
	return cmd
}

// patient gives commands that give up after some minutes far longer than a slow machine needs, where a test says nothing of it.
func patient(args []string) []string {
	if len(args) == 0 || !slices.Contains([]string{"up", "down", "reset", "verify"}, args[0]) || slices.Contains(args, "--timeout") {
		return args
	}
	return slices.Insert(slices.Clone(args), 1, "--timeout", "30m")
}

// labctl runs labctl to its end.
func labctl(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, command(t, args...), nil)
}

// finish runs cmd; when it has told of what is interesting, meanwhile is called once.
func finish(t *testing.T, cmd *exec.Cmd, meanwhile func(stderr string) bool) result {
	t.Helper()
	var out, errs watched
	cmd.Stdout, cmd.Stderr = &out, &errs
	if meanwhile != nil {
		errs.each = meanwhile
	}
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	r := result{args: cmd.Args[1:], out: out.String(), err: errs.String(), code: cmd.ProcessState.ExitCode()}
	t.Logf("labctl %s: exit %d\n%s%s", strings.Join(r.args, " "), r.code, r.out, r.err)
	if strings.Contains(r.err, "DATA RACE") {
		t.Errorf("labctl %s has a data race", strings.Join(r.args, " "))
	}
	return r
}

// watched is a buffer that shows what it holds as it grows, until it has been of use.
type watched struct {
	held bytes.Buffer // not embedded: its ReadFrom would pass Write by
	each func(string) bool
}

func (w *watched) String() string { return w.held.String() }

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.held.Write(b)
	if w.each == nil {
		return n, err
	}
	over := make(chan bool)
	go func() { // or a test that it ends would leave the one who writes here for ever
		ended := true
		defer func() { over <- ended }()
		ended = w.each(w.String())
	}()
	if <-over {
		w.each = nil
	}
	return n, err
}

// must runs labctl and returns its stdout; anything but exit 0 is fatal.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := labctl(t, args...)
	if r.code != 0 {
		t.Fatalf("labctl %s: exit %d", strings.Join(args, " "), r.code)
	}
	return r.out
}

// upShared brings a lab up from the snapshot that tests share under that name, which is nearly all of the time that a boot
// takes. Where there is none that fits, the lab boots, and its snapshot is shared. It does so in make check; a run of all
// tests boots each lab.
func upShared(t *testing.T, name string, args ...string) result {
	t.Helper()
	args = append([]string{"up"}, args...)
	shares := os.Getenv("LABCTL_TEST_RESUME") != ""
	if shares {
		hosttest.TakeSnapshot(t, name)
		args = slices.Insert(args, 1, "--state-limit", "10GiB")
	}
	r := labctl(t, args...)
	if r.code != 0 {
		t.FailNow()
	}
	if shares {
		hosttest.ShareSnapshot(t, name)
	}
	return r
}

// fails runs labctl, which must end with code and say each of the texts on stderr.
func fails(t *testing.T, code int, says []string, args ...string) result {
	t.Helper()
	r := labctl(t, args...)
	r.check(t, code, says...)
	return r
}

func (r result) check(t *testing.T, code int, says ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("labctl %s: exit %d, want %d", strings.Join(r.args, " "), r.code, code)
	}
	for _, text := range says {
		if !strings.Contains(r.err, text) {
			t.Errorf("labctl %s does not say %q; it says:\n%s", strings.Join(r.args, " "), text, r.err)
		}
	}
}

// in runs a shell script in a node through its agent and returns what it printed, trimmed.
func in(t *testing.T, node, script string) string {
	t.Helper()
	return strings.TrimSpace(must(t, "exec", node, "--", "sh", "-c", script))
}

// status is the lab's status.
func status(t *testing.T, args ...string) lab.Status {
	t.Helper()
	r := labctl(t, append([]string{"status", "--json"}, args...)...)
	var s lab.Status
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		t.Fatalf("labctl status: %v", err)
	}
	return s
}

// write makes a file in a folder of the test's and returns its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// bootID tells boots of a machine apart.
const bootID = "cat /proc/sys/kernel/random/boot_id"

// virsh asks the host's libvirt.
const virsh = "virsh -c qemu:///system -q "

// sh runs a shell script on the private host and returns what it printed, trimmed.
func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("bash", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// trySh is whether a shell script on the private host succeeds.
func trySh(t *testing.T, script string) bool {
	t.Helper()
	out, err := exec.Command("bash", "-euc", script).CombinedOutput()
	t.Logf("%s: %v\n%s", script, err, out)
	return err == nil
}

// eventually waits for a condition, far longer than a slow machine needs.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	inTime(t, 5*time.Minute, what, holds)
}

// inTime is eventually for what takes long by itself.
func inTime(t *testing.T, most time.Duration, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not come that %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// untilSh runs a shell script on the private host until it succeeds, and returns what it printed, trimmed: a node that stands
// still for seconds answers nobody who asks just then.
func untilSh(t *testing.T, script string) string {
	t.Helper()
	var said []byte
	eventually(t, script+" succeeds", func() bool {
		before := string(said)
		var err error
		if said, err = exec.Command("bash", "-euc", script).CombinedOutput(); err != nil && string(said) != before {
			t.Logf("%s: %v\n%s", script, err, said)
		}
		return err == nil
	})
	return strings.TrimSpace(string(said))
}

// untilIn is that of a script in a node, which asks another one.
func untilIn(t *testing.T, node, script string) string {
	t.Helper()
	var r result
	eventually(t, script+" succeeds in "+node, func() bool {
		r = labctl(t, "exec", node, "--", "sh", "-c", script)
		return r.code == 0
	})
	return strings.TrimSpace(r.out)
}

// reached runs a command of labctl's that goes by ssh, again where ssh gave up a node before it was in it: nothing was done then.
func reached(t *testing.T, args ...string) result {
	t.Helper()
	var r result
	eventually(t, "ssh gets into the node", func() bool {
		r = labctl(t, args...)
		return r.code != 255 || !strings.Contains(r.err, "timed out") && !strings.Contains(r.err, "No route to host")
	})
	return r
}

// mustReach is must for such a command.
func mustReach(t *testing.T, args ...string) string {
	t.Helper()
	r := reached(t, args...)
	if r.code != 0 {
		t.Fatalf("labctl %s: exit %d", strings.Join(args, " "), r.code)
	}
	return r.out
}

// clean takes a Baseline and returns what checks that the host is as it was then.
func clean(t *testing.T) func() {
	t.Helper()
	before := hosttest.Baseline(t)
	return func() {
		t.Helper()
		if d := hosttest.Diff(before, hosttest.Snapshot(t)); d != "" {
			t.Errorf("the host is not as before:\n%s", d)
		}
	}
}

// small is a lab of two quick nodes, with the subnets left open.
const small = `
name: NAME
image: debian-slim
networks:
  control: {}
  test: {sides: [client, server]}
nodes:
  one:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: client}]
  two:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: server}]
`

// smallLab writes the small lab under a name.
func smallLab(t *testing.T, name string) string {
	t.Helper()
	return write(t, name+".yaml", strings.ReplaceAll(small, "NAME", name))
}
