package domains

import (
	"net/netip"
	"path/filepath"
	"testing"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// demo is the built-in lab.
func demo(t testing.TB) topology.Lab {
	t.Helper()
	name, src := topology.Default()
	f, err := topology.Load(name, src, topology.Known{Recipes: []string{"debian", "debian-slim"}})
	must(t, err)
	l, err := topology.Decide(f, nil, topology.Chosen{})
	must(t, err)
	return l
}

func demoTag() host.Tag {
	return host.Tag{
		Lab: "trafic", Format: host.Format, From: "lab.yaml", File: "name: trafic # <the file>\n",
		Chosen: []host.Chosen{{Network: "test", Subnet: netip.MustParsePrefix("10.7.2.0/24")}},
	}
}

// demoMachine is the machine of the built-in lab's node of that name, on libvirt's test driver.
func demoMachine(t *testing.T, node string) Machine {
	t.Helper()
	n, ok := demo(t).Node(node)
	if !ok {
		t.Fatalf("no node %s", node)
	}
	return Machine{
		On: hosttest.New(t), Node: n, Tag: demoTag(),
		Boot: Boot{Disk: "/d", Kernel: "/k", Initrd: "/i", Console: filepath.Join(t.TempDir(), "console"), Accel: topology.AccelTCG},
	}
}

// foreign defines a domain that bears no mark, or another lab's.
func foreign(t *testing.T, h *host.Host, name, metadata string) {
	t.Helper()
	d, err := h.DomainDefineXML(`<domain type="test"><name>` + name + `</name><metadata>` + metadata +
		`</metadata><memory>1024</memory><os><type>hvm</type></os></domain>`)
	must(t, err)
	must(t, d.Free())
}

func lookup(t *testing.T, h *host.Host, name string) *libvirt.Domain {
	t.Helper()
	d, err := h.LookupDomainByName(name)
	must(t, err)
	t.Cleanup(func() { _ = d.Free() })
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
