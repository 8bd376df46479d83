package images

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// spare are those of the modules that not every kernel has, nor needs.
var spare = []string{"virtio_rng", "pvpanic-mmio", "crc32c_generic"}

// initScript is the initrd's /init.
//
//go:embed init.sh
var initScript string

// writeInitrd writes the initrd for the kernel whose modules are under root: a
// cpio archive, not compressed since unpacking costs more than reading it.
func writeInitrd(w io.Writer, root *os.Root, kernel string) error {
	dir := path.Join("lib/modules", kernel)
	deps, err := root.ReadFile(path.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	builtIn, err := root.ReadFile(path.Join(dir, "modules.builtin"))
	if err != nil {
		return err
	}
	order, err := loadOrder(deps, builtIn, modules)
	if err != nil {
		return err
	}
	busybox, err := staticBusybox(root)
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
		if strings.HasSuffix(m, ".gz") {
			if text, err = gunzip(text); err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
		}
		c.add(fmt.Sprintf("modules/%02d-%s.ko", i, moduleName(m)), 0o100644, text)
	}
	c.add("TRAILER!!!", 0, nil)
	return c.err
}

// staticBusybox is the initrd's shell: Alpine's, or Debian's.
func staticBusybox(root *os.Root) ([]byte, error) {
	text, err := root.ReadFile("bin/busybox.static")
	if errors.Is(err, fs.ErrNotExist) {
		text, err = root.ReadFile("usr/bin/busybox")
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n  a recipe names busybox-static among its packages", err)
	}
	return text, nil
}

func gunzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// loadOrder returns the files, out of the text of a modules.dep, of the modules
// named and of those they need, each after what it needs; those in the text of a
// modules.builtin need no loading.
func loadOrder(deps, builtIn []byte, names []string) ([]string, error) {
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
	in := make(map[string]bool)
	for file := range strings.Lines(string(builtIn)) {
		in[moduleName(strings.TrimSpace(file))] = true
	}
	var order []string
	for _, name := range names {
		m, ok := known[moduleName(name)]
		if in[moduleName(name)] || !ok && slices.Contains(spare, name) {
			continue
		}
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
	name, _, _ := strings.Cut(path.Base(file), ".ko") // and how it is packed
	return strings.ReplaceAll(name, "-", "_")
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
