package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
)

// Device is a PCI device that a machine is to have.
type Device struct {
	For       string           // "node iperf-client"
	Address   string           // "" where any free VF of PF is wanted
	PF        string           // the physical function's link; "" where Address is given
	Take      bool             // also where the host has an address on it
	MemoryMiB int              // of the machine: all of it is locked
	MAC       net.HardwareAddr // where it is known already; else it is read
}

// device is a PCI device that is wanted, and what it is.
type device struct {
	Device
	is PCI
}

// inspection is what devices and links are judged by.
type inspection struct {
	on      *Host
	needs   Needs
	traffic traffic
	devices []device // those wanted that are there
	missing Unfits   // those that are not
}

// inspect finds the devices that are wanted.
func (h *Host) inspect(n Needs, t traffic) (inspection, error) {
	i := inspection{on: h, needs: n, traffic: t}
	taken := map[string]string{} // and what these needs take themselves
	byPF := map[string][]Device{}
	var pfs []string
	for _, d := range n.Devices {
		if d.Address == "" {
			pfs, byPF[d.PF] = append(pfs, d.PF), append(byPF[d.PF], d)
			continue
		}
		taken[d.Address] = d.For
		p, err := h.PCI(d.Address)
		if errors.Is(err, fs.ErrNotExist) {
			fix, err := h.hint("name a NIC of this host: ", func(PCI) bool { return true })
			if err != nil {
				return i, err
			}
			i.missing = append(i.missing, Unfit{fmt.Sprintf("%s: there is no PCI device %s on this host", d.For, d.Address), fix})
			continue
		}
		if err != nil {
			return i, err
		}
		i.devices = append(i.devices, device{d, p})
	}
	for _, l := range n.Links {
		taken[l.Link] = l.For
	}
	maps.Copy(taken, n.Taken)
	slices.Sort(pfs)
	for _, pf := range slices.Compact(pfs) {
		if err := i.addVFs(pf, byPF[pf], taken); err != nil {
			return i, err
		}
	}
	return i, nil
}

// addVFs finds a free virtual function for each who wants one of pf.
func (i *inspection) addVFs(pf string, wanted []Device, taken map[string]string) error {
	for had, d := range wanted {
		vf, err := i.on.freeVF(pf, taken, i.traffic)
		var u Unfit
		if errors.As(err, &u) {
			if more, ok := i.more(pf); ok {
				u.Fix = more
			}
			i.missing = append(i.missing, Unfit{names(wanted[had:]) + ": " + u.What, u.Fix})
			return nil
		}
		if err != nil {
			return err
		}
		taken[vf.Address] = d.For
		i.devices = append(i.devices, device{d, vf})
	}
	return nil
}

// more is how more virtual functions of pf are made: only where it is this lab that
// wants all there are, since none may be in a machine when they are made anew.
func (i inspection) more(pf string) (string, bool) {
	p, _, err := i.on.FunctionOf(pf)
	if err != nil || len(p.VFs) == 0 || len(p.VFs) == p.TotalVFs {
		return "", false
	}
	for _, address := range p.VFs {
		if i.wanted(address) == "" {
			return "", false
		}
	}
	file := "/sys/class/net/" + pf + "/device/sriov_numvfs"
	return fmt.Sprintf("make more, N at most %d, while no machine has one: echo 0 > %s; echo N > %s", p.TotalVFs, file, file), true
}

// names are those for whom devices are wanted.
func names(wanted []Device) string {
	var all []string
	for _, d := range wanted {
		all = append(all, d.For)
	}
	return strings.Join(slices.Compact(all), ", ")
}

// hasNICs looks at the devices and the links that are wanted, what the host does
// with them being asked once.
func hasNICs(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if len(n.Devices) == 0 && len(n.Links) == 0 {
		return nil, nil
	}
	t, err := h.traffic()
	if err != nil {
		return nil, err
	}
	i, err := h.inspect(n, t)
	if err != nil {
		return nil, err
	}
	devices, err := i.judgeDevices()
	if err != nil {
		return nil, err
	}
	links, err := i.judgeLinks()
	return append(devices, links...), err
}

func (i inspection) judgeDevices() (Unfits, error) {
	all := i.missing
	for _, d := range i.devices {
		if !d.is.isNIC() {
			fix, err := i.on.hint("name a NIC of this host: ", func(PCI) bool { return true })
			if err != nil {
				return nil, err
			}
			all = append(all, Unfit{fmt.Sprintf("%s: PCI device %s is %s, not a NIC", d.For, d.is.Address, kind(d.is)), fix})
			continue
		}
		for _, fault := range faults {
			u, err := fault(i, d)
			if err != nil {
				return nil, err
			}
			all = append(all, u...)
		}
	}
	down, err := i.judgePFs()
	return append(all, down...), err
}

// kinds are base classes of PCI devices, in words.
var kinds = map[uint32]string{
	0x01: "a disk controller",
	0x03: "a graphics card",
	0x04: "a sound or video device",
	0x05: "a memory controller",
	0x06: "a bridge",
	0x07: "a serial port or modem",
	0x08: "a part of the board",
	0x0c: "a USB controller or the like",
}

// kind says what a PCI device is that is no NIC.
func kind(p PCI) string {
	switch class := p.Class >> 8; {
	case class == hostBridge:
		return "a host bridge, the processor's way to the bus"
	case class == pciBridge && p.Driver == "pcieport":
		return "a root port (or a switch's), behind which devices are"
	case class == pciBridge:
		return "a PCI bridge, behind which devices are"
	}
	return cmp.Or(kinds[p.Class>>16], fmt.Sprintf("a device of class 0x%06x", p.Class))
}

// judgePFs looks whether the physical functions of the virtual ones are up: else these carry nothing.
func (i inspection) judgePFs() (Unfits, error) {
	var u Unfits
	byPF := map[string][]Device{}
	for _, d := range i.devices {
		if d.is.PF != "" {
			byPF[d.is.PF] = append(byPF[d.is.PF], d.Device)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(byPF)) {
		pf, err := i.on.PCI(address)
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("%s: virtual functions of NIC %s carry nothing: ", names(byPF[address]), pf)
		switch {
		case len(pf.Links) == 0:
			u = append(u, Unfit{what + "it has no link on this host", "give it back to a driver that makes one, or name another NIC"})
		case !i.on.isUp(pf.Links[0]):
			u = append(u, Unfit{what + "its link is down", "ip link set " + pf.Links[0] + " up"})
		}
	}
	return u, nil
}
