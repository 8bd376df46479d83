package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// TestMain lets scripts run labctl as it is, on libvirt's test driver: as root
// for all it can tell, with its locks in the script's folder, or as a user.
func TestMain(m *testing.M) {
	as := func(id int) func() {
		return func() {
			euid = func() int { return id }
			host.LockDir = filepath.Join(os.Getenv("WORK"), "locks")
			main()
		}
	}
	testscript.Main(leakless{m}, map[string]func(){"labctl": as(0), "labctl-as-user": as(1000)})
}

// leakless are the tests, with their goroutines looked for at the end.
type leakless struct{ *testing.M }

func (l leakless) Run() int { return hosttest.NoLeaks(l.M) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
		Setup: func(e *testscript.Env) error {
			node := filepath.Join(e.WorkDir, "node.xml")
			e.Setenv("LABCTL_CONNECT", "test://"+node)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or each labctl ends a second late
			e.Setenv("LABCTL_DIR", filepath.Join(e.WorkDir, "dir"))
			return os.WriteFile(node, []byte("<node/>"), 0o600)
		},
	})
}

// exits runs a command which must end with a code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit status %d, want %d", code, want)
	}
}
