package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// standIn is in labctl's place: it notes what it is called with, fails where it is to,
// and leaves what a run leaves.
const standIn = `#!/bin/bash
set -u
all=" $* "
case $1 in
up) lab=${4##*/} lab=${lab%.yaml} ;;
down) lab=${2#ci-} ;;
run) lab=${3#ci-} ;;
*) lab=both ;;
esac
hangs() { [ "$1 $lab" = "${HANGS:-}" ]; }
! hangs "$1" || trap 'echo "interrupted $lab" >>"$NOTES"; exit 130' TERM
echo "$1 $lab" >>"$NOTES"
! hangs "$1" || for _ in {1..10000}; do sleep 0.05; done
if [ "$1" = run ]; then
	dir=${all#* --runs } dir=${dir%% *}/ci-$lab-20261126T180000Z
	mkdir -p "$dir"
	rate=RATE_$lab
	printf 'flow,nth,failed,bps\nvoice,0,,64000\nbulk,0,,%s\n' "${!rate-2000000}" >"$dir/summary.csv"
fi
case " ${FAILS:-} " in *" $1-$lab="*) code=${FAILS#*"$1-$lab="}; exit "${code%% *}" ;; esac
`

// TestCIExample runs the script of the example for CI with a stand-in for labctl: it
// takes both labs down whatever happens, and its exit status tells what came of them.
func TestCIExample(t *testing.T) {
	brought, ran, gone := []string{"up direct", "up routed"}, []string{"run direct", "run routed", "report both"}, []string{"down direct", "down routed"}
	for name, test := range map[string]struct {
		env  []string
		code int
		did  []string
		says string
	}{
		"all is well":             {nil, 0, slices.Concat(brought, ran, gone), "2000000 bit/s direct, 2000000 bit/s by the router"},
		"the host is not fit":     {[]string{"FAILS=up-routed=4"}, 4, slices.Concat(brought, gone), ""},
		"a run is not trusted":    {[]string{"FAILS=run-direct=1"}, 1, slices.Concat(brought, ran, gone), ""},
		"a run is interrupted":    {[]string{"FAILS=run-routed=130"}, 130, slices.Concat(brought, ran, gone), ""},
		"a report cannot be made": {[]string{"FAILS=report-both=1"}, 1, slices.Concat(brought, ran, gone), ""},
		"the router is slow":      {[]string{"RATE_routed=1500000"}, 1, slices.Concat(brought, ran, gone), "more than 20 %"},
		"there is no throughput":  {[]string{"RATE_routed="}, 1, slices.Concat(brought, ran, gone), ""},
		"a lab does not go":       {[]string{"FAILS=down-direct=1"}, 1, slices.Concat(brought, ran, gone), ""},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, did := ciScript(t, test.env...)
			out, err := cmd.CombinedOutput()
			if err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.says) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, test.code, test.says, out)
			}
			got := did()
			slices.Sort(got[:2]) // at once
			if d := cmp.Diff(test.did, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestCIExampleIsEnded ends the script while the labs come up: what it started is
// interrupted, and both labs are taken down.
func TestCIExampleIsEnded(t *testing.T) {
	cmd, did := ciScript(t, "HANGS=up routed")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Minute); len(did()) < 2; time.Sleep(10 * time.Millisecond) { // both
		if time.Now().After(end) {
			t.Fatal("no lab came up")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	got := did()
	slices.Sort(got[:2])
	if code := cmd.ProcessState.ExitCode(); code != 130 || !slices.Equal(got, []string{"up direct", "up routed", "interrupted routed", "down direct", "down routed"}) {
		t.Errorf("exit %d after %q", code, got)
	}
}

// ciScript is the script with the stand-in on PATH, and what that has been called with.
func ciScript(t *testing.T, env ...string) (cmd *exec.Cmd, did func() []string) {
	t.Helper()
	script, err := filepath.Abs("../../examples/ci/run")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "labctl"), []byte(standIn), 0o755); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(dir, "notes")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, script, filepath.Join(dir, "results"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "NOTES="+notes, "PATH="+dir+":"+os.Getenv("PATH"))...)
	return cmd, func() []string {
		text, _ := os.ReadFile(notes) // none yet
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}
