package images

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// modules are those that a machine needs before its disk is there, and the
// other virtio devices of a lab's machines: loaded here, none waits for udev.
var modules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "pvpanic-mmio",
	"crc32c_generic", "ext4", // ext4 asks for crc32c by name: no dependency names it
}

// initScript is the initrd's /init.
//
//go:embed init.sh
var initScript string

// writeInitrd writes the initrd for the kernel whose modules are under root: a
// cpio archive, not compressed since unpacking costs more than reading it.
func writeInitrd(w io.Writer, root *os.Root, kernel string) error {
	dir := path.Join("usr/lib/modules", kernel)
	deps, err := root.ReadFile(path.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	order, err := loadOrder(deps, modules)
	if err != nil {
		return err
	}
	busybox, err := root.ReadFile("usr/bin/busybox")
	if err != nil {
		return err
	}
	c := cpio{w: w}
	for _, d := range []string{"bin", "dev", "modules", "root"} {
		c.add(d, 0o040755, nil)
	}
	c.add("bin/busybox", 0o100755, busybox)
	c.add("init", 0o100755, []byte(initScript))
	for i, m := range order {
		text, err := root.ReadFile(path.Join(dir, m))
		if err != nil {
			return err
		}
		c.add(fmt.Sprintf("modules/%02d-%s", i, path.Base(m)), 0o100644, text)
	}
	c.add("TRAILER!!!", 0, nil)
	return c.err
}

// loadOrder returns the files, out of the text of a modules.dep, of the modules
// named and of those they need, each after what it needs.
func loadOrder(deps []byte, names []string) ([]string, error) {
	type module struct {
		file  string
		needs []string
	}
	known := make(map[string]module)
	lines := bufio.NewScanner(bytes.NewReader(deps))
	for lines.Scan() {
		file, needs, _ := strings.Cut(lines.Text(), ":")
		known[moduleName(file)] = module{file, strings.Fields(needs)}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	var order []string
	for _, name := range names {
		m, ok := known[moduleName(name)]
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		// depmod lists all that a module needs, the nearest first
		for _, file := range append(reversed(m.needs), m.file) {
			if !slices.Contains(order, file) {
				order = append(order, file)
			}
		}
	}
	return order, nil
}

func reversed(s []string) []string {
	r := slices.Clone(s)
	slices.Reverse(r)
	return r
}

// moduleName is a module's name as the kernel has it, from its file's.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// cpio writes the kernel's initramfs format, "newc".
type cpio struct {
	w     io.Writer
	inode int
	err   error // the first
}

// add writes an entry; mode holds the type and the permissions as in stat(2).
func (c *cpio) add(name string, mode uint32, data []byte) {
	if c.err != nil {
		return
	}
	c.inode++
	var b bytes.Buffer
	// magic, inode, mode, uid, gid, links, mtime, size, device, node's device, name's length, checksum
	fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	pad(&b)
	b.Write(data)
	pad(&b)
	_, c.err = c.w.Write(b.Bytes())
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
