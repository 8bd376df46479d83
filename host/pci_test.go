package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPCI(t *testing.T) {
	many := []string{"pci 0000:5e:00.0 020000 total=63"}
	var vfs []string
	for i := range 11 {
		vfs = append(vfs, fmt.Sprintf("0000:5e:02.%x", i))
		many = append(many, "pci "+vfs[i]+" 020000 pf=0000:5e:00.0")
	}
	mac := net.HardwareAddr{0x3c, 0xec, 0xef, 0, 0, 7}
	for name, test := range map[string]struct {
		spec string
		want PCI
	}{
		"a NIC": {fit, PCI{Address: "0000:3b:00.0", Class: 0x020000, Driver: "igc", Group: "12", Links: []string{"eno1"}, MAC: mac}},
		"a virtual function": {
			fit + "link ens1v1 mac=3c:ec:ef:00:00:07",
			PCI{Address: "0000:5e:02.1", Class: 0x020000, Driver: "iavf", Group: "31", Links: []string{"ens1v1"}, MAC: mac, PF: "0000:5e:00.0"},
		},
		"a bridge": {fit, PCI{Address: "0000:00:1d.0", Class: 0x060400, Group: "2"}},
		"handed to a machine": {
			"pci 0000:3b:00.0 020000 driver=vfio-pci override=vfio-pci",
			PCI{Address: "0000:3b:00.0", Class: 0x020000, Driver: "vfio-pci", Override: "vfio-pci"},
		},
		"a virtio NIC": {
			"pci 0000:00:03.0 020000 driver=virtio-pci virtio=eth0\nlink eth0 mac=3c:ec:ef:00:00:07",
			PCI{Address: "0000:00:03.0", Class: 0x020000, Driver: "virtio-pci", Links: []string{"eth0"}, MAC: mac},
		},
		"two links": {
			"pci 0000:04:00.0 020000 links=p2,p1\nlink p1 mac=3c:ec:ef:00:00:07",
			PCI{Address: "0000:04:00.0", Class: 0x020000, Links: []string{"p1", "p2"}, MAC: mac},
		},
		"representors": {
			"pci 0000:04:00.0 020000 links=a0,p0,sf0\nlink a0 port=pf0vf0\nlink sf0 port=pf0sf1\nlink p0 port=p0 mac=3c:ec:ef:00:00:07",
			PCI{Address: "0000:04:00.0", Class: 0x020000, Links: []string{"p0"}, MAC: mac},
		},
		"more than ten virtual functions": {strings.Join(many, "\n"), PCI{Address: "0000:5e:00.0", Class: 0x020000, VFs: vfs, TotalVFs: 63}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sys(t, test.spec).PCI(test.want.Address)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestNoPCI(t *testing.T) {
	h := sys(t, fit, "pci 0000:66:00.0 many")
	if _, err := h.PCI("0000:77:00.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is none: %v", err)
	}
	if _, err := h.PCI("0000:66:00.0"); err == nil || !strings.Contains(err.Error(), "0000:66:00.0") {
		t.Errorf("of a class that is no number: %v", err)
	}
}

func TestFunctionOf(t *testing.T) {
	h := sys(t, fit, "pci 0000:00:03.0 020000 virtio=eth0")
	usb := tree{t, h.Root}
	usb.link("usb0", "0000:00:14.0", "usb1/1-1/1-1:1.0/net", nil)
	for link, want := range map[string]string{
		"eno1": "0000:3b:00.0", "ens1v1": "0000:5e:02.1", "eth0": "0000:00:03.0",
		"br0": "", "usb0": "", "none": "", "": "",
	} {
		p, ok, err := h.FunctionOf(link)
		if err != nil || p.Address != want || ok != (want != "") {
			t.Errorf("%q: %s, %v, %v; want %q", link, p.Address, ok, err, want)
		}
	}
}

func TestRepresentor(t *testing.T) {
	const switchdev = `
pci 0000:5e:00.1 020000 links=ens1
link ens1 port=p1 switch=04ab
pci 0000:5e:02.0 020000 pf=0000:5e:00.1
pci 0000:5e:02.1 020000 pf=0000:5e:00.1
link eth0 port=pf1vf0 switch=04ab
link eth1 port=pf0vf1 switch=04ab
link eth2 port=pf1vf1 switch=99ff
link eth3 port=pf1vf11 switch=04ab
link eth4 port=pf1sf1 switch=04ab
link eth5 port=xpf1vf1 switch=04ab
`
	for name, test := range map[string]struct {
		spec, want string
	}{
		"one":                         {switchdev + "link r1 port=pf1vf1 switch=04ab on=0000:5e:00.1", "r1"},
		"of another controller":       {switchdev + "link r1 port=c1pf1vf1 switch=04ab", "r1"},
		"its own before another's":    {switchdev + "link r0 port=c1pf1vf1 switch=04ab\nlink r1 port=pf1vf1 switch=04ab\nlink r2 port=c2pf1vf1 switch=04ab", "r1"},
		"others' only":                {switchdev, ""},
		"not in switchdev mode":       {"pci 0000:5e:00.1 020000 links=ens1\npci 0000:5e:02.0 020000 pf=0000:5e:00.1\npci 0000:5e:02.1 020000 pf=0000:5e:00.1\nlink r1 port=pf1vf1", ""},
		"a physical one with no link": {"pci 0000:5e:00.1 020000\npci 0000:5e:02.0 020000 pf=0000:5e:00.1\npci 0000:5e:02.1 020000 pf=0000:5e:00.1\nlink r1 port=pf1vf1 switch=04ab", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := sys(t, test.spec)
			vf, err := h.PCI("0000:5e:02.1")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := h.Representor(vf); got != test.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
	if got, err := sys(t, fit).Representor(PCI{Address: "0000:3b:00.0"}); got != "" || err != nil {
		t.Errorf("of a whole NIC: %q, %v", got, err)
	}
}

// addressed is a host with an address on a link.
func addressed(link string) traffic {
	return traffic{addresses: []hostAddress{{link, netip.MustParsePrefix("192.0.2.7/24")}}}
}

func TestFreeVF(t *testing.T) {
	for name, test := range map[string]struct {
		spec    string
		taken   map[string]string
		traffic traffic
		want    string
	}{
		"the first":                   {fit, nil, traffic{}, "0000:5e:02.0"},
		"one is a machine's":          {fit, map[string]string{"0000:5e:02.0": "domain d"}, traffic{}, "0000:5e:02.1"},
		"one is a lab's, by its link": {fit, map[string]string{"ens1v0": "lab x"}, traffic{}, "0000:5e:02.1"},
		"one is in use by the host":   {fit, nil, addressed("ens1v0"), "0000:5e:02.1"},
		"the physical one is a lab's": {fit, map[string]string{"ens1": "lab x"}, traffic{}, "0000:5e:02.0"},
		"one that no driver has":      {"pci 0000:5e:00.0 020000 links=ens1 total=1\npci 0000:5e:02.0 020000 pf=0000:5e:00.0", nil, traffic{}, "0000:5e:02.0"},
		"one that vfio-pci has, idle": {"pci 0000:5e:00.0 020000 links=ens1 total=1\npci 0000:5e:02.0 020000 pf=0000:5e:00.0 driver=vfio-pci", nil, traffic{}, "0000:5e:02.0"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sys(t, test.spec).freeVF("ens1", test.taken, test.traffic)
			if err != nil || got.Address != test.want {
				t.Errorf("%s, %v; want %s", got.Address, err, test.want)
			}
		})
	}
}

func TestNoFreeVF(t *testing.T) {
	all := map[string]string{"0000:5e:02.0": "domain d", "0000:5e:02.1": "lab x"}
	for name, test := range map[string]struct {
		pf, spec  string
		taken     map[string]string
		traffic   traffic
		what, fix string
	}{
		"no such link":       {"eth9", fit, nil, traffic{}, "there is no link eth9", "can have virtual functions: 0000:5e:00.0 (ens1), 0000:5e:00.1 (ens1b)"},
		"a bridge":           {"br0", fit, nil, traffic{}, "br0 has no PCI device behind it", "0000:5e:00.0 (ens1)"},
		"no SR-IOV":          {"eno1", fit, nil, traffic{}, "eno1 (0000:3b:00.0) can have no virtual functions", "0000:5e:00.0 (ens1)"},
		"no SR-IOV at all":   {"e", "pci 0000:3b:00.0 020000 links=e", nil, traffic{}, "can have no virtual functions", "this host has none"},
		"none made":          {"ens1b", fit, nil, traffic{}, "ens1b (0000:5e:00.1) has no virtual functions yet", "N at most 8: echo N > /sys/class/net/ens1b/device/sriov_numvfs"},
		"all are taken":      {"ens1", fit, all, traffic{}, "is free: 0000:5e:02.0 (domain d), 0000:5e:02.1 (lab x)", "end what has one of them"},
		"one by the host":    {"ens1", fit, map[string]string{"0000:5e:02.1": "lab x"}, addressed("ens1v0"), "0000:5e:02.0 (the host: address 192.0.2.7/24)", "another NIC"},
		"a virtual function": {"ens1v0", fit, nil, traffic{}, "ens1v0 (0000:5e:02.0) can have no virtual functions", "0000:5e:00.0 (ens1)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sys(t, test.spec).freeVF(test.pf, test.taken, test.traffic)
			u, ok := err.(Unfit) //nolint:errorlint // what callers are promised
			if !ok || !strings.Contains(u.What, test.what) || !strings.Contains(u.Fix, test.fix) {
				t.Fatalf("%T %v", err, err)
			}
			if len(test.taken) > 0 && strings.Contains(u.Fix, "sriov_numvfs") {
				t.Errorf("this would hang: %s", u.Fix)
			}
		})
	}
}

// A host with a tree of its own has no traffic of this machine's.
func TestFreeVFAsksTheTreeAlone(t *testing.T) {
	h := sys(t, fit)
	if got, err := h.FreeVF("ens1", nil); err != nil || got.Address != "0000:5e:02.0" {
		t.Errorf("%s, %v", got.Address, err)
	}
	if got, err := h.traffic(); len(got.links) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestHint(t *testing.T) {
	h := sys(t, fit, "pci 0000:66:00.0 020000 driver=vfio-pci\npci 0000:67:00.0 028000")
	for want, fit := range map[string]func(PCI) bool{
		"name: 0000:3b:00.0 (eno1), 0000:5e:00.0 (ens1), 0000:5e:00.1 (ens1b), 0000:66:00.0 (driver vfio-pci), 0000:67:00.0": func(PCI) bool { return true },
		"name: 0000:3b:00.0 (eno1)": func(p PCI) bool { return p.Group == "12" },
		"name: this host has none":  func(PCI) bool { return false },
	} {
		if got, err := h.hint("name: ", fit); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}
