package hosttest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

//go:embed cloud-image
var cloudScript []byte

// CloudImage is the path of a Debian image as distributions ship them, which boots
// by BIOS or UEFI; the script cloud-image says what is in it, and builds it.
func CloudImage(t testing.TB) string { return cloudImage(t, "debian.qcow2") }

// UEFIImage is the same image without anything that a BIOS boots from.
func UEFIImage(t testing.TB) string { return cloudImage(t, "debian-uefi.qcow2") }

func cloudImage(t testing.TB, name string) string {
	t.Helper()
	digest := sha256.Sum256(cloudScript)
	path := filepath.Join("/var/cache/labctl/cloud", hex.EncodeToString(digest[:])[:12], name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make cloud-image", err)
	}
	return path
}
