package hosttest

import (
	"os"
	"testing"
)

// machinesFile is the variable that names the file in which started machines are noted, "" where they are not: a private
// host's libvirt notes its own.
const machinesFile = "LABCTL_TEST_MACHINES"

// NoteMachine notes a machine that a test starts without libvirt: a line "start", and one "restore" where it resumes.
func NoteMachine(t testing.TB, lines string) {
	t.Helper()
	path := os.Getenv(machinesFile)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(lines)
		_ = f.Close()
	}
	if err != nil {
		t.Error(err)
	}
}
