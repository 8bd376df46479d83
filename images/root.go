package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// inspect finds out what is on the base's disk, and refuses what cannot be
// configured in the way that is asked for. mended says that it has changed the disk.
func (r Ready) inspect(ctx context.Context, b *Base) (mended bool, err error) {
	e, err := serve(ctx, b.Disk(), part{Bytes: b.DiskBytes})
	if err != nil {
		return false, err
	}
	mend, err := r.describe(ctx, b, e.Path)
	if err := errors.Join(err, e.Close()); err != nil || !mend {
		return false, err
	}
	return true, check(ctx, b.Disk(), *b.Root)
}

// describe fills in the manifest what the disk tells, and whether its root file
// system must be checked before it is written to.
func (r Ready) describe(ctx context.Context, b *Base, path string) (mend bool, err error) {
	disk, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer disk.Close()
	t, err := readTable(disk, b.DiskBytes)
	if err != nil {
		return false, err
	}
	if b.Boot, err = t.boots(); err != nil {
		return false, err
	}
	root, has, err := findRoot(ctx, path, b.Dir, candidates(disk, b.DiskBytes, t))
	if err != nil {
		return false, err
	}
	b.Root, b.Packages = &root, has.packages
	if err := r.suits(root, has); err != nil || root.FS != fsExt4 || r.Configure == ConfigureSeed {
		return false, err
	}
	return unclean(disk, root.Start)
}

// check repairs the file system of an image that was not shut down: what is
// written before its journal is replayed would be lost.
func check(ctx context.Context, disk string, root Partition) error {
	e, err := serve(ctx, disk, part{Start: root.Start, Bytes: root.Bytes, writable: true})
	if err != nil {
		return err
	}
	err = run(ctx, "e2fsck", "-fy", e.Path)
	if exitCode(err) == 1 { // it has mended something
		err = nil
	}
	return errors.Join(err, e.Close())
}

// contents is what of a root file system matters here.
type contents struct {
	os       string            // ID of /etc/os-release; "" where there is none
	like     []string          // and what it is like
	agent    bool              // the guest agent is there
	packages map[string]string // versions by name
}

var errNoRoot = errors.New("no root file system is found on it: ext4 with an /etc/os-release, xfs, btrfs or LVM")

// findRoot returns which of the partitions holds the root file system, and what is
// in it where it is ext4: of others it is not looked at. scratch is a folder for
// what passes between.
func findRoot(ctx context.Context, disk, scratch string, all []Partition) (Partition, contents, error) {
	for _, p := range all {
		if p.FS != fsExt4 {
			continue
		}
		c, err := readContents(ctx, fmt.Sprintf("%s?offset=%d", disk, p.Start), scratch)
		if err != nil {
			return Partition{}, contents{}, err
		}
		if c.os != "" {
			return p, c, nil
		}
	}
	for _, p := range all {
		if p.FS != fsExt4 {
			return p, contents{}, nil
		}
	}
	return Partition{}, contents{}, errNoRoot
}

// The files that tell what a system is, and how much of each is read at the most:
// an image may hold anything.
const (
	dpkgStatus = "/var/lib/dpkg/status"
	apkStatus  = "/lib/apk/db/installed"
	mostRead   = 64 << 20
)

var (
	releases = []string{"/etc/os-release", "/usr/lib/os-release"} // the first may be a link to the other
	agents   = []string{"/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"}
)

// readContents looks into an ext4 file system, named in debugfs's way.
func readContents(ctx context.Context, disk, scratch string) (contents, error) {
	all := slices.Concat(releases, agents, []string{dpkgStatus, apkStatus})
	out, err := debugfs(ctx, disk, "", "stat "+strings.Join(all, "\nstat ")+"\n")
	if err != nil {
		return contents{}, err
	}
	stats := answers(out)
	var script strings.Builder
	for i, p := range all {
		if readable(stats["stat "+p]) && !slices.Contains(agents, p) {
			fmt.Fprintf(&script, "dump %s %d.out\n", p, i)
		}
	}
	if _, err := debugfs(ctx, disk, scratch, script.String()); err != nil {
		return contents{}, err
	}
	var c contents
	read := make(map[string][]byte)
	for i, p := range all {
		file := filepath.Join(scratch, fmt.Sprintf("%d.out", i))
		if text, err := os.ReadFile(file); err == nil {
			read[p] = text
			if err := os.Remove(file); err != nil {
				return contents{}, err
			}
		}
	}
	for _, p := range releases {
		if c.os == "" {
			c.os, c.like = osReleaseIDs(string(read[p]))
		}
	}
	for _, p := range agents {
		c.agent = c.agent || strings.Contains(stats["stat "+p], "Inode:")
	}
	if c.packages = dpkgVersions(read[dpkgStatus]); len(c.packages) == 0 {
		c.packages = apkVersions(read[apkStatus])
	}
	return c, nil
}

var statSize = regexp.MustCompile(`Type: regular(?s:.*?)Size: (\d+)`)

// readable says that debugfs's stat is that of a regular file of a size that is read.
func readable(stat string) bool {
	m := statSize.FindStringSubmatch(stat)
	if m == nil {
		return false
	}
	size, err := strconv.ParseInt(m[1], 10, 64)
	return err == nil && size <= mostRead
}

// osReleaseIDs is what an os-release file says that the system is, and is like.
func osReleaseIDs(text string) (id string, like []string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "ID_LIKE":
			like = strings.Fields(value)
		}
	}
	return id, like
}

// apkVersions reads the versions of what is installed out of apk's database.
func apkVersions(text []byte) map[string]string {
	versions := make(map[string]string)
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		var name, version string
		for line := range strings.Lines(stanza) {
			switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); {
			case key == "P" && name == "":
				name = value
			case key == "V" && version == "":
				version = value
			}
		}
		if name != "" {
			versions[name] = version
		}
	}
	return versions
}

// suits refuses an image that cannot be configured as it is asked for.
func (r Ready) suits(root Partition, c contents) error {
	if r.Configure == ConfigureDisk && root.FS != fsExt4 {
		return fmt.Errorf("its root file system is on %s, into which labctl writes no files before the first boot: only into ext4\n"+
			"  say guest: cloud-init if the image has cloud-init, or configure: agent if it starts a guest agent", root.FS)
	}
	if root.FS != fsExt4 {
		return nil // what is in it is not known
	}
	fits := map[string]bool{
		GuestDebian:    c.os == "debian" || slices.Contains(c.like, "debian"),
		GuestAlpine:    c.os == "alpine",
		GuestCloudInit: true,
	}
	if !fits[r.Guest] {
		return fmt.Errorf("its /etc/os-release says that it is %s, and the file says guest: %s\n"+
			"  say what it is: guest: debian (or Ubuntu, or what is made of them), alpine or cloud-init", c.os, r.Guest)
	}
	if !c.agent && r.Configure != ConfigureSeed {
		return errors.New("it has no guest agent (qemu-ga), without which labctl cannot look into its nodes\n" +
			"  install qemu-guest-agent in the image, or say guest: cloud-init: it installs the agent at the first boot where the node reaches packages")
	}
	return nil
}
