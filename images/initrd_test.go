package images

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const modulesDep = `kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/net-failover.ko:
`

func TestLoadOrder(t *testing.T) {
	got, err := loadOrder([]byte(modulesDep), nil, []string{"virtio_blk", "net_failover", "virtio"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/virtio/virtio.ko",
		"kernel/drivers/block/virtio_blk.ko",
		"kernel/drivers/net/net-failover.ko",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := loadOrder([]byte(modulesDep), nil, []string{"floppy"}); err == nil {
		t.Error("a module that the kernel has not is accepted")
	}
}

// Alpine's kernel packs its modules, has some built in, and lacks some that only help.
func TestLoadOrderOfAnotherKernel(t *testing.T) {
	dep := "kernel/fs/ext4/ext4.ko.gz: kernel/lib/crc16.ko.gz\nkernel/lib/crc16.ko.gz:\n"
	got, err := loadOrder([]byte(dep), []byte("kernel/drivers/virtio/virtio_pci.ko\n"), []string{"virtio_pci", "pvpanic-mmio", "ext4"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kernel/lib/crc16.ko.gz", "kernel/fs/ext4/ext4.ko.gz"}, got); diff != "" {
		t.Error(diff)
	}
}

// kernelDep is what the modules.dep of Debian's kernel says of what a machine needs.
const kernelDep = `kernel/crypto/crc32c_generic.ko:
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/misc/pvpanic/pvpanic-mmio.ko: kernel/drivers/misc/pvpanic/pvpanic.ko
kernel/drivers/misc/pvpanic/pvpanic.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/net/core/failover.ko:
`

func TestInitrdLoadsWhatTheDiskNeeds(t *testing.T) {
	order, err := loadOrder([]byte(kernelDep), nil, modules)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range order {
		got = append(got, moduleName(file))
	}
	want := []string{
		"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
		"failover", "net_failover", "virtio_net", "virtio_console", "virtio_rng", "pvpanic", "pvpanic_mmio",
		"crc32c_generic", "jbd2", "mbcache", "crc16", "ext4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInitrd(t *testing.T) {
	lib := "lib/modules/6.1.0/"
	files := map[string]string{"usr/bin/busybox": "BUSYBOX", lib + "modules.dep": "", lib + "modules.builtin": ""}
	for _, m := range modules {
		files[lib+"modules.dep"] += "kernel/" + m + ".ko:\n"
		files[lib+"kernel/"+m+".ko"] = "the module " + m
	}
	root, err := os.OpenRoot(hostTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var b bytes.Buffer
	if err := writeInitrd(&b, root, "6.1.0"); err != nil {
		t.Fatal(err)
	}
	got := readCPIO(t, b.Bytes())
	if got["init"] != initScript || got["bin/busybox"] != "BUSYBOX" {
		t.Error("init or busybox is not as it should be")
	}
	for i, m := range modules {
		if name := "modules/0" + strconv.Itoa(i) + "-" + moduleName(m) + ".ko"; got[name] != "the module "+m {
			t.Errorf("%s holds %q", name, got[name])
		}
	}
	if _, ok := got["TRAILER!!!"]; !ok {
		t.Error("the archive has no end")
	}
}

// readCPIO reads an archive of the kernel's initramfs format.
func readCPIO(t *testing.T, b []byte) map[string]string {
	t.Helper()
	files := make(map[string]string)
	take := func(n int) []byte {
		if n > len(b) {
			t.Fatal("the archive is cut short")
		}
		head := b[:n]
		b = b[n:]
		return head
	}
	for offset := 0; len(b) > 0; {
		start := len(b)
		header := string(take(110))
		if !strings.HasPrefix(header, "070701") {
			t.Fatalf("at %d: no header but %q", offset, header[:6])
		}
		number := func(field int) int {
			n, err := strconv.ParseInt(header[6+8*field:14+8*field], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		name := strings.TrimSuffix(string(take(number(11))), "\x00")
		take(-(110 + number(11)) & 3)
		files[name] = string(take(number(6)))
		take(-number(6) & 3)
		offset += start - len(b)
	}
	return files
}

// The script must parse: a machine with a broken one only panics.
func TestScriptsParse(t *testing.T) {
	scripts := []string{"init.sh", "guest/common/usr/lib/labctl/agent", "guest/common/usr/lib/labctl/network", "apk.sh"}
	for _, s := range scripts {
		c, err := command(t.Context(), "sh", "-n", filepath.FromSlash(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := finish(t.Context(), c); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
