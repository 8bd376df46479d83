//go:build e2e

package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
)

func everyWayToANode(t *testing.T) {
	for _, n := range []string{"iperf-client", "iperf-server"} {
		if got := strings.TrimSpace(mustReach(t, "ssh", "tshark", "--", "ssh", n, "hostname")); got != n {
			t.Errorf("ssh from tshark to %s reaches %q", n, got)
		}
	}
	for _, n := range nodes {
		if got := strings.TrimSpace(mustReach(t, "ssh", n, "hostname")); got != n {
			t.Errorf("ssh to %s reaches %q", n, got)
		}
	}
	reached(t, "ssh", "tshark", "--", "exit 7").check(t, 7)
	// a host key that was not prepared is never taken on trust
	reached(t, "ssh", "tshark", "--", "ssh -o BatchMode=yes influxdb true").check(t, 255, "verification failed")

	r := labctl(t, "exec", "tshark", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
	if r.check(t, 3); r.out != "out\n" || r.err != "err\n" {
		t.Errorf("exec printed %q and %q", r.out, r.err)
	}
	labctl(t, "exec", "nobody", "--", "true").check(t, 1, `no node "nobody"`, "iperf-client, iperf-server, tshark, influxdb")

	there := write(t, "there.txt", "both ways\n")
	back := filepath.Join(t.TempDir(), "back.txt")
	mustReach(t, "cp", there, "influxdb:/root/there.txt")
	mustReach(t, "cp", "influxdb:/root/there.txt", back)
	if text, err := os.ReadFile(back); err != nil || string(text) != "both ways\n" {
		t.Errorf("a file came back as %q, %v", text, err)
	}
	keysAreRoots(t)
	consoleLogsIn(t)
}

func keysAreRoots(t *testing.T) {
	keys := 0
	err := filepath.WalkDir(host.DefaultDir+"/labs/trafic/keys", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, i.Mode())
		}
		keys++
		return err
	})
	if err != nil || keys < 6 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

// consoleLogsIn types at a node's console and reads what comes. It types again until that does: what comes before the shell may
// be lost.
func consoleLogsIn(t *testing.T) {
	cmd := command(t, "console", "influxdb")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan bool)
	screen := &watched{each: func(screen string) bool {
		if !strings.Contains(screen, "con42sole") {
			return false
		}
		close(came)
		_, _ = io.WriteString(keys, "\x1d")
		return true
	}}
	cmd.Stdout = screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 30 {
			if _, err := io.WriteString(keys, "\recho con$((40+2))sole\r"); err != nil {
				return // the console has ended, which is told below
			}
			select {
			case <-came:
				return
			case <-time.After(10 * time.Second):
			}
		}
		_ = cmd.Process.Kill()
	}()
	if err := cmd.Wait(); err != nil || !strings.Contains(screen.String(), "con42sole") {
		t.Errorf("the console ends with %v and shows %q", err, screen.String())
	}
}
