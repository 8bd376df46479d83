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
	"strconv"
	"strings"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"
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

// LinkUse is a link of the host that a lab takes: as an uplink, as a mirror port
// or under a macvtap.
type LinkUse struct {
	For  string // "uplink of test/client"
	Link string
	Take bool // also where the host has an address on it
	Ask  bool // take: true can be written in the file for it
}

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

func hasDevices(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if len(n.Devices) == 0 {
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
	return i.judgeDevices()
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

// faults look for what is wrong with a NIC that is to be handed to a machine.
var faults = []func(inspection, device) (Unfits, error){
	isAnothers, sharesGroup, carriesTraffic, takesVFsAlong, hidesMAC,
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

func isAnothers(i inspection, d device) (Unfits, error) {
	who := takenBy(d.is, i.needs.Taken)
	if who == "" {
		return nil, nil
	}
	return Unfits{{fmt.Sprintf("%s: NIC %s is taken by %s", d.For, d.is, who), "name another NIC, or end that: " + giveUp(who)}}, nil
}

// giveUp is the command that makes somebody give up what it has.
func giveUp(who string) string {
	if lab, ok := strings.CutPrefix(who, "lab "); ok {
		return "labctl down " + lab
	}
	if domain, ok := strings.CutPrefix(who, "domain "); ok {
		return "virsh shutdown " + domain
	}
	return who
}

// sharesGroup looks at the rest of the NIC's IOMMU group: all of a group goes to
// one machine, or to none.
func sharesGroup(i inspection, d device) (Unfits, error) {
	if d.is.Group == "" {
		return i.ungrouped(d)
	}
	members, err := i.on.group(d.is.Group)
	if err != nil {
		return nil, err
	}
	var used, had []string
	for _, m := range members {
		who := takenBy(m, i.needs.Taken)
		wanted := i.wanted(m.Address)
		switch {
		case m.Address == d.is.Address:
		case who != "":
			had = append(had, m.Address+" ("+who+")")
		case wanted != "":
			// Those for the same machine go together; a pair for two is told once.
			if wanted != d.For && m.Address < d.is.Address {
				had = append(had, m.Address+" ("+wanted+")")
			}
		case holdsGroup(m):
			used = append(used, described(m))
		}
	}
	return i.shared(d, used, had)
}

// shared tells what a NIC shares its group with: what the host uses, and what others have.
func (i inspection) shared(d device, used, had []string) (Unfits, error) {
	if len(used) == 0 && len(had) == 0 {
		return nil, nil
	}
	fix, err := i.elsewhere()
	if err != nil {
		return nil, err
	}
	var u Unfits
	what := fmt.Sprintf("%s: NIC %s shares IOMMU group %s with ", d.For, d.is, d.is.Group)
	if len(used) > 0 {
		u = append(u, Unfit{what + "what this host uses: " + strings.Join(used, ", "), fix})
	}
	if len(had) > 0 {
		u = append(u, Unfit{what + "what others have: " + strings.Join(had, ", "), fix})
	}
	return u, nil
}

func (i inspection) ungrouped(d device) (Unfits, error) {
	groups, err := i.on.list(iommuGroups)
	if err != nil || len(groups) == 0 {
		return nil, err // told once, of the host
	}
	fix, err := i.elsewhere()
	return Unfits{{fmt.Sprintf("%s: NIC %s is in no IOMMU group: the IOMMU does not reach it", d.For, d.is), fix}}, err
}

// wanted is for whom a PCI device is wanted in the same needs; "" where it is not.
func (i inspection) wanted(address string) string {
	for _, d := range i.devices {
		if d.is.Address == address {
			return d.For
		}
	}
	return ""
}

// holdsGroup says whether the kernel keeps an IOMMU group from machines since a
// driver of the host's has this member of it. A bridge passes on and holds nothing.
func holdsGroup(p PCI) bool {
	return p.Driver != "" && p.Driver != "pci-stub" && p.Driver != "pcieport" && !isVFIO(p.Driver) && p.Class>>8 != pciBridge
}

// isVFIO says whether a driver is vfio-pci, or a vendor's kind of it: mlx5_vfio_pci.
func isVFIO(driver string) bool {
	return strings.HasSuffix(strings.ReplaceAll(driver, "_", "-"), "vfio-pci")
}

// described is a PCI device with its driver and its links.
func described(p PCI) string {
	if len(p.Links) == 0 {
		return p.String()
	}
	return fmt.Sprintf("%s (driver %s, link %s)", p.Address, p.Driver, strings.Join(p.Links, ", "))
}

// elsewhere is the way out of a group that is shared.
func (i inspection) elsewhere() (string, error) {
	return i.on.hint("put it into another slot, or name another NIC; those with an IOMMU group of their own: ", func(p PCI) bool {
		members, err := i.on.group(p.Group)
		return err == nil && p.Group != "" && !slices.ContainsFunc(members, func(m PCI) bool { return m.Address != p.Address && m.Class>>8 != pciBridge })
	})
}

func carriesTraffic(i inspection, d device) (Unfits, error) {
	if takenBy(d.is, i.needs.Taken) != "" {
		return nil, nil // that one's traffic
	}
	var u Unfits
	for _, link := range d.is.Links {
		u = append(u, i.carries(d.For, link, d.Take, true)...)
	}
	return u, nil
}

// carries is what keeps a link of the host from being taken: what it is used for.
// With take, an address alone does not.
func (i inspection) carries(who, link string, take, ask bool) Unfits {
	uses := i.traffic.uses(link)
	if take {
		uses = slices.DeleteFunc(uses, func(u use) bool { return u.address })
	}
	if len(uses) == 0 {
		return nil
	}
	var whats, ends []string
	addresses := true
	for _, u := range uses {
		whats = append(whats, u.what)
		addresses = addresses && u.address
		if u.end != "" {
			ends = append(ends, u.end)
		}
	}
	fix := "name another NIC, or end that: " + strings.Join(ends, "; ")
	switch {
	case len(ends) < len(uses): // no command where it would cut off who types it
		fix = "name another NIC, or log in another way first (console, another link)"
	case addresses && ask:
		fix = "write take: true for it, and the host does without while the lab is up; or " + fix
	}
	return Unfits{{fmt.Sprintf("%s: link %s is in use by the host itself: %s", who, link, strings.Join(whats, ", ")), fix}}
}

func takesVFsAlong(i inspection, d device) (Unfits, error) {
	if len(d.is.VFs) == 0 {
		return nil, nil
	}
	fix := "hand over one of them instead (passthrough: " + d.is.VFs[0] + "), or name another NIC"
	var had []string
	for _, address := range d.is.VFs {
		vf, err := i.on.PCI(address)
		if err != nil {
			return nil, err
		}
		who := cmp.Or(takenBy(vf, i.needs.Taken), i.wanted(address), i.traffic.user(vf))
		if who == "" && isVFIO(vf.Driver) {
			who = "driver " + vf.Driver
		}
		if who != "" {
			had = append(had, address+" ("+who+")")
		}
	}
	what := fmt.Sprintf("%s: NIC %s has %d virtual functions, which would go with it", d.For, d.is, len(d.is.VFs))
	if len(had) > 0 { // with machines on them, writing their number hangs
		return Unfits{{what + "; in use: " + strings.Join(had, ", "), fix}}, nil
	}
	return Unfits{{what, fmt.Sprintf("%s; or, since nobody uses them: echo 0 > /sys/bus/pci/devices/%s/sriov_numvfs", fix, d.is.Address)}}, nil
}

// hidesMAC looks whether the MAC can be read, by which the guest is told which
// NIC it is. That of a virtual function is set.
func hidesMAC(i inspection, d device) (Unfits, error) {
	if d.MAC != nil || d.is.PF != "" || len(d.is.Links) > 0 || takenBy(d.is, i.needs.Taken) != "" {
		return nil, nil
	}
	has := "no driver has it"
	if d.is.Driver != "" {
		has = "driver " + d.is.Driver + " has it"
	}
	return Unfits{{
		fmt.Sprintf("%s: the MAC of NIC %s cannot be read while %s", d.For, d.is.Address, has),
		"give it back to its own driver: virsh nodedev-reattach pci_" + strings.NewReplacer(":", "_", ".", "_").Replace(d.is.Address),
	}}, nil
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

// Flags of a link.
const (
	flagUp       = 1 << 0
	flagLoopback = 1 << 3
)

func (h *Host) isUp(link string) bool { return h.flags(link)&flagUp != 0 }

func (h *Host) flags(link string) uint64 {
	f, _ := strconv.ParseUint(h.told(netLinks, link, "flags"), 0, 32) // every link has them
	return f
}

func hasLinks(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if len(n.Links) == 0 {
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
	return i.judgeLinks()
}

func (i inspection) judgeLinks() (Unfits, error) {
	var all Unfits
	used := map[string]string{} // for what, by link
	for _, d := range i.devices {
		for _, link := range d.is.Links {
			used[link] = d.For
		}
	}
	for _, l := range i.needs.Links {
		if who := used[l.Link]; who != "" {
			all = append(all, Unfit{fmt.Sprintf("%s: link %s is wanted for %s as well", l.For, l.Link, who), "name another NIC for one of the two"})
			continue
		}
		used[l.Link] = l.For
		u, err := i.judgeLink(l)
		if err != nil {
			return nil, err
		}
		all = append(all, u...)
	}
	return all, nil
}

func (i inspection) judgeLink(l LinkUse) (Unfits, error) {
	if !i.on.there(netLinks, l.Link, "flags") {
		fix, err := i.on.nicLinks()
		return Unfits{{fmt.Sprintf("%s: there is no link %s on this host", l.For, l.Link), fix}}, err
	}
	if i.on.flags(l.Link)&flagLoopback != 0 {
		fix, err := i.on.nicLinks()
		return Unfits{{fmt.Sprintf("%s: link %s is the host's loopback", l.For, l.Link), fix}}, err
	}
	p, _, err := i.on.FunctionOf(l.Link)
	if err != nil {
		return nil, err
	}
	if who := cmp.Or(i.needs.Taken[l.Link], i.needs.Taken[p.Address]); who != "" {
		return Unfits{{fmt.Sprintf("%s: link %s is taken by %s", l.For, l.Link, who), "name another NIC, or end that: " + giveUp(who)}}, nil
	}
	return i.carries(l.For, l.Link, l.Take, l.Ask), nil
}

// nicLinks is a way out that names the host's links with hardware behind them.
func (h *Host) nicLinks() (string, error) {
	links, err := h.list(netLinks)
	links = slices.DeleteFunc(links, func(link string) bool { return !h.there(netLinks, link, "device") })
	if len(links) == 0 {
		return "name a NIC of this host: it has none", err
	}
	return "name a NIC of this host: " + strings.Join(links, ", "), err
}

// Assigned are the PCI devices that running domains have, by address, with
// "domain NAME". The domains for which but is true are left out.
func (h *Host) Assigned(but func(domain string) bool) (map[string]string, error) {
	domains, err := h.ListAllDomains(libvirt.CONNECT_LIST_DOMAINS_ACTIVE)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	all := map[string]string{}
	var errs []error
	for i := range domains {
		name, addresses, err := assigned(&domains[i])
		for _, a := range addresses {
			if !but(name) {
				all[a] = "domain " + name
			}
		}
		errs = append(errs, Gone(err)) // ended meanwhile
		_ = domains[i].Free()
	}
	return all, errors.Join(errs...)
}

// assigned are a domain's name and the addresses of the host's PCI devices that it has.
func assigned(d *libvirt.Domain) (name string, addresses []string, err error) {
	if name, err = d.GetName(); err != nil {
		return "", nil, err
	}
	text, err := d.GetXMLDesc(0)
	if err != nil {
		return name, nil, err
	}
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return name, nil, fmt.Errorf("domain %s: %w", name, err)
	}
	return name, pciSources(x), nil
}

// pciSources are the host's PCI devices in a domain's description: handed over as
// such, or as its network interfaces.
func pciSources(x libvirtxml.Domain) []string {
	if x.Devices == nil {
		return nil
	}
	var sources []*libvirtxml.DomainHostdevSubsysPCISource
	for _, d := range x.Devices.Hostdevs {
		if d.SubsysPCI != nil {
			sources = append(sources, d.SubsysPCI.Source)
		}
	}
	for _, d := range x.Devices.Interfaces {
		if d.Source != nil && d.Source.Hostdev != nil {
			sources = append(sources, d.Source.Hostdev.PCI)
		}
	}
	var addresses []string
	for _, s := range sources {
		if s == nil || s.Address == nil || s.Address.Bus == nil || s.Address.Slot == nil || s.Address.Function == nil {
			continue
		}
		domain := uint(0)
		if s.Address.Domain != nil {
			domain = *s.Address.Domain
		}
		addresses = append(addresses, fmt.Sprintf("%04x:%02x:%02x.%x", domain, *s.Address.Bus, *s.Address.Slot, *s.Address.Function))
	}
	return addresses
}
