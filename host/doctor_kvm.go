package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	whySlow    = "machines run under TCG, QEMU's software emulation: some ten times slower, and their timing and throughput are not those of hardware"
	fixVirtual = "enable virtualisation in the firmware (in a virtual machine: nested virtualisation on its host), then modprobe kvm_intel or modprobe kvm_amd"
)

func kvmFound(h *Host, n Needs) string {
	ok, _, err := h.KVM()
	switch {
	case !n.KVM && !n.Auto:
		return "not wanted: the file asks for accel: tcg"
	case err != nil || !ok:
		return "cannot run guests here"
	}
	return "the processor has it, and libvirt offers it"
}

// slowly tells of a KVM that would be taken where there was one.
func slowly(c *Check, h *Host, n Needs) {
	if !n.Auto {
		return
	}
	if ok, why, err := h.KVM(); err != nil {
		c.Warn("whether KVM can run guests here is not known: "+err.Error(), whySlow, fixVirtual)
	} else if !ok {
		c.Warn("KVM cannot run guests here: "+why, whySlow, fixVirtual)
	}
}

// account is a user or a group of the host, by name and number, with what a user is in.
type account struct {
	name   string
	id     int
	groups []int
}

// node is a device file's owner and mode.
type node struct {
	mode     fs.FileMode
	uid, gid int
}

// seesCapabilityCache looks whether libvirt's QEMU may open a KVM that root may.
func seesCapabilityCache(_ context.Context, h *Host, _ Needs) Check {
	const device = "dev/kvm"
	c := Check{Name: "capability cache", Found: "there is no /dev/kvm"}
	i, err := os.Stat(h.path(device))
	if err != nil {
		return c
	}
	owner, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return c
	}
	kvm := node{i.Mode(), int(owner.Uid), int(owner.Gid)}
	user := h.qemuUser()
	c.Found = fmt.Sprintf("/dev/kvm is %s, QEMU's user is %s", kvm.mode.Perm(), user.name)
	if !kvm.opens(user) {
		c.Warn(fmt.Sprintf("/dev/kvm (mode %s) is not for %s, the user that libvirt runs QEMU as", kvm.mode.Perm(), user.name),
			"libvirtd finds KVM as root and misses it as that user, so it probes all of QEMU anew at every start of a machine: minutes where half a second would do",
			"chgrp kvm /dev/kvm && chmod 660 /dev/kvm && usermod -aG kvm "+user.name)
	}
	return c
}

// opens says whether a user may read and write the device.
func (n node) opens(u account) bool {
	const readWrite = 0o6
	mode := n.mode.Perm()
	switch {
	case u.id == 0:
		return true
	case n.uid == u.id:
		return mode>>6&readWrite == readWrite
	case slices.Contains(u.groups, n.gid):
		return mode>>3&readWrite == readWrite
	}
	return mode&readWrite == readWrite
}

// qemuUser is who libvirt runs QEMU as; root where none is told.
func (h *Host) qemuUser() account {
	passwd, group := h.told("etc/passwd"), h.told("etc/group")
	for _, name := range []string{h.Setting("etc/libvirt/qemu.conf", "user"), "libvirt-qemu", "qemu"} {
		if u, ok := findUser(strings.TrimPrefix(name, "+"), passwd, group); ok {
			return u
		}
	}
	return account{name: "root"}
}

// Setting is what one of libvirt's files sets, by its path without the leading
// slash; "" where it does not.
func (h *Host) Setting(file, key string) string { return setting(h.told(file), key) }

// setting is a value of one of libvirt's files; "" where it is not set.
func setting(text, key string) string {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}

// findUser is a user by its name or number, as /etc/passwd and /etc/group have it.
func findUser(name, passwd, group string) (account, bool) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || name == "" || f[0] != name && f[2] != name {
			continue
		}
		u := account{name: f[0], id: number(f[2]), groups: []int{number(f[3])}}
		for line := range strings.Lines(group) {
			g := strings.Split(strings.TrimSpace(line), ":")
			if len(g) == 4 && slices.Contains(strings.Split(g[3], ","), u.name) {
				u.groups = append(u.groups, number(g[2]))
			}
		}
		return u, true
	}
	return account{}, false
}

// number is -1 where text is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}
