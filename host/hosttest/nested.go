package hosttest

import (
	_ "embed"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
)

//go:embed nested-host
var nestedScript string

// NestedHost is how a nested host starts. The zero value is the quick one: it
// goes on from a saved state, in which all is right.
type NestedHost struct {
	IOMMU  IOMMU // another than IOMMUOn boots the host: half a minute more
	Images bool  // the machine's debian-slim base images are copied into it
}

// IOMMU is the state of a nested host's IOMMU.
type IOMMU string

// What an IOMMU can be.
const (
	IOMMUOn          IOMMU = ""             // it isolates devices, and remaps interrupts
	IOMMUNone        IOMMU = "none"         // there is none
	IOMMUOff         IOMMU = "off"          // the kernel is told not to use it
	IOMMUNoRemapping IOMMU = "no-remapping" // it isolates devices, but cannot remap interrupts
)

// Nested is Private on a nested host: a machine, all of it emulated, on which PCI
// passthrough works. The script nested-host says what is in it, and builds it:
// where it has not been built, the test fails and says so.
//
// Inside, the test's current folder can be read, and the file that LABCTL_UNDER_TEST names.
func Nested(t *testing.T, h NestedHost, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		test(t)
		return
	}
	binary, err := os.Executable()
	must(t, err)
	folder, err := os.Getwd()
	must(t, err)
	args := []string{"bash", "-c", nestedScript, "nested-host", "--with", folder, "--with", binary}
	if labctl := os.Getenv("LABCTL_UNDER_TEST"); labctl != "" {
		args = append(args, "--with", labctl)
	}
	if h.IOMMU != IOMMUOn {
		args = append(args, "--iommu", string(h.IOMMU))
	}
	if h.Images {
		images, err := filepath.Glob(filepath.Join(host.DefaultDir, "images/debian-slim-*"))
		must(t, err)
		if len(images) == 0 {
			t.Fatal("no base image of debian-slim: run make images")
		}
		for _, image := range images {
			args = append(args, "--copy", image)
		}
	}
	note := "start\nrestore\n"
	if h.IOMMU != IOMMUOn {
		note = "start\n"
	}
	NoteMachine(t, note)
	again(t, attempts{3, 30 * time.Minute}, args...) // an emulated machine that runs machines: its kernel panics at times
}
