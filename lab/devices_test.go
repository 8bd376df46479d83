package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// passingLab has a whole NIC of the host and two of a NIC's virtual functions.
const passingLab = `
name: passing
accel: tcg
networks:
  test: {sides: [a, b], subnet: 10.9.2.0/24, uplinks: {a: up0}}
nodes:
  one: {memory: 128MiB, nics: [{network: test, side: a, passthrough: "0000:3b:00.0"}]}
  two: {memory: 128MiB, nics: [{network: test, side: b, passthrough: {pf: ens1}}]}
  three: {memory: 128MiB, nics: [{network: test, side: b, passthrough: {pf: ens1, vlan: 7}}]}
  four: {memory: 128MiB, nics: [{network: test, side: b}, {mirror: one}]}
`

// withNICs is a host that shows a NIC 3b:00.0, and a NIC ens1 with three virtual functions.
func withNICs(t *testing.T) *host.Host {
	t.Helper()
	h := newHost(t)
	h.Root = t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(h.Root, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
	}
	link := func(path, to string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(h.Root, path)), 0o755))
		must(t, os.Symlink(filepath.Join(h.Root, to), filepath.Join(h.Root, path)))
	}
	const pci = "sys/bus/pci/devices/"
	add := func(address, name string) {
		write(pci+address+"/class", "0x020000")
		write(pci+address+"/net/"+name+"/flags", "0x1003")
		write(pci+address+"/net/"+name+"/address", "52:54:00:00:00:01")
		link("sys/class/net/"+name, pci+address+"/net/"+name)
		link(pci+address+"/net/"+name+"/device", pci+address)
	}
	write("sys/class/net/up0/flags", "0x1003")
	add("0000:3b:00.0", "eno1")
	add("0000:5e:00.0", "ens1")
	write(pci+"0000:5e:00.0/sriov_totalvfs", "8")
	for i := range 3 {
		vf := fmt.Sprintf("0000:5e:02.%d", i)
		add(vf, fmt.Sprintf("ens1v%d", i))
		link(pci+vf+"/physfn", pci+"0000:5e:00.0")
		link(fmt.Sprintf(pci+"0000:5e:00.0/virtfn%d", i), pci+vf)
	}
	return h
}

// The devices that a lab's NICs are: found once, kept in its mark, and no other lab's.
func TestDevicesOfALab(t *testing.T) {
	h := withNICs(t)
	b := prepare(t, h, passingLab)
	want := []host.Found{
		{Node: "one", Network: "test", Address: "0000:3b:00.0", MAC: "52:54:00:00:00:01"},
		{Node: "two", Network: "test", Address: "0000:5e:02.0", PF: "ens1", VF: true},
		{Node: "three", Network: "test", Address: "0000:5e:02.1", PF: "ens1", VF: true},
	}
	if d := cmp.Diff(want, b.Tag.Devices); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	check := func(l topology.Lab) {
		t.Helper()
		if c := l.Nodes[0].NICs[0]; c.Kind != topology.KindFunction || c.MAC.String() != "52:54:00:00:00:01" || c.Host.PCI != "0000:3b:00.0" {
			t.Errorf("%+v", c)
		}
		if c := l.Nodes[2].NICs[0]; c.Kind != topology.KindVF || c.Host.PCI != "0000:5e:02.1" || c.Host.VLAN != 7 {
			t.Errorf("%+v", c)
		}
	}
	check(b.Lab)

	must(t, b.folder().Create(t.Context()))
	must(t, os.RemoveAll(filepath.Join(h.Root, "sys/bus/pci/devices/0000:3b:00.0/net"))) // vfio-pci has it
	opened, err := Open(h, "passing")
	must(t, err)
	check(opened.Lab)
	again := prepare(t, h, passingLab)
	check(again.Lab)
	if !again.Tag.Equal(b.Tag) {
		t.Errorf("the mark has changed: %+v", again.Tag)
	}

	second := prepare(t, h, strings.NewReplacer("name: passing", "name: second", "10.9.2.", "10.9.3.").Replace(passingLab))
	if d := cmp.Diff([]host.Found{
		{Node: "one", Network: "test", Address: "0000:3b:00.0"},
		{Node: "two", Network: "test", Address: "0000:5e:02.2", PF: "ens1", VF: true},
	}, second.Tag.Devices); d != "" {
		t.Errorf("beside a lab that has two of three virtual functions (-want +got)\n%s", d)
	}
	p, err := PlanUp(t.Context(), second.Resources())
	must(t, err)
	var unfits host.Unfits
	if err := second.Preflight(t.Context(), p); !errors.As(err, &unfits) {
		t.Fatalf("%v", err)
	}
	for _, says := range []string{
		"0000:3b:00.0 is taken by lab passing", "labctl down passing", "node three: ", "up0 is taken by lab passing",
	} {
		if !strings.Contains(unfits.Error(), says) {
			t.Errorf("%q is not in\n%s", says, unfits)
		}
	}
}

// A lab whose mirror has no place is a mistake in the file, found when the device is.
func TestNowhereToCapture(t *testing.T) {
	text := strings.Replace(passingLab, ", uplinks: {a: up0}", ", uplinks: {b: up0}", 1)
	_, err := Prepare(withNICs(t), loadFile(t, text), "lab.yaml")
	if !errors.As(err, new(topology.Problems)) || !strings.HasPrefix(err.Error(), "lab.yaml:10: node four mirrors NIC 1 of node one") {
		t.Errorf("%v", err)
	}
}
