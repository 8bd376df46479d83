package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What QEMU locks beside a machine's memory, as libvirt reckons (MiB).
const lockedBesideMiB = 1024

func hasIOMMU(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if len(n.Devices) == 0 {
		return nil, nil
	}
	groups, err := h.list(iommuGroups)
	if err != nil {
		return nil, err
	}
	const without = "; or give the node a macvtap, which needs none of this (passthrough: {macvtap: LINK})"
	const parameter = "PCI passthrough needs the IOMMU, and the kernel does not use it"
	switch {
	case len(groups) > 0 && (h.there("dev/vfio/vfio") || h.there("sys/class/misc/vfio")):
		return nil, nil // libvirt loads vfio-pci itself
	case len(groups) > 0:
		return Unfits{{"PCI passthrough needs vfio, and it is not loaded (there is no /dev/vfio/vfio)", "modprobe vfio-pci" + without}}, nil
	case h.there("sys/firmware/acpi/tables/DMAR"):
		return Unfits{{parameter, "add intel_iommu=on to the kernel's command line, and reboot" + without}}, nil
	case h.there("sys/firmware/acpi/tables/IVRS"):
		return Unfits{{parameter, "add amd_iommu=on to the kernel's command line, take iommu=off and amd_iommu=off from it, and reboot" + without}}, nil
	}
	return Unfits{{
		"PCI passthrough needs the IOMMU, and it is off in the firmware (which shows no table DMAR or IVRS)",
		"enable VT-d (Intel) or AMD-Vi (AMD) in the firmware" + without,
	}}, nil
}

func remapsInterrupts(_ context.Context, h *Host, n Needs) (Unfits, error) {
	groups, err := h.list(iommuGroups)
	if err != nil || len(n.Devices) == 0 || len(groups) == 0 { // without an IOMMU there is nothing to remap with
		return nil, err
	}
	irqs, err := h.list("sys/kernel/irq")
	if err != nil {
		return nil, err
	}
	for _, irq := range irqs {
		if strings.HasPrefix(h.told("sys/kernel/irq", irq, "chip_name"), "IR-") {
			return nil, nil
		}
	}
	if h.told("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts") == "Y" {
		return nil, nil
	}
	return Unfits{{
		"PCI passthrough needs interrupt remapping, and the kernel does not use it (no IR- in /sys/kernel/irq/*/chip_name)",
		"enable it in the firmware (with VT-d or AMD-Vi); or, where every guest is trusted, write\n" +
			"  options vfio_iommu_type1 allow_unsafe_interrupts=1\n" +
			"  into /etc/modprobe.d/vfio.conf, and modprobe -r vfio_iommu_type1, modprobe vfio_iommu_type1",
	}}, nil
}

// canLock looks whether libvirt may let QEMU lock what VFIO locks: all of a
// machine's memory.
func canLock(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if len(n.Devices) == 0 {
		return nil, nil
	}
	largest := slices.MaxFunc(n.Devices, func(a, b Device) int { return cmp.Compare(a.MemoryMiB, b.MemoryMiB) })
	daemon, pid := h.daemon()
	want, limit := largest.MemoryMiB+lockedBesideMiB, h.lockableMiB(pid)
	if limit < 0 || want <= limit || h.raisesLimits(pid) {
		return nil, nil
	}
	return Unfits{{
		fmt.Sprintf("%s: passthrough locks all of its memory, %d MiB with QEMU's own, and libvirt may lock %d MiB and not raise that (it has no CAP_SYS_RESOURCE)",
			largest.For, want, limit),
		"write LimitMEMLOCK=infinity under [Service] (systemctl edit " + daemon + ") and restart it; in a container, run libvirt outside it",
	}}, nil
}

// daemon is libvirt's that runs QEMU, and its process; this process where none is found.
func (h *Host) daemon() (name, pid string) {
	for _, name := range []string{"libvirtd", "virtqemud"} {
		if pid := h.told("run", name+".pid"); pid != "" && h.there("proc", pid, "status") {
			return name, pid
		}
	}
	return "libvirtd", "self"
}

// raisesLimits says whether a process may raise limits beyond its own.
func (h *Host) raisesLimits(pid string) bool {
	const sysResource = 1 << 24
	effective, err := strconv.ParseUint(h.status(pid, "CapEff:"), 16, 64)
	return err == nil && effective&sysResource != 0
}

// lockableMiB is how much memory a process may lock; -1 where there is no limit, or none is told.
func (h *Host) lockableMiB(pid string) int {
	for line := range strings.Lines(h.told("proc", pid, "limits")) {
		limits, ok := strings.CutPrefix(line, "Max locked memory ")
		if fields := strings.Fields(limits); ok && len(fields) >= 2 {
			if bytes, err := strconv.Atoi(fields[1]); err == nil {
				return bytes >> 20
			}
		}
	}
	return -1
}
