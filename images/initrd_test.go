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
	got, err := loadOrder([]byte(modulesDep), []string{"virtio_blk", "net_failover", "virtio"})
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
	if _, err := loadOrder([]byte(modulesDep), []string{"floppy"}); err == nil {
		t.Error("a module that the kernel has not is accepted")
	}
}

func TestInitrd(t *testing.T) {
	lib := "usr/lib/modules/6.1.0/"
	files := map[string]string{"usr/bin/busybox": "BUSYBOX", lib + "modules.dep": ""}
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
		if name := "modules/0" + strconv.Itoa(i) + "-" + m + ".ko"; got[name] != "the module "+m {
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
	scripts := []string{"init.sh", "guest/usr/lib/labctl/agent", "guest/usr/lib/labctl/network"}
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
