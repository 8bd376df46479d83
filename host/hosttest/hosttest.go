// Package hosttest gives tests a host of their own to run labs on.
//
//	New       an empty libvirt on libvirt's test driver: no root, no kernel, milliseconds
//	Private   a private KVM host: own links, firewall, processes and libvirtd; root, two seconds
//	Nested    a private KVM host, emulated whole, that passes NICs through; root, five seconds
//	Snapshot  all that a lab could leave on a host, to compare before with after
package hosttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mami-project/labctl/host"
)

// New is a host with a new, empty libvirt for this test on libvirt's test
// driver, and an empty folder. It is closed when the test ends.
func New(t testing.TB) *host.Host {
	t.Helper()
	dir := t.TempDir()
	node := filepath.Join(dir, "node.xml")
	if err := os.WriteFile(node, []byte("<node/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := host.Connect("test://"+node, filepath.Join(dir, "labctl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}
