package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Where the kernel shows what it has.
const (
	pciDevices  = "sys/bus/pci/devices"
	netLinks    = "sys/class/net"
	iommuGroups = "sys/kernel/iommu_groups"
)

// Classes of PCI devices: base class and subclass, without the interface.
const (
	hostBridge = 0x0600
	pciBridge  = 0x0604
)

// PCI is a PCI device as the kernel shows it.
type PCI struct {
	Address  string           // "0000:3b:00.0"
	Class    uint32           // 24 bits: base class, subclass, interface: 0x020000 is an Ethernet controller
	Driver   string           // "" where none has it
	Override string           // driver_override; "" where the kernel says (null)
	Group    string           // IOMMU group's number; "" where it is in none
	Links    []string         // its network links, sorted; not the representors of its virtual functions
	MAC      net.HardwareAddr // of its first link; nil where it has none
	PF       string           // address of the physical function that it is a virtual one of; "" where it is none
	VFs      []string         // addresses of its virtual functions, in order
	TotalVFs int              // how many it could have
}

// String names it with what people know it by, "0000:3b:00.0 (enp59s0f0)".
func (p PCI) String() string {
	switch {
	case len(p.Links) > 0:
		return fmt.Sprintf("%s (%s)", p.Address, strings.Join(p.Links, ", "))
	case p.Driver != "":
		return fmt.Sprintf("%s (driver %s)", p.Address, p.Driver)
	}
	return p.Address
}

// PCI reads a device. The error is an fs.ErrNotExist where there is none.
func (h *Host) PCI(address string) (PCI, error) {
	class, err := os.ReadFile(h.path(pciDevices, address, "class"))
	if err != nil {
		return PCI{}, err
	}
	c, err := strconv.ParseUint(strings.TrimSpace(string(class)), 0, 32)
	if err != nil {
		return PCI{}, fmt.Errorf("class of PCI device %s: %w", address, err)
	}
	dir := filepath.Join(pciDevices, address)
	p := PCI{
		Address: address,
		Class:   uint32(c),
		Driver:  h.target(dir, "driver"),
		Group:   h.target(dir, "iommu_group"),
		Links:   h.linksOf(address),
		PF:      h.target(dir, "physfn"),
		VFs:     h.virtualFunctions(address),
	}
	if o := h.told(dir, "driver_override"); o != "(null)" {
		p.Override = o
	}
	if len(p.Links) > 0 {
		p.MAC, _ = net.ParseMAC(h.told(netLinks, p.Links[0], "address")) // some kinds of link have none
	}
	p.TotalVFs, _ = strconv.Atoi(h.told(dir, "sriov_totalvfs")) // there for physical functions alone
	return p, nil
}

// FunctionOf is the PCI device behind a link of the host; false where it has
// none, as a bridge, or is on another bus, as a USB adapter.
func (h *Host) FunctionOf(link string) (PCI, bool, error) {
	at, err := filepath.EvalSymlinks(h.path(netLinks, link, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		return PCI{}, false, nil
	}
	if err != nil {
		return PCI{}, false, err
	}
	if strings.HasPrefix(filepath.Base(at), "virtio") { // a device of its own on the PCI one
		at = filepath.Dir(at)
	}
	p, err := h.PCI(filepath.Base(at))
	if errors.Is(err, fs.ErrNotExist) {
		return PCI{}, false, nil
	}
	return p, err == nil, err
}

// FreeVF is the first virtual function of the physical function behind link pf
// which nobody has and the host does not use. taken says who has a PCI device or
// a link, by address or name. Where none is to be had the error is an Unfit.
func (h *Host) FreeVF(pf string, taken map[string]string) (PCI, error) {
	t, err := h.traffic()
	if err != nil {
		return PCI{}, err
	}
	return h.freeVF(pf, taken, t)
}

func (h *Host) freeVF(pf string, taken map[string]string, t traffic) (PCI, error) {
	f, err := h.physicalFunction(pf)
	if err != nil {
		return PCI{}, err
	}
	var had []string
	for _, address := range f.VFs {
		vf, err := h.PCI(address)
		if err != nil {
			return PCI{}, err
		}
		who := takenBy(vf, taken)
		if who == "" {
			who = t.user(vf)
		}
		if who == "" {
			return vf, nil
		}
		had = append(had, address+" ("+who+")")
	}
	// Not to make others: with machines on those there are, writing their number hangs.
	return PCI{}, Unfit{
		fmt.Sprintf("no virtual function of link %s is free: %s", pf, strings.Join(had, ", ")),
		"name another NIC, or end what has one of them",
	}
}

// physicalFunction is the PCI device behind a link, which has virtual functions;
// else the error is an Unfit.
func (h *Host) physicalFunction(link string) (PCI, error) {
	p, ok, err := h.FunctionOf(link)
	if err != nil {
		return PCI{}, err
	}
	what, fix := "", ""
	switch {
	case !h.there(netLinks, link):
		what = fmt.Sprintf("there is no link %s on this host", link)
	case !ok:
		what = fmt.Sprintf("link %s has no PCI device behind it, and so no virtual functions", link)
	case p.TotalVFs == 0:
		what = fmt.Sprintf("link %s (%s) can have no virtual functions", link, p.Address)
	case len(p.VFs) == 0:
		what = fmt.Sprintf("link %s (%s) has no virtual functions yet", link, p.Address)
		fix = fmt.Sprintf("make some, N at most %d: echo N > /sys/class/net/%s/device/sriov_numvfs", p.TotalVFs, link)
	default:
		return p, nil
	}
	if fix == "" {
		if fix, err = h.hint("name a NIC that can have virtual functions: ", func(p PCI) bool { return p.TotalVFs > 0 }); err != nil {
			return PCI{}, err
		}
	}
	return PCI{}, Unfit{what, fix}
}

// takenBy is who has a PCI device or one of its links; "" where nobody has.
func takenBy(p PCI, taken map[string]string) string {
	for _, name := range append([]string{p.Address}, p.Links...) {
		if who := taken[name]; who != "" {
			return who
		}
	}
	return ""
}

// representing matches the port names of links that stand for others: for
// functions behind the switch of the NIC, "pf0vf1", on a SmartNIC "c1pf0vf1".
var representing = regexp.MustCompile(`^(c\d+)?pf\d+((vf|sf)\d+)?$`)

// Representor is the link of the host which stands for a VF where its PF's switch
// is in switchdev mode; "" where there is none.
func (h *Host) Representor(vf PCI) (string, error) {
	if vf.PF == "" {
		return "", nil
	}
	pf, err := h.PCI(vf.PF)
	if err != nil {
		return "", err
	}
	number := slices.Index(pf.VFs, vf.Address)
	if number < 0 || len(pf.Links) == 0 {
		return "", nil
	}
	links, err := h.list(netLinks)
	if err != nil {
		return "", err
	}
	// Drivers count their physical functions by the last digit of the address.
	port := fmt.Sprintf("pf%svf%d", pf.Address[len(pf.Address)-1:], number)
	beyond := "" // on a SmartNIC's own processor: a function of the machine that it sits in
	for _, link := range links {
		name := h.told(netLinks, link, "phys_port_name")
		if !representing.MatchString(name) || !strings.HasSuffix(name, port) || !h.sameSwitch(link, pf.Links[0]) {
			continue
		}
		if name == port {
			return link, nil
		}
		beyond = cmp.Or(beyond, link)
	}
	return beyond, nil
}

func (h *Host) sameSwitch(link, other string) bool {
	id := h.told(netLinks, link, "phys_switch_id")
	return id != "" && id == h.told(netLinks, other, "phys_switch_id")
}

// linksOf are the links of a PCI device. Those of a virtio NIC stand a folder deeper.
func (h *Host) linksOf(address string) []string {
	var links []string
	for _, pattern := range []string{"net/*", "virtio*/net/*"} {
		found, _ := fs.Glob(os.DirFS(h.path(pciDevices, address)), pattern) // the pattern is good
		for _, f := range found {
			link := filepath.Base(f)
			if !representing.MatchString(h.told(netLinks, link, "phys_port_name")) {
				links = append(links, link)
			}
		}
	}
	return links
}

func (h *Host) virtualFunctions(address string) []string {
	var vfs []string
	for {
		vf := h.target(pciDevices, address, "virtfn"+strconv.Itoa(len(vfs)))
		if vf == "" {
			return vfs
		}
		vfs = append(vfs, vf)
	}
}

// group are the PCI devices of an IOMMU group, by address.
func (h *Host) group(number string) ([]PCI, error) {
	return h.pcis(filepath.Join(iommuGroups, number, "devices"))
}

// pcis are the PCI devices that a folder of sysfs lists, by address.
func (h *Host) pcis(dir string) ([]PCI, error) {
	names, err := h.list(dir)
	if err != nil {
		return nil, err
	}
	var all []PCI
	for _, name := range names {
		p, err := h.PCI(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile, or on another bus
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// hint is a way out that names the host's NICs which are fit. Virtual functions
// are left out: they can be hundreds.
func (h *Host) hint(way string, fit func(PCI) bool) (string, error) {
	all, err := h.pcis(pciDevices)
	var names []string
	for _, p := range all {
		if p.isNIC() && p.PF == "" && fit(p) {
			names = append(names, p.String())
		}
	}
	if len(names) == 0 {
		return way + "this host has none", err
	}
	return way + strings.Join(names, ", "), err
}

// isNIC says whether it is a network controller of any kind.
func (p PCI) isNIC() bool { return p.Class>>16 == 0x02 }

// path is a path of sysfs, procfs or /dev.
func (h *Host) path(parts ...string) string {
	return filepath.Join(cmp.Or(h.Root, "/"), filepath.Join(parts...))
}

// told is what the kernel says in a file; "" where it says nothing.
func (h *Host) told(parts ...string) string {
	b, err := os.ReadFile(h.path(parts...))
	if err != nil {
		return "" // a file that does not apply is not there, or cannot be read
	}
	return strings.TrimSpace(string(b))
}

// target is the name of what a symbolic link leads to; "" where there is none.
func (h *Host) target(parts ...string) string {
	to, err := os.Readlink(h.path(parts...))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func (h *Host) there(parts ...string) bool {
	_, err := os.Stat(h.path(parts...))
	return err == nil
}

// list are the names in a folder, sorted; none where it is not there.
func (h *Host) list(parts ...string) ([]string, error) {
	entries, err := os.ReadDir(h.path(parts...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}
