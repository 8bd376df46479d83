package host

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sys is a host with a tree of sysfs and procfs of its own, laid out as the kernel
// lays it out. A line of the spec is a thing:
//
//	pci ADDRESS CLASS [driver=] [group=] [links=A,B] [virtio=LINK] [total=VFS] [pf=ADDRESS] [override=]
//	link NAME [flags=] [mac=] [port=PHYS_PORT_NAME] [switch=PHYS_SWITCH_ID] [on=ADDRESS]
//	file PATH TEXT, with \n and \0
//
// The links of a PCI device are up; a link line changes what stands above it.
func sys(t *testing.T, spec ...string) *Host {
	t.Helper()
	tree := tree{t, t.TempDir()}
	for line := range strings.Lines(strings.Join(spec, "\n")) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		options := map[string]string{}
		for _, w := range words {
			if key, value, ok := strings.Cut(w, "="); ok {
				options[key] = value
			}
		}
		switch words[0] {
		case "pci":
			tree.pci(words[1], words[2], options)
		case "link":
			tree.link(words[1], options["on"], "net", options)
		case "file":
			tree.write(words[1], strings.NewReplacer(`\n`, "\n", `\0`, "\x00").Replace(strings.Join(words[2:], " ")))
		default:
			t.Fatalf("%q is no thing of a tree", line)
		}
	}
	return &Host{Root: tree.root}
}

type tree struct {
	t    *testing.T
	root string
}

func (r tree) pci(address, class string, options map[string]string) {
	dir := "sys/devices/pci0000:00/" + address
	r.symlink("sys/bus/pci/devices/"+address, dir)
	r.write(dir+"/class", "0x"+class)
	r.write(dir+"/driver_override", cmp.Or(options["override"], "(null)"))
	if driver := options["driver"]; driver != "" {
		r.symlink(dir+"/driver", "sys/bus/pci/drivers/"+driver)
	}
	if group := options["group"]; group != "" {
		r.symlink(dir+"/iommu_group", "sys/kernel/iommu_groups/"+group)
		r.symlink("sys/kernel/iommu_groups/"+group+"/devices/"+address, dir)
	}
	if total := options["total"]; total != "" {
		r.write(dir+"/sriov_totalvfs", total)
	}
	if pf := options["pf"]; pf != "" {
		r.symlink(dir+"/physfn", "sys/devices/pci0000:00/"+pf)
		made, err := filepath.Glob(filepath.Join(r.root, "sys/devices/pci0000:00", pf, "virtfn*"))
		r.must(err)
		r.symlink(fmt.Sprintf("sys/devices/pci0000:00/%s/virtfn%d", pf, len(made)), dir)
	}
	for link := range strings.SplitSeq(options["links"], ",") {
		r.link(link, address, "net", nil)
	}
	r.link(options["virtio"], address, "virtio2/net", nil)
}

// link makes a link in a folder of a PCI device, or a virtual one; none where the name is "".
func (r tree) link(name, address, folder string, options map[string]string) {
	if name == "" {
		return
	}
	dir := "sys/devices/virtual/net/" + name
	if address != "" {
		dir = filepath.Join("sys/devices/pci0000:00", address, folder, name)
	}
	class := "sys/class/net/" + name
	if _, err := os.Lstat(filepath.Join(r.root, class)); err != nil {
		r.write(dir+"/flags", "0x1003")
		r.write(dir+"/address", "52:54:00:00:00:01")
		r.symlink(class, dir)
		if address != "" {
			r.symlink(dir+"/device", filepath.Dir(filepath.Dir(dir)))
		}
	}
	for key, file := range map[string]string{"flags": "flags", "mac": "address", "port": "phys_port_name", "switch": "phys_switch_id"} {
		if value, ok := options[key]; ok {
			r.write(class+"/"+file, value)
		}
	}
}

func (r tree) write(path, text string) {
	path = filepath.Join(r.root, path)
	r.must(os.MkdirAll(filepath.Dir(path), 0o755))
	r.must(os.WriteFile(path, []byte(text+"\n"), 0o600))
}

// symlink makes path lead to another, which is made if it is not there.
func (r tree) symlink(path, to string) {
	path, to = filepath.Join(r.root, path), filepath.Join(r.root, to)
	r.must(os.MkdirAll(filepath.Dir(path), 0o755))
	r.must(os.MkdirAll(to, 0o755))
	relative, err := filepath.Rel(filepath.Dir(path), to) // as in sysfs
	r.must(err)
	r.must(os.Symlink(relative, path))
}

func (r tree) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// fit is a host that can hand over PCI devices; its NICs are:
//
//	3b:00.0 eno1   alone in its group; no SR-IOV
//	5e:00.0 ens1   alone in its group, with virtual functions 5e:02.0 and 5e:02.1
//	5e:00.1 ens1b  alone in its group, could have virtual functions and has none
const fit = `
file sys/firmware/acpi/tables/DMAR x
file dev/vfio/vfio x
file sys/kernel/irq/24/chip_name IO-APIC
file sys/kernel/irq/25/chip_name IR-PCI-MSIX-0000:3b:00.0
file sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts N
file run/libvirtd.pid 700
file proc/700/status Name: libvirtd
file proc/700/limits Max locked memory unlimited unlimited bytes
link lo flags=0x9 mac=00:00:00:00:00:00
link br0
pci 0000:00:00.0 060000 group=0
pci 0000:00:1c.0 060400 group=1 driver=pcieport
pci 0000:00:1d.0 060400 group=2
pci 0000:00:1b.0 060400 group=20 driver=pcieport
pci 0000:3b:00.0 020000 group=12 driver=igc links=eno1
link eno1 mac=3c:ec:ef:00:00:07
pci 0000:5e:00.0 020000 group=20 driver=ice links=ens1 total=8
pci 0000:5e:00.1 020000 group=21 driver=ice links=ens1b total=8
pci 0000:5e:02.0 020000 group=30 driver=iavf links=ens1v0 pf=0000:5e:00.0
pci 0000:5e:02.1 020000 group=31 driver=iavf links=ens1v1 pf=0000:5e:00.0
`
