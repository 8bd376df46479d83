package lab

import (
	"testing"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
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
		needs, err := b.needs(t.Context(), p, Marks{})
		must(t, err)
		if needs.UEFI != want.uefi {
			t.Errorf("%s asks for UEFI: %v", boot, needs.UEFI)
		}
	}
}

// TestNoTimerCheck: an emulated kernel does not check its timer, one under KVM does.
func TestNoTimerCheck(t *testing.T) {
	for accel, want := range map[string]string{topology.AccelTCG: "quiet no_timer_check", topology.AccelKVM: "quiet"} {
		b := Build{On: newHost(t), Lab: decided(t, plainLab), Accel: accel, Bases: map[string]images.Base{"one": {Manifest: images.Manifest{CommandLine: "quiet"}}}}
		if got := b.boot(b.Lab.Nodes[0]).Cmdline; got != want {
			t.Errorf("under %s it boots with %q, want %q", accel, got, want)
		}
	}
}
