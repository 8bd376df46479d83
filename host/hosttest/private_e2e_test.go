//go:build e2e

package hosttest_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host/hosttest"
)

// verdicts builds testdata/verdicts, tests that end in every way.
func verdicts(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "verdicts.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "./testdata/verdicts").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestPrivateVerdicts(t *testing.T) {
	binary := verdicts(t)
	for _, test := range []struct {
		run   string
		flags []string
		pass  bool
		says  string
	}{
		{"TestPasses", nil, true, "| .* ran as [0-9]"},
		{"TestFails", nil, false, "| .* deliberate"},
		{"TestPanics", nil, false, "| panic: deliberate"},
		{"TestExits", nil, false, `| panic: unexpected call to os.Exit\(0\)`},
		{"TestSkips", nil, false, "TestSkips did not pass: verdict SKIP"},
		{"TestHangs", []string{"-test.timeout=100s"}, false, "| panic: test timed out after"},
		{"TestSubtests", nil, false, "| .* bad ran"},
		{"TestSubtests/good", nil, true, "| .* good ran"},
	} {
		t.Run(test.run, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binary, append(test.flags, "-test.v", "-test.run=^"+test.run+"$")...)
			out, err := cmd.CombinedOutput()
			if passed := err == nil; passed != test.pass || !regexp.MustCompile(strings.Replace(test.says, "|", `\|`, 1)).Match(out) {
				t.Errorf("passed: %v, want %v and %q:\n%s", passed, test.pass, test.says, out)
			}
		})
	}
}

func TestPrivateHostByHand(t *testing.T) {
	for _, test := range []struct {
		command string
		status  int
		says    string
	}{
		{"./private-host bash -c 'virsh uri; exit 7'", 7, "qemu:///system"},
		{"./private-host", 125, "a command is missing"},
		{"setpriv --reuid=65534 --clear-groups bash private-host true", 125, "needs root: run it with sudo"},
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", test.command)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != test.status || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", test.command, got, test.status, test.says, out)
		}
	}
}

func TestPrivateHost(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		if len(links) != 1 || links[0].Attrs().Flags&net.FlagLoopback == 0 {
			t.Errorf("links: %v, want the loopback alone", links)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.LinkIndex != 1 {
				t.Errorf("a way out: %v", r)
			}
		}
		for _, dir := range []string{"/var/lib/labctl", "/var/lib/libvirt/images", os.TempDir()} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "images" {
					t.Errorf("%s is not empty: %s", dir, e.Name())
				}
			}
		}
	})
}

// Two private hosts at once, each with a link of the same name.
func TestPrivateHostsDoNotMeet(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosttest.Private(t, func(t *testing.T) {
				before := hosttest.Baseline(t)
				hosttest.Foreign(t)
				if diff := hosttest.Diff(before, hosttest.Snapshot(t)); !strings.Contains(diff, "+ network labctl.foreign.lan") {
					t.Error(diff)
				}
			})
		})
	}
}

// Whatever becomes of a test, nothing of its private host is left.
func TestPrivateHostEndsWithItsTest(t *testing.T) {
	binary := verdicts(t)
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run=^TestHangs$")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var namespaces []string
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasSuffix(lines.Text(), "hanging"); {
		if _, ns, ok := strings.Cut(lines.Text(), "namespace "); ok {
			namespaces = append(namespaces, ns)
		}
	}
	if len(namespaces) != 3 || !inUse(t, namespaces) {
		t.Fatalf("namespaces %q: want three, in use", namespaces)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	for end := time.Now().Add(5 * time.Minute); inUse(t, namespaces); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("processes in %q outlive the test", namespaces)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "private-host") {
		t.Errorf("mounts of the private host outside it:\n%s", mounts)
	}
}

// inUse says whether any process is in one of the namespaces; the dead that nobody has waited for are in none.
func inUse(t *testing.T, namespaces []string) bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(links, func(link string) bool {
		ns, err := os.Readlink(link)
		return err == nil && slices.Contains(namespaces, ns) // a process may have ended meanwhile
	})
}
