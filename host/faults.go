package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// faults look for what is wrong with a NIC that is to be handed to a machine.
var faults = []func(inspection, device) (Unfits, error){
	isAnothers, sharesGroup, carriesTraffic, takesVFsAlong, hidesMAC,
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
