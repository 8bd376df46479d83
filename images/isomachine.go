package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"time"

	"github.com/mami-project/labctl/host"
)

// How long a machine may take, on a host without KVM.
var (
	loginTime = 5 * time.Minute // from its start to its login, and from that to a prompt; tests have less patience
	offTime   = 3 * time.Minute // to power off
)

// isoMachine is the machine in which an ISO installs itself.
type isoMachine struct {
	*console
	qemu *exec.Cmd
	stop context.CancelFunc
	gone chan struct{} // closed when QEMU has ended
	err  error         // of QEMU; read when it is gone
}

// startISOMachine starts a machine with that disk; from the ISO, unless it is "".
// It ends with ctx. Its network is QEMU's own, which reaches what the host reaches.
func startISOMachine(ctx context.Context, iso, disk string) (*isoMachine, error) {
	accel := []string{"-accel", "tcg"}
	if ok, err := host.KVMHere(); err != nil {
		return nil, err
	} else if ok {
		accel = []string{"-accel", "kvm", "-accel", "tcg"} // the first that works
	}
	args := append(accel,
		"-M", "pc", "-m", "1024", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "std",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci",
		"-drive", "if=virtio,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file="+escape(disk))
	if iso != "" {
		args = append(args, "-drive", "if=ide,media=cdrom,format=raw,readonly=on,file="+escape(iso), "-boot", "order=d")
	}
	ctx, stop := context.WithCancel(ctx)
	c, err := command(ctx, "qemu-system-x86_64", args...)
	if err != nil {
		stop()
		return nil, err
	}
	keys, err := c.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	var diag bytes.Buffer
	m := &isoMachine{console: newConsole(keys), qemu: c, stop: stop, gone: make(chan struct{})}
	c.Stdout, c.Stderr = m.console, &diag
	go func() {
		// the death signal comes when the thread that forked ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(m.gone)
		if err := c.Run(); err != nil {
			m.err = failed{"qemu-system-x86_64", err, host.Excerpt([]byte(lastLines(diag.String(), 4)))}
		}
		m.end(errors.Join(errPoweredOff, m.err))
	}()
	return m, nil
}

// errPoweredOff is how a machine ends by its own.
var errPoweredOff = errors.New("powered off, or restarted")

// kill ends the machine, whatever it does, and waits for its end.
func (m *isoMachine) kill() {
	m.stop()
	<-m.gone
}

// What a machine says when it wants to know who is there, and then.
var (
	loginPrompt = regexp.MustCompile(`login: `)
	shellPrompt = regexp.MustCompile(`[Pp]assword: |[Ll]ogin incorrect|# `)
)

// login logs in as root, who has no password.
func (m *isoMachine) login(ctx context.Context) error {
	if _, _, err := m.expect(ctx, "a login on the serial console", loginPrompt, loginTime); err != nil {
		return fmt.Errorf("%w\n  the ISO has to be Alpine's of the flavour \"virt\", which shows its login on the serial port", err)
	}
	const prompt = "root's prompt"
	if err := m.send(ctx, prompt, "root\n"); err != nil {
		return err
	}
	_, match, err := m.expect(ctx, prompt, shellPrompt, loginTime)
	if err != nil {
		return err
	}
	if match[0] != "# " {
		return fmt.Errorf("%w\n  the ISO has to be Alpine's own, whose root has no password", m.fault("root is not let in without a password", errStatus))
	}
	// messages of the kernel would stand among what commands print
	_, err = m.run(ctx, "quiet the kernel's messages", "dmesg -n 1", nil, loginTime)
	return err
}

// powerOff ends the machine in order, with all it wrote on its disk.
func (m *isoMachine) powerOff(ctx context.Context) error {
	if err := m.send(ctx, "it was told to power off", "poweroff\n"); err != nil {
		return err
	}
	off := time.NewTimer(offTime)
	defer off.Stop()
	select {
	case <-m.gone:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-off.C:
		return m.fault(fmt.Sprintf("waited %v for the machine to power off", offTime), context.DeadlineExceeded)
	}
}
