package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// startedByOpenRC are the services of every OpenRC node, by runlevel. Nothing is
// among them that looks for devices, checks disks, or loads what the initrd has.
var startedByOpenRC = map[string][]string{
	"sysinit":  {"labctl-mounts", "qemu-guest-agent"},
	"boot":     {"labctl-network"},
	"default":  nil,
	"shutdown": {"killprocs", "mount-ro"},
}

// cleanAlpine removes what belongs to one machine, or to this build.
func cleanAlpine(root *os.Root, _ Recipe) error {
	var gone []string
	for _, pattern := range []string{"etc/ssh/ssh_host_*", "var/log/*", "var/cache/apk/*", "etc/mkinitfs/*", "dev/*", "lib/apk/exec"} {
		found, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		gone = append(gone, found...)
	}
	for _, p := range append(gone, "etc/hostname", "etc/hosts") {
		if err := root.RemoveAll(p); err != nil {
			return err
		}
	}
	return writeFile(root, "etc/resolv.conf", []byte(noResolvers), 0o644)
}

// loginsAlpine makes root one who has bash, and logs in by key only.
func loginsAlpine(root *os.Root, _ Recipe) error {
	if _, err := root.Stat("bin/bash"); err != nil {
		return errors.New("a node needs bash: a recipe names it among its packages")
	}
	return errors.Join(
		editRoot(root, "etc/passwd", 6, "/bin/bash", 0o644),
		editRoot(root, "etc/shadow", 1, "*", 0o640),
	)
}

// editRoot changes a field of root's line in a file like passwd.
func editRoot(root *os.Root, file string, field int, to string, mode fs.FileMode) error {
	text, err := root.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if fields[0] == "root" && len(fields) > field {
			fields[field] = to
			lines[i] = strings.Join(fields, ":")
			return root.WriteFile(file, []byte(strings.Join(lines, "\n")), mode) // its group stays
		}
	}
	return fmt.Errorf("/%s knows no root", file)
}

// startOnlyOpenRC makes the recipe's services start at boot and no other that
// packages brought.
func startOnlyOpenRC(root *os.Root, r Recipe) error {
	levels, err := fs.Glob(root.FS(), "etc/runlevels/*/*")
	if err != nil {
		return err
	}
	for _, link := range levels {
		if err := root.RemoveAll(link); err != nil {
			return err
		}
	}
	for level, services := range startedByOpenRC {
		if level == "default" {
			services = r.Start
		}
		if err := root.MkdirAll(path.Join("etc/runlevels", level), 0o755); err != nil {
			return err
		}
		for _, s := range services {
			file := path.Join("etc/init.d", s)
			if _, err := root.Stat(file); err != nil {
				return fmt.Errorf("start %s: no package of the recipe has that service", s)
			}
			if err := symlink(root, "/"+file, path.Join("etc/runlevels", level, s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// serves are services of ours whose programs a recipe may leave out: where it
// does, so that no node can ask for them, their scripts go too.
var serves = map[string]string{"influxdb": "influxd"}

// dropIdle removes scripts of services whose program is not there.
func dropIdle(root *os.Root, _ Recipe) error {
	for service, program := range serves {
		found := false
		for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
			_, err := root.Stat(path.Join(dir, program))
			found = found || err == nil
		}
		if found {
			continue
		}
		if err := root.RemoveAll(path.Join("etc/init.d", service)); err != nil {
			return err
		}
	}
	return nil
}
