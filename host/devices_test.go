package host

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"
)

// judge is what all checks of devices and links say of a host with that traffic.
func judge(t *testing.T, h *Host, n Needs, on traffic) Unfits {
	t.Helper()
	i, err := h.inspect(n, on)
	if err != nil {
		t.Fatal(err)
	}
	devices, errDevices := i.judgeDevices()
	links, errLinks := i.judgeLinks()
	iommu, errIOMMU := hasIOMMU(t.Context(), h, n)
	remaps, errRemaps := remapsInterrupts(t.Context(), h, n)
	lock, errLock := canLock(t.Context(), h, n)
	if err := errors.Join(errDevices, errLinks, errIOMMU, errRemaps, errLock); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(iommu, remaps, lock, devices, links)
}

// but is the fit host without a line, or with another in its place.
func but(t *testing.T, lines ...string) string {
	t.Helper()
	return changed(t, fit, lines...)
}

// changed is a host with texts of its spec in the place of others.
func changed(t *testing.T, spec string, lines ...string) string {
	t.Helper()
	for i := 0; i < len(lines); i += 2 {
		if strings.Count(spec, lines[i]) != 1 {
			t.Fatalf("%q is not once in the host", lines[i])
		}
		spec = strings.Replace(spec, lines[i], lines[i+1], 1)
	}
	return spec
}

// said is what an Unfit must say: words of its What, and of its Fix.
type said struct{ what, fix string }

func (s said) of(u Unfit) bool {
	for _, harm := range []string{"take: true", "sriov_numvfs"} { // no way out that nobody asked for
		if strings.Contains(u.Fix, harm) && !strings.Contains(s.fix, harm) {
			return false
		}
	}
	return strings.Contains(u.What, s.what) && strings.Contains(u.Fix, s.fix)
}

func check(t *testing.T, got Unfits, want []said) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d reasons, want %d:\n%v", len(got), len(want), got)
	}
	for i, w := range want {
		if !w.of(got[i]) {
			t.Errorf("reason %d is\n%v\nwant %q, and the way out %q", i, got[i], w.what, w.fix)
		}
	}
}

func device1(address string) Device { return Device{For: "node a", Address: address, MemoryMiB: 512} }

func handOver(ds ...Device) Needs { return Needs{Devices: ds} }

var (
	whole = device1("0000:3b:00.0")
	ofPF  = Device{For: "node a", PF: "ens1", MemoryMiB: 512}
)

// other is the same wish for another node.
func other(d Device) Device {
	d.For = "node b"
	return d
}

func TestFitDevices(t *testing.T) {
	for name, test := range map[string]struct {
		spec    string
		needs   Needs
		traffic traffic
	}{
		"nothing wanted":       {"", Needs{}, traffic{}},
		"a whole NIC":          {fit, handOver(whole), traffic{}},
		"a virtual function":   {fit, handOver(device1("0000:5e:02.1")), traffic{}},
		"any virtual function": {fit, handOver(ofPF), traffic{}},
		"all of them":          {fit, handOver(ofPF, other(ofPF)), traffic{}},
		"one and any other":    {fit, handOver(ofPF, other(device1("0000:5e:02.0"))), traffic{}},
		"a MAC that is known": {
			but(t, "driver=igc links=eno1\nlink eno1 mac=3c:ec:ef:00:00:07", "driver=vfio-pci"),
			handOver(Device{For: "node a", Address: "0000:3b:00.0", MAC: net.HardwareAddr{0x3c, 0xec, 0xef, 0, 0, 7}}),
			traffic{},
		},
		"others in use": {
			fit,
			Needs{
				Devices: []Device{whole}, Links: []LinkUse{{For: "uplink of test/client", Link: "ens1b"}},
				Taken: map[string]string{"0000:5e:02.0": "lab x", "ens1": "lab y"},
			},
			addressed("ens1"),
		},
		"the PF's link as an uplink": {fit, Needs{Devices: []Device{ofPF}, Links: []LinkUse{{For: "uplink of test/client", Link: "ens1"}}}, traffic{}},
		"another link in use":        {fit, handOver(whole), addressed("ens1")},
		"on AMD":                     {but(t, "tables/DMAR", "tables/IVRS"), handOver(whole), traffic{}},
		"vfio's sign in sysfs":       {but(t, "dev/vfio/vfio", "sys/class/misc/vfio/dev"), handOver(whole), traffic{}},
		"a virtual IOMMU":            {but(t, "file sys/firmware/acpi/tables/DMAR x", ""), handOver(whole), traffic{}},
		"unsafe, by choice":          {but(t, "IR-PCI", "PCI", "allow_unsafe_interrupts N", "allow_unsafe_interrupts Y"), handOver(whole), traffic{}},
		"an address, to be taken":    {fit, handOver(Device{For: "node a", Address: "0000:3b:00.0", Take: true}), addressed("eno1")},
		"a group with a bridge": {
			fit + "pci 0000:00:1e.0 060400 group=12 driver=shpchp\npci 0000:00:1f.0 060400 group=12 driver=pcieport", handOver(whole), traffic{},
		},
		"a group with what holds nothing": {
			fit + "pci 0000:3b:00.1 020000 group=12\npci 0000:3b:00.2 0c0330 group=12 driver=pci-stub\n" +
				"pci 0000:3b:00.3 020000 group=12 driver=vfio-pci\npci 0000:3b:00.4 020000 group=12 driver=mlx5_vfio_pci\npci 0000:3b:00.5 068000 group=12 driver=pcieport",
			handOver(whole),
			traffic{},
		},
		"a group that goes together": {fit + "pci 0000:3b:00.1 020000 group=12 driver=igc links=eno2", handOver(whole, device1("0000:3b:00.1")), traffic{}},
		"limits that can be raised": {
			fit + `file proc/700/limits Max locked memory 1 8388608 bytes` + "\n" + `file proc/700/status Name: x\nCapEff: 0000000001000000`, handOver(whole), traffic{},
		},
		"a limit that does":   {fit + "file proc/700/limits Max locked memory 8 1610612736 bytes", handOver(whole), traffic{}},
		"limits nobody tells": {but(t, "file run/libvirtd.pid 700", ""), handOver(whole), traffic{}},
		"a link":              {fit, Needs{Links: []LinkUse{{For: "uplink of test/client", Link: "eno1"}}}, traffic{}},
		"a link, to be taken": {fit, Needs{Links: []LinkUse{{For: "macvtap of node a", Link: "eno1", Take: true, Ask: true}}}, addressed("eno1")},
		"a virtual link":      {fit, Needs{Links: []LinkUse{{For: "uplink of test/client", Link: "br0"}}}, traffic{}},
		"a link that is down": {fit + "link eno1 flags=0x1002", Needs{Links: []LinkUse{{For: "mirror port of node a", Link: "eno1"}}}, traffic{}},
		"links need no IOMMU": {"pci 0000:3b:00.0 020000 driver=igc links=eno1 group=1", Needs{Links: []LinkUse{{For: "macvtap of node a", Link: "eno1"}}}, traffic{}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, judge(t, sys(t, test.spec), test.needs, test.traffic), nil)
		})
	}
}

func TestUnfitHost(t *testing.T) {
	// A host without an IOMMU has no groups; nothing of this is told of the devices again.
	const bare = `
file proc/700/limits Max locked memory unlimited unlimited bytes
pci 0000:3b:00.0 020000 driver=igc links=eno1
pci 0000:5e:00.0 020000 driver=ice links=ens1 total=8
pci 0000:5e:02.0 020000 driver=iavf pf=0000:5e:00.0
`
	noRaise := `Name: x\nCapEff: 000001fffeffffff`
	for name, test := range map[string]struct {
		spec  string
		needs Needs
		want  said
	}{
		"IOMMU off in the firmware": {bare, handOver(whole, other(ofPF)), said{"off in the firmware", "enable VT-d (Intel) or AMD-Vi (AMD)"}},
		"kernel parameter, Intel":   {bare + "file sys/firmware/acpi/tables/DMAR x", handOver(whole), said{"the kernel does not use it", "add intel_iommu=on"}},
		"kernel parameter, AMD":     {bare + "file sys/firmware/acpi/tables/IVRS x", handOver(whole), said{"the kernel does not use it", "add amd_iommu=on"}},
		"vfio is not loaded":        {but(t, "file dev/vfio/vfio x", ""), handOver(whole), said{"vfio, and it is not loaded", "modprobe vfio-pci"}},
		"no interrupt remapping":    {but(t, "IR-PCI", "PCI"), handOver(whole), said{"interrupt remapping", "options vfio_iommu_type1 allow_unsafe_interrupts=1"}},
		"no IRQ at all": {
			but(t, "file sys/kernel/irq/25/chip_name IR-PCI-MSIX-0000:3b:00.0", "", "file sys/kernel/irq/24/chip_name IO-APIC", ""),
			handOver(whole),
			said{"interrupt remapping", "enable it in the firmware"},
		},
		"memory that cannot be locked": {
			but(t, "limits Max locked memory unlimited unlimited", "limits Max locked memory 65536 8388608", "status Name: libvirtd", "status "+noRaise),
			handOver(Device{For: "node b", Address: "0000:3b:00.0", MemoryMiB: 1024}, ofPF),
			said{"node b: passthrough locks all of its memory, 2048 MiB with QEMU's own, and libvirt may lock 8 MiB", "LimitMEMLOCK=infinity under [Service] (systemctl edit libvirtd)"},
		},
		"QEMU's own is too much": {
			but(t, "limits Max locked memory unlimited unlimited", "limits Max locked memory unlimited 1609564160", "status Name: libvirtd", "status "+noRaise),
			handOver(whole),
			said{"1536 MiB with QEMU's own, and libvirt may lock 1535 MiB", "run libvirt outside it"},
		},
		"virtqemud's": {
			but(t, "limits Max locked memory unlimited unlimited", "limits Max locked memory 1 1", "status Name: libvirtd", "status "+noRaise, "run/libvirtd.pid", "run/virtqemud.pid"),
			handOver(whole),
			said{"libvirt may lock 0 MiB", "systemctl edit virtqemud"},
		},
		"a daemon that has ended": {
			but(t, "run/libvirtd.pid 700", "run/libvirtd.pid 699") + "file proc/self/status " + noRaise + "\nfile proc/self/limits Max locked memory 0 0 bytes",
			handOver(whole),
			said{"libvirt may lock 0 MiB", "systemctl edit libvirtd"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, judge(t, sys(t, test.spec), test.needs, traffic{}), []said{test.want})
		})
	}
}

func TestUnfitDevices(t *testing.T) {
	const alone = "group of their own: 0000:5e:00.0 (ens1), 0000:5e:00.1 (ens1b)"
	sibling := fit + "pci 0000:3b:00.1 020000 group=12 driver=igc links=eno2\n"
	toVFIO := but(t, "driver=igc links=eno1\nlink eno1 mac=3c:ec:ef:00:00:07", "driver=vfio-pci")
	ssh := traffic{peer: netip.MustParseAddr("198.51.100.7"), peerLink: "eno1"}
	everything := traffic{
		addresses: addressed("eno1").addresses,
		routes:    []hostRoute{{"eno1", netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.1"), 254, false}},
		links:     []hostLink{{Name: "eno1", Master: "br0"}, {Name: "br0", Kind: "bridge"}},
	}
	for name, test := range map[string]struct {
		spec    string
		needs   Needs
		traffic traffic
		want    []said
	}{
		"absent": {fit, handOver(device1("0000:77:00.0")), traffic{}, []said{{
			"node a: there is no PCI device 0000:77:00.0 on this host",
			"name a NIC of this host: 0000:3b:00.0 (eno1), 0000:5e:00.0 (ens1), 0000:5e:00.1 (ens1b)",
		}}},
		"absent, as all are": {"", handOver(device1("0000:77:00.0")), traffic{}, []said{
			{"off in the firmware", ""},
			{"there is no PCI device 0000:77:00.0", "name a NIC of this host: this host has none"},
		}},
		"a bridge":        {fit, handOver(device1("0000:00:1d.0")), traffic{}, []said{{"PCI device 0000:00:1d.0 is a PCI bridge,", "name a NIC of this host: 0000:3b:00.0 (eno1)"}}},
		"a root port":     {fit, handOver(device1("0000:00:1c.0")), traffic{}, []said{{"0000:00:1c.0 is a root port", "0000:3b:00.0 (eno1)"}}},
		"the host bridge": {fit, handOver(device1("0000:00:00.0")), traffic{}, []said{{"0000:00:00.0 is a host bridge", "0000:3b:00.0 (eno1)"}}},
		"a disk":          {fit + "pci 0000:01:00.0 010802 driver=nvme group=9", handOver(device1("0000:01:00.0")), traffic{}, []said{{"is a disk controller, not a NIC", "0000:3b:00.0"}}},
		"something else":  {fit + "pci 0000:01:00.0 ff0001 group=9", handOver(device1("0000:01:00.0")), traffic{}, []said{{"is a device of class 0xff0001, not a NIC", "0000:3b:00.0"}}},
		"outside a group": {but(t, "group=12 ", ""), handOver(whole), traffic{}, []said{{"NIC 0000:3b:00.0 (eno1) is in no IOMMU group", alone}}},
		"group, a NIC":    {sibling, handOver(whole), traffic{}, []said{{"shares IOMMU group 12 with what this host uses: 0000:3b:00.1 (driver igc, link eno2)", alone}}},
		"group, no NIC":   {fit + "pci 0000:3b:00.1 0c0330 group=12 driver=xhci_hcd", handOver(whole), traffic{}, []said{{"uses: 0000:3b:00.1 (driver xhci_hcd)", alone}}},
		"group, LPC":      {fit + "pci 0000:00:1f.0 060100 group=12 driver=lpc_ich", handOver(whole), traffic{}, []said{{"uses: 0000:00:1f.0 (driver lpc_ich)", alone}}},
		"group, of a VF":  {but(t, "group=30", "group=20"), handOver(device1("0000:5e:02.0")), traffic{}, []said{{"shares IOMMU group 20 with what this host uses: 0000:5e:00.0 (driver ice, link ens1)", "own: 0000:3b:00.0 (eno1), 0000:5e:00.1 (ens1b)"}}},
		"group, another's": {
			sibling,
			Needs{Devices: []Device{whole}, Taken: map[string]string{"0000:3b:00.1": "domain d"}},
			traffic{},
			[]said{{"shares IOMMU group 12 with what others have: 0000:3b:00.1 (domain d)", alone}},
		},
		"group, another's by its link": {
			sibling,
			Needs{Devices: []Device{whole}, Taken: map[string]string{"eno2": "lab x"}},
			traffic{},
			[]said{{"shares IOMMU group 12 with what others have: 0000:3b:00.1 (lab x)", alone}},
		},
		"group, two nodes": {
			sibling, handOver(whole, other(device1("0000:3b:00.1"))),
			traffic{},
			[]said{{"node b: NIC 0000:3b:00.1 (eno2) shares IOMMU group 12 with what others have: 0000:3b:00.0 (node a)", alone}},
		},
		"a domain's": {
			toVFIO,
			Needs{Devices: []Device{whole}, Taken: map[string]string{"0000:3b:00.0": "domain d"}},
			traffic{},
			[]said{{"node a: NIC 0000:3b:00.0 (driver vfio-pci) is taken by domain d", "virsh shutdown d"}},
		},
		"another lab's": {
			fit,
			Needs{Devices: []Device{whole}, Taken: map[string]string{"0000:3b:00.0": "lab x"}},
			traffic{},
			[]said{{"is taken by lab x", "labctl down x"}},
		},
		"another lab's, by its link": {
			fit,
			Needs{Devices: []Device{whole}, Taken: map[string]string{"eno1": "lab x"}},
			everything,
			[]said{{"is taken by lab x", "labctl down x"}},
		},
		"an address": {fit, handOver(whole), addressed("eno1"), []said{{
			"node a: link eno1 is in use by the host itself: address 192.0.2.7/24",
			"write take: true for it, and the host does without while the lab is up; or name another NIC, or end that: ip address del 192.0.2.7/24 dev eno1",
		}}},
		"all that the host does": {fit, handOver(whole), everything, []said{{
			"in use by the host itself: default route via 192.0.2.1, a port of bridge br0, address 192.0.2.7/24",
			"name another NIC, or end that: ip route del default via 192.0.2.1 dev eno1; ip link set eno1 nomaster; ip address del",
		}}},
		"more than can be taken": {
			fit, handOver(Device{For: "node a", Address: "0000:3b:00.0", Take: true}), everything,
			[]said{{"in use by the host itself: default route via 192.0.2.1, a port of bridge br0", "ip link set eno1 nomaster"}},
		},
		"ssh": {
			fit, handOver(Device{For: "node a", Address: "0000:3b:00.0", Take: true}), ssh,
			[]said{{"the way to 198.51.100.7, from where you are logged in by ssh", "log in another way first"}},
		},
		"with virtual functions": {fit, handOver(device1("0000:5e:00.0")), traffic{}, []said{{
			"NIC 0000:5e:00.0 (ens1) has 2 virtual functions, which would go with it",
			"passthrough: 0000:5e:02.0), or name another NIC; or, since nobody uses them: echo 0 > /sys/bus/pci/devices/0000:5e:00.0/sriov_numvfs",
		}}},
		"a VF, its PF down":       {fit + "link ens1 flags=0x1002", handOver(device1("0000:5e:02.0")), traffic{}, []said{{"node a: virtual functions of NIC 0000:5e:00.0 (ens1) carry nothing: its link is down", "ip link set ens1 up"}}},
		"two VFs, their PF down":  {fit + "link ens1 flags=0x1002", handOver(ofPF, other(ofPF)), traffic{}, []said{{"node a, node b: virtual functions", "ip link set ens1 up"}}},
		"a VF, its PF given away": {but(t, "driver=ice links=ens1 ", "driver=vfio-pci "), handOver(device1("0000:5e:02.0")), traffic{}, []said{{"carry nothing: it has no link on this host", "give it back"}}},
		"no such PF":              {fit, handOver(Device{For: "node a", PF: "eth9"}), traffic{}, []said{{"node a: there is no link eth9", "can have virtual functions: 0000:5e:00.0 (ens1), 0000:5e:00.1 (ens1b)"}}},
		"no VF made":              {fit, handOver(Device{For: "node a", PF: "ens1b"}, Device{For: "node b", PF: "ens1b"}), traffic{}, []said{{"node a, node b: link ens1b (0000:5e:00.1) has no virtual functions yet", "make some, N at most 8: echo N > /sys/class/net/ens1b/device/sriov_numvfs"}}},
		"more VFs than there are": {
			fit, handOver(ofPF, other(ofPF), Device{For: "node c", PF: "ens1"}),
			traffic{},
			[]said{{
				"node c: no virtual function of link ens1 is free: 0000:5e:02.0 (node a), 0000:5e:02.1 (node b)",
				"make more, N at most 8, while no machine has one: echo 0 > /sys/class/net/ens1/device/sriov_numvfs; echo N > /sys/class/net/ens1/device/sriov_numvfs",
			}},
		},
		"more VFs than are free": {
			fit,
			Needs{Devices: []Device{ofPF, other(ofPF)}, Taken: map[string]string{"0000:5e:02.0": "lab x"}},
			traffic{},
			[]said{{"node b: no virtual function of link ens1 is free: 0000:5e:02.0 (lab x), 0000:5e:02.1 (node a)", "end what has one of them"}},
		},
		"more VFs than there are, one by address": {
			fit, handOver(device1("0000:5e:02.1"), ofPF, other(ofPF)),
			traffic{},
			[]said{{"node b: no virtual function of link ens1 is free: 0000:5e:02.0 (node a), 0000:5e:02.1 (node a)", "make more, N at most 8, while no machine has one: echo 0 > /sys/class/net/ens1/device/sriov_numvfs"}},
		},
		"more VFs than it can have": {
			but(t, "driver=ice links=ens1 total=8", "driver=ice links=ens1 total=2"), handOver(ofPF, other(ofPF), Device{For: "node c", PF: "ens1"}),
			traffic{},
			[]said{{"node c: no virtual function of link ens1 is free", "end what has one of them"}},
		},
		"a VF wanted by its link as well": {
			fit,
			Needs{Devices: []Device{ofPF, other(ofPF)}, Links: []LinkUse{{For: "uplink of test/client", Link: "ens1v1"}}},
			traffic{},
			[]said{{"0000:5e:02.1 (uplink of test/client)", "end what has one of them"}},
		},
		"vfio-pci has it": {toVFIO, handOver(whole), traffic{}, []said{{"the MAC of NIC 0000:3b:00.0 cannot be read while driver vfio-pci has it", "virsh nodedev-reattach pci_0000_3b_00_0"}}},
		"no driver has it": {
			but(t, "driver=igc links=eno1\nlink eno1 mac=3c:ec:ef:00:00:07", ""), handOver(whole),
			traffic{},
			[]said{{"cannot be read while no driver has it", "virsh nodedev-reattach pci_0000_3b_00_0"}},
		},
		"several at once": {
			sibling + "pci 0000:3b:00.2 020000 group=12 driver=igc links=eno3", handOver(whole, device1("0000:77:00.0"), other(device1("0000:00:1c.0")), ofPF),
			addressed("eno1"),
			[]said{
				{"there is no PCI device 0000:77:00.0", "0000:3b:00.0 (eno1)"},
				{"node a: NIC 0000:3b:00.0 (eno1) shares IOMMU group 12 with what this host uses: 0000:3b:00.1 (driver igc, link eno2), 0000:3b:00.2 (driver igc, link eno3)", alone},
				{"address 192.0.2.7/24", "take: true"},
				{"node b: PCI device 0000:00:1c.0 is a root port", ""},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, judge(t, sys(t, test.spec), test.needs, test.traffic), test.want)
		})
	}
}

// While anybody may use a virtual function, their number is not to be written.
func TestVFsInUseAreKept(t *testing.T) {
	pf := device1("0000:5e:00.0")
	for name, test := range map[string]struct {
		spec    string
		needs   Needs
		traffic traffic
		who     string
	}{
		"a domain's":      {fit, Needs{Devices: []Device{pf}, Taken: map[string]string{"0000:5e:02.1": "domain d"}}, traffic{}, "0000:5e:02.1 (domain d)"},
		"the host's":      {fit, handOver(pf), addressed("ens1v0"), "0000:5e:02.0 (the host: address 192.0.2.7/24)"},
		"another node's":  {fit, handOver(pf, other(device1("0000:5e:02.0"))), traffic{}, "0000:5e:02.0 (node b)"},
		"perhaps someone": {but(t, "driver=iavf links=ens1v0", "driver=vfio-pci"), handOver(pf), traffic{}, "0000:5e:02.0 (driver vfio-pci)"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, judge(t, sys(t, test.spec), test.needs, test.traffic), []said{{"which would go with it; in use: " + test.who, "passthrough: 0000:5e:02.0"}})
		})
	}
}

func TestUnfitLinks(t *testing.T) {
	uplink := LinkUse{For: "uplink of test/client", Link: "eno1"}
	macvtap := LinkUse{For: "macvtap of node a", Link: "eno1", Ask: true}
	port := LinkUse{For: "mirror port of node t", Link: "eno1"}
	named := func(l LinkUse, link string) LinkUse { l.Link = link; return l }
	const nics = "name a NIC of this host: eno1, ens1, ens1b, ens1v0, ens1v1"
	for name, test := range map[string]struct {
		spec    string
		needs   Needs
		traffic traffic
		want    said
	}{
		"absent":      {fit, Needs{Links: []LinkUse{named(uplink, "eth9")}}, traffic{}, said{"uplink of test/client: there is no link eth9 on this host", nics}},
		"no link":     {fit + "file sys/class/net/bonding_masters bond0", Needs{Links: []LinkUse{named(uplink, "bonding_masters")}}, traffic{}, said{"there is no link bonding_masters", nics}},
		"no NIC here": {"link lo flags=0x9", Needs{Links: []LinkUse{uplink}}, traffic{}, said{"there is no link eno1", "it has none"}},
		"loopback":    {fit, Needs{Links: []LinkUse{named(port, "lo")}}, traffic{}, said{"mirror port of node t: link lo is the host's loopback", nics}},
		"another lab's": {
			fit,
			Needs{Links: []LinkUse{uplink}, Taken: map[string]string{"eno1": "lab x"}},
			addressed("eno1"),
			said{"uplink of test/client: link eno1 is taken by lab x", "labctl down x"},
		},
		"another lab's, by its device": {
			fit,
			Needs{Links: []LinkUse{uplink}, Taken: map[string]string{"0000:3b:00.0": "lab x"}},
			traffic{},
			said{"link eno1 is taken by lab x", "labctl down x"},
		},
		"an address": {fit, Needs{Links: []LinkUse{macvtap}}, addressed("eno1"), said{"macvtap of node a: link eno1 is in use by the host itself: address 192.0.2.7/24", "write take: true for it"}},
		"an address, and no word for it": {
			fit,
			Needs{Links: []LinkUse{uplink}},
			addressed("eno1"),
			said{"address 192.0.2.7/24", "name another NIC, or end that: ip address del 192.0.2.7/24 dev eno1"},
		},
		"a bridge's": {
			fit,
			Needs{Links: []LinkUse{macvtap}},
			traffic{links: []hostLink{{Name: "eno1", Master: "br0"}, {Name: "br0", Kind: "bridge"}}},
			said{"a port of bridge br0", "ip link set eno1 nomaster"},
		},
		"used twice":    {fit, Needs{Links: []LinkUse{uplink, port}}, traffic{}, said{"mirror port of node t: link eno1 is wanted for uplink of test/client as well", "another NIC for one of the two"}},
		"of its device": {fit, Needs{Devices: []Device{whole}, Links: []LinkUse{uplink}}, traffic{}, said{"uplink of test/client: link eno1 is wanted for node a as well", "another NIC for one of the two"}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, judge(t, sys(t, test.spec), test.needs, test.traffic), []said{test.want})
		})
	}
}

// All of them are among the checks of the host.
func TestPreflightOfDevices(t *testing.T) {
	h := fake(t)
	h.Root = sys(t, `
		pci 0000:3b:00.0 010000 group=1
		file run/libvirtd.pid 7
		file proc/7/status CapEff: 0
		file proc/7/limits Max locked memory 0 0 bytes`).Root
	err := Preflight(t.Context(), h, Needs{Devices: []Device{whole}, Links: []LinkUse{{For: "uplink of test/client", Link: "eth9"}}})
	var u Unfits
	if !errors.As(err, &u) {
		t.Fatalf("%T %v", err, err)
	}
	check(t, u, []said{
		{"vfio", ""}, {"interrupt remapping", ""}, {"locks all of its memory", ""}, {"a disk controller", ""}, {"no link eth9", ""},
	})
}

func TestPCISources(t *testing.T) {
	const domain = `<domain type='kvm'><devices>
  <interface type='hostdev' managed='yes'><source><address type='pci' domain='0x0000' bus='0x5e' slot='0x02' function='0x1'/></source></interface>
  <interface type='bridge'><source bridge='br0'/></interface>
  <hostdev mode='subsystem' type='pci' managed='yes'>
    <driver name='vfio'/>
    <source><address domain='0x0001' bus='0x3b' slot='0x1f' function='0x7'/></source>
    <address type='pci' domain='0x0000' bus='0x07' slot='0x00' function='0x0'/>
  </hostdev>
  <hostdev mode='subsystem' type='pci'><source><address bus='1' slot='2' function='3'/></source></hostdev>
  <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>
  <controller type='pci' index='0' model='pcie-root'/>
</devices></domain>`
	for text, want := range map[string][]string{
		domain:                            {"0001:3b:1f.7", "0000:01:02.3", "0000:5e:02.1"},
		`<domain><devices/></domain>`:     nil,
		`<domain><name>d</name></domain>`: nil,
	} {
		var x libvirtxml.Domain
		if err := x.Unmarshal(text); err != nil {
			t.Fatal(err)
		}
		if got := pciSources(x); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAssigned(t *testing.T) {
	h := fake(t)
	for name, slot := range map[string]string{"runs": "1", "own": "2", "off": "3"} {
		d, err := h.DomainDefineXML(`<domain type='test'><name>` + name + `</name><memory>1024</memory><os><type>hvm</type></os><devices>
  <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='0x3b' slot='` + slot + `' function='0'/></source></hostdev>
</devices></domain>`)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = d.Destroy()
			_ = d.Undefine()
			_ = d.Free()
		})
		if name == "off" {
			continue
		}
		if err := d.Create(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.Assigned(func(domain string) bool { return domain == "own" })
	if want := map[string]string{"0000:3b:01.0": "domain runs"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}
