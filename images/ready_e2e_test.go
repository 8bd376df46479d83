//go:build e2e

package images

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// TestReadyImagesBoot boots a node of the built-in lab on images as distributions
// ship them, by both firmwares.
func TestReadyImagesBoot(t *testing.T) {
	for boots, path := range map[string]string{BootBIOS: hosttest.CloudImage(t), BootUEFI: hosttest.UEFIImage(t)} {
		t.Run(boots, func(t *testing.T) {
			start := time.Now()
			b, err := Ready{Name: "mine", Path: path, Guest: GuestDebian}.Import(t.Context(), ownCache(t), func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("imported in %v", time.Since(start))
			if b.Boot != boots || b.Root.Number != 1 || !b.Root.Last || b.Root.FS != fsExt4 || b.Packages["qemu-guest-agent"] == "" {
				t.Errorf("%+v", b.Manifest)
			}
			l := builtInLab(t)
			n := node(t, l, "iperf-client")
			n.DiskBytes = b.DiskBytes + 1<<30
			start = time.Now()
			m := boot(t, l, n, madeKeys(t, l), b, "hubport,hubid=0", "hubport,hubid=1")
			m.sync()
			t.Logf("the agent answers after %v", time.Since(start))
			m.ready()
			t.Logf("the system runs after %v", time.Since(start))
			readyLooksRight(m, l, n)
		})
	}
}

// ownCache is a cache for this test alone, which waits for no other's builds.
func ownCache(t testing.TB) string {
	t.Helper()
	was := host.LockDir
	t.Cleanup(func() { host.LockDir = was })
	host.LockDir = t.TempDir()
	return filepath.Join(t.TempDir(), "images")
}

// readyLooksRight looks for what holds for a node on a ready image too.
func readyLooksRight(m *guestMachine, l topology.Lab, n topology.Node) {
	m.t.Helper()
	looksLikeNode(m, l, n)
	m.prints("systemctl is-active ssh qemu-guest-agent labctl-network labctl-console", "active\nactive\nactive\nactive")
	m.prints("systemctl is-active systemd-networkd systemd-resolved systemd-timesyncd serial-getty@ttyS0 cloud-init", "inactive\ninactive\ninactive\ninactive\ninactive")
	m.prints("readlink -f /etc/resolv.conf; cat /etc/resolv.conf", "/etc/resolv.conf\n# a lab's names are in /etc/hosts")
	m.prints("ssh-keyscan -T 300 -t ed25519 localhost 2>/dev/null | cut -d' ' -f2", "ssh-ed25519")
}

// BenchmarkReadyDisk makes a node's disk on a cloud image, as large as it and larger.
func BenchmarkReadyDisk(b *testing.B) {
	base, err := Ready{Name: "mine", Path: hosttest.CloudImage(b), Guest: GuestDebian}.Import(b.Context(), ownCache(b), quiet)
	if err != nil {
		b.Fatal(err)
	}
	l := builtInLab(b)
	n, k := node(b, l, "iperf-client"), madeKeys(b, l)
	for name, more := range map[string]int64{"same": 0, "grown": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			d := Disk{
				Node: n.Name, Path: filepath.Join(b.TempDir(), "disk.qcow2"), Base: base, Bytes: base.DiskBytes + more,
				Files: func() ([]File, error) { return filesFor(l, n, k, base) },
			}
			for b.Loop() {
				if err := errors.Join(d.Create(b.Context()), d.Destroy(b.Context())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkImport imports a cloud image.
func BenchmarkImport(b *testing.B) {
	path := hosttest.CloudImage(b)
	for b.Loop() {
		if _, err := (Ready{Name: "mine", Path: path, Guest: GuestDebian}).Import(b.Context(), ownCache(b), quiet); err != nil {
			b.Fatal(err)
		}
	}
}
