package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// install unpacks and configures Debian with the recipe's packages in the new folder tree.
func install(ctx context.Context, tree string, r Recipe, o Options) error {
	// the files that mmdebstrap reads, beside the tree
	dir := filepath.Dir(tree)
	options := filepath.Join(dir, "apt.conf")
	if err := os.WriteFile(options, []byte(aptOptions(ctx)), 0o644); err != nil {
		return err
	}
	defer os.Remove(options)
	args := []string{
		"--quiet", "--mode=root", "--format=directory", "--variant=minbase",
		"--include=" + strings.Join(r.Packages, ","),
		"--aptopt=" + options,
		// the kernel's packages would make an initrd of 30 MB, which nothing boots
		`--setup-hook=mkdir -p "$1/etc/initramfs-tools"`,
		`--setup-hook=echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"`,
		"--dpkgopt=force-confold",
	}
	for _, pattern := range r.Exclude {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	args = append(args, r.Release, tree)
	sources := filepath.Join(dir, "host.sources")
	defer os.Remove(sources)
	if o.Mirror != "" {
		args = append(args, o.Mirror)
	} else if text := hostSources("/", r.Release); text != "" {
		if err := os.WriteFile(sources, []byte(text), 0o644); err != nil {
			return err
		}
		args = append(args, sources)
	}
	c, err := command(ctx, "mmdebstrap", args...)
	if err != nil {
		return err
	}
	// what it mounts and what its packages start goes with it, however it ends
	c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	_, err = finish(ctx, c)
	if exitCode(err) > 0 {
		return fmt.Errorf("%w\n  a build needs a Debian mirror: see whether apt-get update works on the host, or name one by --mirror", err)
	}
	return err
}

// customise makes the tree that the packages left into that of a lab's node.
func customise(root *os.Root, r Recipe) error {
	for _, step := range []func(*os.Root, Recipe) error{clean, addGuest, addRecipe, startOnly} {
		if err := step(root, r); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what belongs to one machine, or to this build.
func clean(root *os.Root, _ Recipe) error {
	keys, err := fs.Glob(root.FS(), "etc/ssh/ssh_host_*")
	if err != nil {
		return err
	}
	logs, err := fs.Glob(root.FS(), "var/log/*.log")
	if err != nil {
		return err
	}
	gone := append(slices.Concat(keys, logs), "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/hosts", "etc/resolv.conf")
	for _, p := range gone {
		if err := root.RemoveAll(p); err != nil {
			return err
		}
	}
	return errors.Join(
		root.WriteFile("etc/machine-id", nil, 0o444), // each node gets its own
		root.WriteFile("etc/resolv.conf", []byte("# a lab's names are in /etc/hosts\n"), 0o644),
	)
}

// startOnly makes the recipe's units start at boot and no other that packages
// brought: no timers, no daemons unasked.
func startOnly(root *os.Root, r Recipe) error {
	const units = "etc/systemd/system"
	wants, err := fs.Glob(root.FS(), units+"/*.wants")
	if err != nil {
		return err
	}
	for _, dir := range wants {
		if err := root.RemoveAll(dir); err != nil {
			return err
		}
	}
	wants, err = fs.Glob(root.FS(), "usr/lib/systemd/system/*.wants/*")
	if err != nil {
		return err
	}
	for _, want := range wants {
		if !slices.Contains(unwanted, path.Base(want)) {
			continue
		}
		hidden := path.Join(units, path.Base(path.Dir(want)), path.Base(want))
		if err := symlink(root, "/dev/null", hidden); err != nil {
			return err
		}
	}
	for _, generator := range unwantedGenerators {
		if err := symlink(root, "/dev/null", path.Join("etc/systemd/system-generators", generator)); err != nil {
			return err
		}
	}
	for _, unit := range slices.Concat(started, r.Start) {
		target := "multi-user.target"
		if strings.HasSuffix(unit, ".socket") {
			target = "sockets.target"
		}
		file, err := unitPath(root, unit)
		if err != nil {
			return err
		}
		if err := symlink(root, file, path.Join(units, target+".wants", unit)); err != nil {
			return err
		}
	}
	return nil
}

// addGuest lays the files of every base image into the tree.
func addGuest(root *os.Root, _ Recipe) error {
	return fs.WalkDir(guest, "guest/systemd", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := guest.ReadFile(p)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(text), "#!") {
			mode = 0o755
		}
		return writeFile(root, strings.TrimPrefix(p, "guest/systemd/"), text, mode)
	})
}

// addRecipe lays the recipe's own folders and files into the tree.
func addRecipe(root *os.Root, r Recipe) error {
	for _, dir := range r.Folders {
		if err := root.MkdirAll(relative(dir), 0o755); err != nil {
			return err
		}
	}
	for _, f := range r.Files {
		if err := writeFile(root, relative(f.Path), []byte(f.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// unitPath is the absolute path of a unit in the tree.
func unitPath(root *os.Root, unit string) (string, error) {
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system"} {
		if _, err := root.Lstat(path.Join(dir, unit)); err == nil {
			return "/" + path.Join(dir, unit), nil
		}
	}
	return "", fmt.Errorf("start %s: no package of the recipe has that unit", unit)
}

// relative is an absolute path of the guest as a path inside its tree.
func relative(p string) string { return strings.TrimPrefix(path.Clean(p), "/") }

func writeFile(root *os.Root, p string, text []byte, mode fs.FileMode) error {
	if err := root.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	if err := root.RemoveAll(p); err != nil { // a link would lead elsewhere
		return err
	}
	if err := root.WriteFile(p, text, mode); err != nil {
		return err
	}
	return root.Chmod(p, mode) // whatever the umask
}

func symlink(root *os.Root, target, p string) error {
	if err := root.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	if err := root.RemoveAll(p); err != nil {
		return err
	}
	return root.Symlink(target, p)
}
