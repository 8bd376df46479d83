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

// install installs the recipe's system with its packages in the new folder tree.
func install(ctx context.Context, tree string, r Recipe, o Options) error {
	if r.System == GuestAlpine {
		return installAlpine(ctx, tree, r, o)
	}
	return installDebian(ctx, tree, r, o)
}

// installDebian unpacks and configures Debian with the recipe's packages in the new folder tree.
func installDebian(ctx context.Context, tree string, r Recipe, o Options) error {
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
		// nor does a node that installs a kernel make an initrd, which nothing boots
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
	temp, err := privateTemp(tree)
	if err != nil {
		return err
	}
	// without INITRD the kernel's package makes one of 30 MB, which nothing boots
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "TMPDIR="+temp, "INITRD=No", sourceDate())
	// what it mounts and what its packages start goes with it, however it ends
	c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	_, err = finish(ctx, c)
	if exitCode(err) > 0 {
		return fmt.Errorf("%w\n  a build needs a Debian mirror: see whether apt-get update works on the host, or name one by --mirror", err)
	}
	if err != nil {
		return err
	}
	return clearSources(tree)
}

// clearSources takes from the tree the mirror that its packages came from, which is
// no part of the image: who installs in a node names one.
func clearSources(tree string) error {
	apt := filepath.Join(tree, "etc/apt")
	others, err := filepath.Glob(filepath.Join(apt, "sources.list.d/*"))
	for _, p := range others {
		err = errors.Join(err, os.Remove(p))
	}
	return errors.Join(err, os.WriteFile(filepath.Join(apt, "sources.list"), []byte("# deb MIRROR RELEASE main\n"), 0o644))
}

// customise makes the tree that the packages left into that of a lab's node, and
// returns what came into it from outside.
func customise(ctx context.Context, root *os.Root, r Recipe, tell func(string)) (map[string]Input, error) {
	before, start := []func(*os.Root, Recipe) error{clean, addGuest}, startOnly
	if r.System == GuestAlpine {
		before, start = []func(*os.Root, Recipe) error{cleanAlpine, loginsAlpine, addGuest, dropIdle}, startOnlyOpenRC
	}
	for _, step := range before {
		if err := step(root, r); err != nil {
			return nil, err
		}
	}
	added, err := addOptions(ctx, root, r, tell)
	if err != nil {
		return nil, err
	}
	return added, errors.Join(tidy(root), start(root, r))
}

// clean removes what belongs to one machine, or to this build.
func clean(root *os.Root, _ Recipe) error {
	keys, err := fs.Glob(root.FS(), "etc/ssh/ssh_host_*")
	if err != nil {
		return err
	}
	gone := append(keys, "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/hosts", "etc/resolv.conf")
	for _, p := range gone {
		if err := root.RemoveAll(p); err != nil {
			return err
		}
	}
	return errors.Join(
		root.WriteFile("etc/machine-id", nil, 0o444), // each node gets its own
		root.WriteFile("etc/resolv.conf", []byte(noResolvers), 0o644),
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

// addGuest lays the files of every base image of that system into the tree.
func addGuest(root *os.Root, r Recipe) error {
	files, err := treeFiles(r.guestTrees()...)
	for _, f := range files {
		err = errors.Join(err, writeFile(root, relative(f.Path), f.Data, f.Mode))
	}
	return err
}

// guestTrees are the folders of guest that base images of the recipe's system get.
func (r Recipe) guestTrees() []string {
	if r.System == GuestAlpine {
		return []string{"guest/common", "guest/openrc"}
	}
	return []string{"guest/common", "guest/systemd"}
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
