package host

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What the checks of Preflight found, in words for doctor.

func firmwareFound(_ *Host, n Needs) string {
	f, err := UEFI()
	switch {
	case !n.UEFI:
		return "no node needs UEFI"
	case err != nil:
		return "no UEFI"
	}
	return f.Code
}

func toolsFound(_ *Host, n Needs) string { return strings.Join(n.Tools, ", ") }

func memoryFound(_ *Host, n Needs) string {
	info, err := os.ReadFile("/proc/meminfo")
	if available := availableMiB(info); err == nil && available >= 0 {
		return fmt.Sprintf("%d MiB wanted, %d MiB available", n.MemoryMiB, available)
	}
	return fmt.Sprintf("%d MiB wanted", n.MemoryMiB)
}

func pathFound(h *Host, _ Needs) string { return h.Dir }

func roomFound(h *Host, n Needs) string {
	var s unix.Statfs_t
	if _, err := statfs(h.Dir, &s); err != nil {
		return fmt.Sprintf("at least %d MiB wanted in %s", n.DiskBytes>>20, h.Dir)
	}
	return fmt.Sprintf("at least %d MiB wanted in %s, %d MiB free", n.DiskBytes>>20, h.Dir, free(s)>>20)
}

func subnetsFound(_ *Host, n Needs) string {
	var all []string
	for _, s := range n.Subnets {
		all = append(all, s.String())
	}
	return listed(all, "none to be made")
}

func portsFound(_ *Host, n Needs) string {
	var all []string
	for _, p := range n.Ports {
		all = append(all, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
	}
	return listed(all, "none to be published")
}

func devicesFound(_ *Host, n Needs) string {
	var all []string
	for _, d := range n.Devices {
		all = append(all, d.For)
	}
	return listed(all, "the file asks for no PCI device")
}

func nicsFound(_ *Host, n Needs) string {
	var all []string
	for _, d := range n.Devices {
		all = append(all, d.For)
	}
	for _, l := range n.Links {
		all = append(all, l.For+": "+l.Link)
	}
	return listed(all, "the file asks for none of the host")
}

func listed(all []string, none string) string {
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, ", ")
}
