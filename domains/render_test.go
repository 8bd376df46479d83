package domains

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// passed are nodes with a NIC of the host of every kind.
func passed(t *testing.T) []topology.Node {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(`
name: passed
networks: {test: {sides: [client, server], subnet: 10.7.2.0/24, uplinks: {client: eth1}}}
nodes:
  function: {nics: [{network: test, side: client, passthrough: "0000:3b:00.0"}]}
  vf: {nics: [{network: test, side: client, passthrough: "0000:3b:10.2"}]}
  of-pf: {nics: [{network: test, side: client, passthrough: {pf: eth0, vlan: 42}}]}
  macvtap: {nics: [{network: test, side: client, passthrough: {macvtap: eth2}}]}
`), topology.Known{})
	must(t, err)
	l, err := topology.Decide(f, nil, topology.Chosen{Devices: []topology.Device{
		{Node: "function", Network: "test", Address: "0000:3b:00.0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}},
		{Node: "vf", Network: "test", Address: "0000:3b:10.2", VF: true},
		{Node: "of-pf", Network: "test", Address: "0000:3b:1f.7", VF: true, PF: "eth0"},
	}})
	must(t, err)
	return l.Nodes
}

// switched is a node on both sides of a network whose bridges are Open vSwitch's.
func switched(t *testing.T) topology.Node {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(`
name: switched
networks: {test: {sides: [client, server], bridge: ovs, under-test: "node:mid", subnets: {client: 10.7.2.0/24, server: 10.7.3.0/24}}}
nodes: {mid: {nics: [{network: test, side: client}, {network: test, side: server}]}}
`), topology.Known{})
	must(t, err)
	l, err := topology.Decide(f, nil, topology.Chosen{})
	must(t, err)
	return l.Nodes[0]
}

func TestRender(t *testing.T) {
	for _, n := range append(append(demo(t).Nodes, passed(t)...), switched(t)) {
		for _, accel := range []string{topology.AccelTCG, topology.AccelKVM} {
			name := n.Name + "." + accel
			t.Run(name, func(t *testing.T) {
				d, err := Render(n, Boot{
					Disk:    "/labs/trafic/" + n.Name + ".qcow2",
					Kernel:  "/images/debian/kernel",
					Initrd:  "/images/debian/initrd",
					Cmdline: "root=/dev/vda rw console=ttyS0",
					Console: "/labs/trafic/" + n.Name + ".console",
					Accel:   accel,
				}, demoTag())
				must(t, err)
				isGolden(t, name, d)
			})
		}
	}
}

func TestRenderSeed(t *testing.T) {
	n, _ := demo(t).Node("tshark")
	d, err := Render(n, Boot{Disk: "/d", Seed: "/labs/trafic/tshark.iso", Kernel: "/k", Initrd: "/i", Console: "/c"}, demoTag())
	must(t, err)
	if len(d.Devices.Disks) != 2 {
		t.Fatalf("%d disks", len(d.Devices.Disks))
	}
	seed := d.Devices.Disks[1]
	if seed.ReadOnly == nil || seed.Driver.Type != "raw" || seed.Target.Dev != "vdb" || seed.Source.File.File != "/labs/trafic/tshark.iso" {
		t.Errorf("%+v", seed)
	}
	got, err := d.Marshal()
	must(t, err)
	if _, err := hosttest.New(t).DomainDefineXMLFlags(got, libvirt.DOMAIN_DEFINE_VALIDATE); err != nil {
		t.Error(err)
	}
}

// TestRenderLoaders is of disks that bring their own boot loader.
func TestRenderLoaders(t *testing.T) {
	n, _ := demo(t).Node("tshark")
	for name, b := range map[string]Boot{
		"bios": {},
		"uefi": {UEFI: host.Firmware{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Variables: "/usr/share/OVMF/OVMF_VARS_4M.fd"}, NVRAM: "/labs/trafic/tshark.nvram"},
	} {
		t.Run(name, func(t *testing.T) {
			b.Disk, b.Console, b.Accel = "/labs/trafic/tshark.qcow2", "/labs/trafic/tshark.console", topology.AccelTCG
			d, err := Render(n, b, demoTag())
			must(t, err)
			isGolden(t, n.Name+"."+name, d)
		})
	}
}

// isGolden compares a description with the golden file of that name.
func isGolden(t *testing.T, name string, d *libvirtxml.Domain) {
	t.Helper()
	got, err := d.Marshal()
	must(t, err)
	golden := filepath.Join("testdata", name+".xml")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(got+"\n"), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", golden, diff)
	}
	// libvirt ignores what it does not know, unless told to validate.
	if _, err := hosttest.New(t).DomainDefineXMLFlags(got, libvirt.DOMAIN_DEFINE_VALIDATE); err != nil {
		t.Error(err)
	}
}
