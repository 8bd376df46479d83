//go:build e2e

package images

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// bootTime is the deadline of what takes seconds on an idle machine, and a minute or two where it boots a whole system.
const bootTime = 15 * time.Minute

// atOnce is the deadline of a machine that gives up at once, and powers off.
const atOnce = 5 * time.Minute

// cached is the base image of a recipe in the machine's own cache.
func cached(t testing.TB, recipe string) Base {
	t.Helper()
	b, err := Open(t.Context(), filepath.Join(host.DefaultDir, "images"), builtIn(t, recipe))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// guestMachine is a node that runs under QEMU alone, with no way out.
type guestMachine struct {
	t      testing.TB
	agent  net.Conn
	lines  *bufio.Reader
	serial string
	again  func() // starts it anew, from nothing but its disk
}

// boot starts a node on the base; netdevs are QEMU's far ends of its NICs.
func boot(t testing.TB, l topology.Lab, n topology.Node, k Keys, b Base, netdevs ...string) *guestMachine {
	t.Helper()
	dir := t.TempDir()
	d := Disk{
		Node: n.Name, Path: filepath.Join(dir, "disk.qcow2"), Base: b, Bytes: n.DiskBytes,
		Files: func() ([]File, error) { return filesFor(l, n, k, b) },
	}
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return launch(t, n, netdevs, append(loader(t, b), "-drive", "if=virtio,format=qcow2,file="+d.Path)...)
}

// launch starts a node's machine; more are QEMU's arguments that say what it boots from.
func launch(t testing.TB, n topology.Node, netdevs []string, more ...string) *guestMachine {
	t.Helper()
	dir := t.TempDir()
	socket, serial := filepath.Join(dir, "agent"), filepath.Join(dir, "serial")
	args := append([]string{
		"-accel", "tcg,thread=multi,tb-size=64", "-M", "pc", "-m", fmt.Sprint(n.MemoryMiB), "-nodefaults", "-display", "none",
		"-serial", "file:" + serial, "-device", "virtio-rng-pci",
		"-device", "virtio-serial", "-chardev", "socket,id=agent,server=on,wait=off,path=" + socket,
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}, more...)
	for i, c := range n.NICs {
		model := "virtio-net-pci"
		if c.Kind != topology.KindVirtio {
			model = "e1000e" // to the guest as good as a real one
		}
		args = append(args, "-netdev", fmt.Sprintf("%s,id=n%d", netdevs[i], i),
			"-device", fmt.Sprintf("%s,romfile=,netdev=n%d,mac=%s", model, i, c.MAC))
	}
	m := &guestMachine{t: t, serial: serial}
	var qemu *exec.Cmd
	start := func() {
		hosttest.NoteMachine(t, "start\n")
		qemu = exec.CommandContext(context.WithoutCancel(t.Context()), "qemu-system-x86_64", args...)
		if err := qemu.Start(); err != nil {
			t.Fatal(err)
		}
		m.wait("QEMU listens", func() bool {
			c, err := net.Dial("unix", socket)
			if err != nil {
				return false
			}
			m.agent, m.lines = c, bufio.NewReader(c)
			return true
		})
	}
	stop := func() {
		_ = qemu.Process.Kill()
		_ = qemu.Wait()
		if m.agent != nil {
			_ = m.agent.Close()
		}
	}
	t.Cleanup(func() {
		if qemu.Process != nil {
			stop()
		}
		if t.Failed() {
			text, _ := os.ReadFile(serial)
			t.Logf("%s's console: %s", n.Name, text)
		}
	})
	m.again = func() {
		t.Logf("%s's kernel gave up over its timer, and is started anew", n.Name)
		stop()
		for _, of := range []string{socket, serial} { // or they are taken for the new one's
			if err := os.Remove(of); err != nil {
				t.Fatal(err)
			}
		}
		start()
	}
	start()
	return m
}

// filesFor are those that a node on the base gets.
func filesFor(l topology.Lab, n topology.Node, k Keys, b Base) ([]File, error) {
	own, err := GuestFiles(l, n, k, b.Guest)
	if err != nil || b.Source == "" {
		return own, err
	}
	ready, err := ReadyFiles(b.Guest)
	return append(ready, own...), err
}

// noTimerCheck has a kernel not give up over the timer of an emulated machine whose host is busy, as labctl does.
const noTimerCheck = " no_timer_check"

// gaveUp is what a kernel says that was not told so, since a ready image starts it.
const gaveUp = "IO-APIC + timer doesn't work"

// loader is how QEMU starts a machine on the base.
func loader(t testing.TB, b Base) []string {
	t.Helper()
	switch b.Boot {
	case BootBIOS:
		return nil
	case BootUEFI:
		variables := filepath.Join(t.TempDir(), "nvram")
		text, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
		if err == nil {
			err = os.WriteFile(variables, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return []string{
			"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,file=" + variables,
		}
	default:
		return []string{"-kernel", b.KernelPath(), "-initrd", b.InitrdPath(), "-append", b.CommandLine + noTimerCheck}
	}
}

func (m *guestMachine) wait(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(bootTime); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("%s: not in %v", what, bootTime)
		}
	}
}

// sync waits until the agent answers.
func (m *guestMachine) sync() {
	m.t.Helper()
	id := 0
	m.wait("the agent answers", func() bool {
		if text, err := os.ReadFile(m.serial); err == nil && strings.Contains(string(text), gaveUp) {
			m.again()
		}
		id++
		_ = m.agent.SetDeadline(time.Now().Add(time.Duration(min(id, 10)) * time.Second)) // a busy host's guests answer late
		fmt.Fprintf(m.agent, "\xff{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%d}}\n", id)
		for {
			line, err := m.lines.ReadString('\n')
			if err != nil {
				return false
			}
			if strings.Contains(line, fmt.Sprintf(`"return": %d}`, id)) {
				return true
			}
		}
	})
}

// call runs one of the agent's commands.
func (m *guestMachine) call(command string, args, answer any) {
	m.t.Helper()
	_ = m.agent.SetDeadline(time.Now().Add(bootTime))
	if err := json.NewEncoder(m.agent).Encode(map[string]any{"execute": command, "arguments": args}); err != nil {
		m.t.Fatal(err)
	}
	line, err := m.lines.ReadString('\n')
	if err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	var a struct{ Return, Error json.RawMessage }
	if err := json.Unmarshal([]byte(line), &a); err != nil || a.Error != nil {
		m.t.Fatalf("%s: %s", command, line)
	}
	if err := json.Unmarshal(a.Return, answer); err != nil {
		m.t.Fatal(err)
	}
}

// sh runs a script and returns what it prints on either output.
func (m *guestMachine) sh(script string) string {
	m.t.Helper()
	var started struct{ PID int }
	m.call("guest-exec", map[string]any{"path": "/bin/sh", "arg": []string{"-c", "exec 2>&1; " + script}, "capture-output": true}, &started)
	var s struct {
		Exited bool
		Out    string `json:"out-data"`
	}
	m.wait(script, func() bool {
		m.call("guest-exec-status", map[string]any{"pid": started.PID}, &s)
		return s.Exited
	})
	out, err := base64.StdEncoding.DecodeString(s.Out)
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// restart has a node boot again from inside. What the script prints is not waited for: the agent may be
// ended before it tells.
func (m *guestMachine) restart(script string) {
	m.t.Helper()
	args := map[string]any{"path": "/bin/sh", "arg": []string{"-c", script}}
	if err := json.NewEncoder(m.agent).Encode(map[string]any{"execute": "guest-exec", "arguments": args}); err != nil {
		m.t.Fatal(err)
	}
	m.wait("it restarts", func() bool {
		text, err := os.ReadFile(m.serial)
		return err == nil && strings.Contains(string(text), "reboot: Restarting system")
	})
}

// ready waits until the node is up and says what is wrong with it.
func (m *guestMachine) ready() {
	m.t.Helper()
	m.sync()
	if got := m.sh("systemctl is-system-running --wait"); got != "running" {
		m.t.Errorf("the system is %s:\n%s", got, m.sh("systemctl --failed; journalctl -p warning --no-pager"))
	}
}

// prints compares what a script prints.
func (m *guestMachine) prints(script, want string) {
	m.t.Helper()
	if got := m.sh(script); got != want {
		m.t.Errorf("%s\n got: %s\nwant: %s", script, got, want)
	}
}

// qemuToItsEnd runs a machine until it powers off, and returns its console.
func qemuToItsEnd(t *testing.T, b Base, args ...string) (string, error) {
	t.Helper()
	serial := filepath.Join(t.TempDir(), "serial")
	ctx, cancel := context.WithTimeout(t.Context(), atOnce)
	defer cancel()
	hosttest.NoteMachine(t, "start\n")
	err := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-M", "pc", "-m", "256", "-nodefaults", "-display", "none", "-serial", "file:" + serial,
		"-kernel", b.KernelPath(), "-initrd", b.InitrdPath(), "-append", b.CommandLine + noTimerCheck,
	}, args...)...).Run()
	text, readErr := os.ReadFile(serial)
	return string(text), errors.Join(err, readErr)
}
