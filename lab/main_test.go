package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// insideKey says that the tests run in a network of their own already.
const insideKey = "LABCTL_TEST_INSIDE"

// TestMain runs the tests in a user and a network namespace of their own: they
// look at links and firewall tables as root does, and reach none but their own.
func TestMain(m *testing.M) {
	if os.Getenv(insideKey) != "" {
		os.Exit(hosttest.NoLeaks(m))
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideKey+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "a namespace for the tests:", err)
		os.Exit(1)
	}
}

// plainLab needs nothing of the kernel: libvirt's test driver can hold all of it.
const plainLab = `
name: plain
image: debian-slim
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
nodes:
  one: {nics: [{network: control, address: 10.9.1.10}]}
  two: {nics: [{network: control, address: 10.9.1.11}]}
`

// chosenLab leaves its subnets open.
const chosenLab = `
name: chosen
networks:
  control: {uplink: none}
  test: {sides: [a, b]}
nodes:
  one: {nics: [{network: control}, {network: test, side: a}]}
  two: {nics: [{network: control}, {network: test, side: b}]}
`

// newHost is a host on libvirt's test driver, with a folder for locks of its own.
func newHost(t *testing.T) *host.Host {
	t.Helper()
	before := host.LockDir
	host.LockDir = filepath.Join(t.TempDir(), "locks")
	t.Cleanup(func() { host.LockDir = before })
	return hosttest.New(t)
}

func loadFile(t testing.TB, text string) topology.File {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(text), topology.Known{Recipes: images.Recipes()})
	must(t, err)
	return f
}

func loadDefault(t testing.TB) topology.Lab {
	t.Helper()
	_, src := topology.Default()
	return decided(t, string(src))
}

func decided(t testing.TB, text string) topology.Lab {
	t.Helper()
	l, err := topology.Decide(loadFile(t, text), nil, topology.Chosen{})
	must(t, err)
	return l
}

func prepare(t *testing.T, h *host.Host, text string) Build {
	t.Helper()
	b, err := Prepare(h, loadFile(t, text), "lab.yaml")
	must(t, err)
	return b
}

// put makes all of a lab that libvirt's test driver can hold: its folder, its
// networks without sides, its machines.
func put(t *testing.T, b Build) {
	t.Helper()
	must(t, b.folder().Create(t.Context()))
	for _, s := range b.segments() {
		if !s.Network.Sided() {
			must(t, s.Create(t.Context()))
		}
	}
	for _, m := range b.Machines() {
		must(t, m.Create(t.Context()))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
