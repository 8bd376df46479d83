package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// helperProfile confines what libvirt looks at disks with.
const helperProfile = "etc/apparmor.d/usr.lib.libvirt.virt-aa-helper"

// seesConfinement looks whether AppArmor or SELinux keep QEMU from labctl's folder.
func seesConfinement(_ context.Context, h *Host, _ Needs) Check {
	c := Check{Name: "confinement", Found: "neither AppArmor nor SELinux is enforced"}
	if h.told("sys/module/apparmor/parameters/enabled") == "Y" {
		c.Found = "AppArmor is on"
		if h.Setting("etc/libvirt/qemu.conf", "security_driver") != "none" {
			c.profiled(h.Dir, h.told(helperProfile), h.told("etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper"), h.there("etc/apparmor.d/libvirt/TEMPLATE.qemu"))
		}
	}
	if h.told("sys/fs/selinux/enforce") == "1" {
		c.Found = "SELinux is enforcing"
		label, err := h.label(h.Dir)
		if err != nil {
			return Unseen(c.Name, err)
		}
		c.labelled(h.Dir, label)
	}
	return c
}

// profiled judges AppArmor's profile of libvirt's helper, which must be able to
// read a disk to write the machine's own profile.
func (c *Check) profiled(dir, profile, local string, template bool) {
	const why = "libvirt writes a profile for each machine by it: without one, or where it cannot read the disk, no machine starts"
	switch {
	case profile == "" || !template:
		c.Fault("AppArmor is on, and libvirt's profiles are not in /etc/apparmor.d", why,
			"apt-get install --reinstall libvirt-daemon-system && systemctl restart apparmor libvirtd")
	case !mayRead(profile+"\n"+local, filepath.Join(dir, "labs/lab/node.qcow2")):
		c.Fault("AppArmor keeps libvirt's virt-aa-helper from disks in "+dir, why, fmt.Sprintf(
			"echo '  %s/** r,' >> /etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper && apparmor_parser -r /%s", dir, helperProfile))
	}
}

// mayRead says whether a profile's rules let a file be read. Hidden folders of homes are denied before all else.
func mayRead(profile, path string) bool {
	allowed := false
	for line := range strings.Lines(profile) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		denies := strings.Contains(line, "deny ")
		i := strings.IndexAny(line, "/@")
		if i < 0 || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "profile ") || strings.HasPrefix(line, "include") {
			continue
		}
		pattern, modes, ok := strings.Cut(line[i:], " ")
		if !ok || !strings.Contains(modes, "r") || !globs(pattern, path) {
			continue
		}
		if denies {
			return false
		}
		allowed = true
	}
	return allowed
}

// globs says whether a path is one of those that a pattern of AppArmor's names.
func globs(pattern, path string) bool {
	var b strings.Builder
	pattern = strings.ReplaceAll(pattern, "@{HOME}", "{/home/*,/root}")
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch ch := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case ch == '*':
			b.WriteString("[^/]*")
		case ch == '?':
			b.WriteString("[^/]")
		case ch == '{':
			b.WriteString("(?:")
			depth++
		case ch == '}':
			b.WriteString(")")
			depth--
		case ch == ',' && depth > 0:
			b.WriteString("|")
		case ch == '[' || ch == ']' || ch == '-':
			b.WriteByte(ch)
		default:
			b.WriteString(regexp.QuoteMeta(string(ch)))
		}
	}
	re, err := regexp.Compile("^" + b.String() + "$")
	return err == nil && re.MatchString(path)
}

// types of SELinux that machines' files are commonly in.
var types = []string{"virt_image_t", "virt_content_t", "virt_var_lib_t", "svirt_image_t", "virt_home_t"}

// labelled judges the SELinux label of labctl's folder, user:role:type:level.
func (c *Check) labelled(dir, label string) {
	parts := strings.Split(label, ":")
	if len(parts) >= 3 && slices.Contains(types, parts[2]) {
		return
	}
	c.Warn(fmt.Sprintf("SELinux is enforcing, and %s is labelled %q, not virt_image_t", dir, label),
		"libvirt relabels the disks, not the folders they are in: where the policy keeps QEMU (svirt_t) from such folders, no machine starts",
		fmt.Sprintf("semanage fcontext -a -t virt_image_t '%[1]s(/.*)?' && mkdir -p %[1]s && restorecon -R %[1]s", dir))
}

// label is the SELinux label of a folder, or of the one that it will be made in.
func (h *Host) label(dir string) (string, error) {
	buffer := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(h.path(dir), "security.selinux", buffer)
		switch {
		case err == nil:
			return strings.TrimRight(string(buffer[:n]), "\x00"), nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
			return "", nil
		case !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir):
			return "", fmt.Errorf("SELinux label of %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}
