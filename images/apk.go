package images

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// apkScript runs apk in namespaces of its own.
//
//go:embed apk.sh
var apkScript string

// apk is Alpine's package manager out of a minirootfs, installing into a tree.
type apk struct {
	root, tree   string // folders
	keys         map[string][]byte
	repositories []repository
}

// Where apk finds what we write for it, in the minirootfs.
const (
	apkKeys         = "etc/apk/keys"
	apkRepositories = "etc/apk/labctl.repositories"
)

// add installs what the recipe asks for, and looks whether it is all there: apk
// goes on after a package that it cannot install.
func (a apk) add(ctx context.Context, r Recipe) error {
	list, folders, err := a.list()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(a.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, key := range a.keys {
		if err := writeFile(root, filepath.Join(apkKeys, name), key, 0o644); err != nil {
			return err
		}
	}
	if err := writeFile(root, apkRepositories, []byte(list), 0o644); err != nil {
		return err
	}
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil { // apk resolves names as the host does
		if err := writeFile(root, "etc/resolv.conf", text, 0o644); err != nil {
			return err
		}
	}
	tree, err := os.OpenRoot(a.tree)
	if err != nil {
		return err
	}
	defer tree.Close()
	// the kernel's package would make an initramfs, which nothing boots
	if err := writeFile(tree, "etc/mkinitfs/mkinitfs.conf", []byte("disable_trigger=yes\n"), 0o644); err != nil {
		return err
	}
	said, err := a.run(ctx, folders, append([]string{"add"}, r.asked()...)...)
	if exitCode(err) >= 0 {
		return a.explain(said, err)
	}
	if err != nil {
		return err
	}
	installed, err := readInstalled(tree)
	if err != nil {
		return err
	}
	if err := installed.missing(r); err != nil {
		return a.explain(said, err)
	}
	return writeFile(tree, "etc/apk/world", []byte(strings.Join(slices.Sorted(slices.Values(r.Packages)), "\n")+"\n"), 0o644)
}

// list is the text of apk's list of repositories, and the folders among them as
// the script wants them.
func (a apk) list() (list, folders string, err error) {
	n := 0
	for _, r := range a.repositories {
		at := r.at
		if !isURL(at) {
			if _, err := os.Stat(filepath.Join(at, "x86_64", "APKINDEX.tar.gz")); err != nil {
				return "", "", fmt.Errorf("%s is no repository of packages: %w\n  a build needs an Alpine mirror: name one by --mirror, a URL or a local folder", at, err)
			}
			n++
			folders += at + "\n"
			at = fmt.Sprintf("/folders/%d", n)
		}
		if r.tag != "" {
			at = "@" + r.tag + " " + at
		}
		list += at + "\n"
	}
	return list, folders, nil
}

// run runs apk on the tree and returns what it said, also where it failed. It is
// root of a user namespace only, sees no process and no mount of the host's, and
// no network where it needs none. Signatures are checked, always.
func (a apk) run(ctx context.Context, folders string, args ...string) (string, error) {
	args = append([]string{
		"-c", apkScript, "apk.sh", a.root, a.tree, folders,
		"--root", "/target", "--initdb", "--arch", "x86_64", "--keys-dir", "/" + apkKeys,
		"--repositories-file", "/" + apkRepositories, "--no-cache", "--no-progress",
	}, args...)
	c, err := command(ctx, "sh", args...)
	if err != nil {
		return "", err
	}
	own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
	c.SysProcAttr.UidMappings, c.SysProcAttr.GidMappings = own, own
	c.SysProcAttr.GidMappingsEnableSetgroups = true
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	if !slices.ContainsFunc(a.repositories, func(r repository) bool { return isURL(r.at) }) {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	c.Env = append(os.Environ(), sourceDate())
	var said strings.Builder
	c.Stderr = &said
	out, err := finish(ctx, c)
	return out + said.String(), err
}

// repositoryWarning is what apk says of a repository before it goes on without it.
var repositoryWarning = regexp.MustCompile(`^WARNING: .*(opening|fetching|updating|gnoring) `)

// explain joins an error with apk's own, which stand anywhere in what it said.
func (a apk) explain(said string, err error) error {
	if strings.Contains(strings.ToLower(said), "no space left on device") {
		return fmt.Errorf("%s: %w", a.tree, syscall.ENOSPC)
	}
	var lines []string
	asking := false // its answer to "unable to select packages" goes over lines
	for line := range strings.Lines(said) {
		line = strings.ReplaceAll(strings.TrimRight(line, "\n"), "/folders/", "folder ")
		if strings.HasPrefix(line, "ERROR") || repositoryWarning.MatchString(line) || asking && strings.HasPrefix(line, " ") {
			asking = true
			lines = append(lines, line)
		} else {
			asking = false
		}
	}
	if exitCode(err) >= 0 {
		err = errors.New("apk failed")
		if len(lines) == 0 {
			err = errors.New("apk failed: " + lastLines(said, 4))
		}
	}
	var from []string
	for _, r := range a.repositories {
		from = append(from, r.at)
	}
	if len(lines) > 8 { // what follows from what stands first
		lines = append(lines[:8], "…")
	}
	if len(lines) > 0 {
		err = fmt.Errorf("%w:\n    %s", err, strings.Join(lines, "\n    "))
	}
	return fmt.Errorf("%w\n  packages came from %s; another mirror is named by --mirror, a URL or a local folder", err, strings.Join(from, " "))
}

// asked is what apk is asked for: the recipe's packages, and with a lock every
// package by its version.
func (r Recipe) asked() []string {
	if r.locked == nil {
		return r.Packages
	}
	tags := make(map[string]string)
	for _, p := range r.Packages {
		if name, tag, ok := strings.Cut(p, "@"); ok {
			tags[name] = "@" + tag
		}
	}
	var asked []string
	for _, name := range slices.Sorted(maps.Keys(r.locked)) {
		asked = append(asked, name+tags[name]+"="+r.locked[name])
	}
	return asked
}
