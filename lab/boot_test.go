package lab

import (
	"testing"

	"github.com/mami-project/labctl/images"
)

// A machine starts as its base image says, and the firmware that takes is asked of
// the host beforehand.
func TestMachinesBootAsTheirBasesSay(t *testing.T) {
	b := prepare(t, newHost(t), sidedLab)
	one, _ := b.Lab.Node("one")
	for boot, want := range map[string]struct{ kernel, nvram, uefi bool }{
		images.BootKernel: {kernel: true},
		images.BootBIOS:   {},
		images.BootUEFI:   {nvram: true, uefi: true},
	} {
		b.Bases = map[string]images.Base{"one": {Dir: "/images/mine", Manifest: images.Manifest{Boot: boot}}}
		got := b.boot(one)
		if (got.Kernel != "") != want.kernel || (got.Initrd != "") != want.kernel || (got.NVRAM != "") != want.nvram {
			t.Errorf("%s: %+v", boot, got)
		}
		p, err := PlanUp(t.Context(), b.Resources())
		must(t, err)
		needs, err := b.needs(p, Marks{})
		must(t, err)
		if needs.UEFI != want.uefi {
			t.Errorf("%s asks for UEFI: %v", boot, needs.UEFI)
		}
	}
}
