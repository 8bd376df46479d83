package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"libvirt.org/go/libvirtxml"
)

// What labs use of libvirt and QEMU came with these versions, as libvirt numbers
// them: 1000000 × major + 1000 × minor + release.
const (
	withNetworkMetadata = 2001000 // libvirt: <metadata> on networks
	withTBCache         = 8000000 // libvirt: <tb-cache> of TCG
	withFUSEExport      = 6000000 // QEMU: qemu-storage-daemon --export fuse
)

// Version writes a version number of libvirt's or QEMU's, "9.0.0".
func Version(v uint32) string { return fmt.Sprintf("%d.%d.%d", v/1000000, v/1000%1000, v%1000) }

// ConnectWithin is Connect for who would rather know that libvirt hangs. The
// Host can be asked for what needs no libvirt also where there is an error.
func ConnectWithin(ctx context.Context, uri, dir string, patience time.Duration) (*Host, error) {
	type answer struct {
		h   *Host
		err error
	}
	answers := make(chan answer, 1)
	go func() { // a call of libvirt's cannot be interrupted: one that hangs is left behind
		h, err := Connect(uri, dir)
		answers <- answer{h, err}
	}()
	var err error
	select {
	case a := <-answers:
		if a.err == nil {
			return a.h, nil
		}
		err = a.err
	case <-time.After(patience):
		err = Unfit{
			What: fmt.Sprintf("libvirt at %s has not answered for %s", uri, patience),
			Fix:  "systemctl restart libvirtd (machines go on meanwhile)",
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return &Host{Dir: dir, fake: isFake(uri), silent: err}, err
}

// Silent is why libvirt does not answer; nil where it does. Of a silent host no more
// can be told than doctor does: nothing that is libvirt's may be asked or changed.
func (h *Host) Silent() error { return h.silent }

func seesLibvirt(_ context.Context, h *Host, _ Needs) Check {
	c := Check{Name: "libvirt", Found: "does not answer"}
	const why = "it keeps a lab's networks and runs its machines: without it nothing can be made, looked at or taken down"
	var unfit Unfit
	if errors.As(h.silent, &unfit) {
		c.Fault(unfit.What, why, unfit.Fix)
		return c
	}
	if h.silent != nil {
		c.Fault(h.silent.Error(), why, "systemctl start libvirtd")
		return c
	}
	v, err := h.GetLibVersion()
	if err != nil {
		return Unseen(c.Name, err)
	}
	uri, err := h.GetURI()
	if err != nil {
		return Unseen(c.Name, err)
	}
	c.Found = Version(v) + " at " + uri
	if !h.Fake() {
		c.oldLibvirt(v)
	}
	return c
}

const fixOld = "upgrade the distribution, or install both from its backports: apt-get install -t $(lsb_release -sc)-backports libvirt-daemon-system qemu-system-x86"

func (c *Check) oldLibvirt(v uint32) {
	switch {
	case v < withNetworkMetadata:
		c.Fault(fmt.Sprintf("libvirt %s drops <metadata> of networks, which came with %s", Version(v), Version(withNetworkMetadata)),
			"a lab's mark stands there: labctl could not tell its own networks from others, nor take them down", fixOld)
	case v < withTBCache:
		c.Warn(fmt.Sprintf("libvirt %s passes over <tb-cache>, which came with %s", Version(v), Version(withTBCache)),
			"without it QEMU's translated code takes 0.4 to 1.4 GiB beside a machine's own memory, where there is no KVM", fixOld)
	}
}

func seesQEMU(ctx context.Context, h *Host, _ Needs) Check {
	c := Check{Name: "qemu"}
	if h.Fake() {
		c.Found = "not looked at: libvirt's test driver runs none"
		return c
	}
	if h.silent == nil {
		v, err := h.GetVersion()
		if err != nil {
			return Unseen(c.Name, err)
		}
		c.Found = Version(v) + ", "
		c.offersMachines(h.GetDomainCapabilities("", "x86_64", "pc", "qemu", 0))
		c.oldQEMU(v)
	}
	help, err := run(ctx, "qemu-storage-daemon", "--help")
	c.exportsDisks(help, err, h.there("dev/fuse"))
	return c
}

func (c *Check) oldQEMU(v uint32) {
	if v < withFUSEExport {
		c.Fault(fmt.Sprintf("QEMU %s has no FUSE export, which came with %s", Version(v), Version(withFUSEExport)), whyExport, fixOld)
	}
}

// exportsDisks judges what qemu-storage-daemon says of itself.
func (c *Check) exportsDisks(help string, err error, fuse bool) {
	switch {
	case err != nil:
		c.Fault("qemu-storage-daemon does not run: "+err.Error(), whyExport, "apt-get install qemu-system-common qemu-utils")
	case !strings.Contains(help, "fuse"):
		c.Fault("this qemu-storage-daemon was built without FUSE export", whyExport, "install a QEMU that has it: apt-get install qemu-system-common (Fedora: dnf install qemu-img)")
	case !fuse:
		c.Fault("there is no /dev/fuse", whyExport, "modprobe fuse")
	default:
		c.Found += "exports disks by FUSE"
	}
}

const whyExport = "a node's names, addresses and keys are written through it into its disk before the first boot"

// offersMachines judges libvirt's answer to whether it has machines as labs have them, with
// a channel for the guest agent. Whether KVM runs them is a check of its own.
func (c *Check) offersMachines(text string, err error) {
	const fix = "apt-get install qemu-system-x86 (Fedora: dnf install qemu-kvm), then systemctl restart libvirtd"
	if err != nil {
		c.Fault("libvirt offers no x86_64 machine of type pc: "+err.Error(), "every node is one", fix)
		return
	}
	var caps libvirtxml.DomainCaps
	if err := caps.Unmarshal(text); err != nil {
		c.Fault("libvirt's description of its machines cannot be read: "+err.Error(), "every node is one", fix)
		return
	}
	if caps.Devices != nil && caps.Devices.Channel != nil && caps.Devices.Channel.Supported == "no" { // older ones do not tell
		c.Fault("libvirt offers no channel for the guest agent", "labctl speaks with its nodes through it: none would ever be ready", fix)
	}
}

// run is what a program says; it may take a while where the machine is slow, not for ever.
func run(ctx context.Context, name string, args ...string) (string, error) {
	path, err := Tool(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	return string(out), err
}
