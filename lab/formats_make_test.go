package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
)

// everyKind is a lab with every kind of thing that a lab can have.
const everyKind = `
name: every-kind # of thing
image: debian-slim
accel: tcg
images:
  cloud: {path: ./cloud.qcow2, guest: cloud-init}
  ready: {path: ./ready.qcow2, sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", guest: debian, configure: agent}
  mine: {recipe: ./mine.recipe.yaml}
networks:
  control: {}
  store: {subnet: 10.9.3.0/24, uplink: none, mtu: 9000}
  test: {sides: [client, server], under-test: wire, subnet: 10.9.2.0/24, mtu: 1400, uplinks: {client: up0}}
  spare: {sides: [left, right], uplinks: {left: up1}}
nodes:
  sender:
    cpus: 2
    memory: 1GiB
    disk: 6GiB
    nics: [{network: control}, {network: test, side: client, address: 10.9.2.40, passthrough: "0000:3b:00.0"}]
  function:
    image: ready
    nics: [{network: control}, {network: test, side: server, passthrough: {pf: ens1, vlan: 7}}]
  macvtap:
    image: mine
    nics: [{network: control}, {network: spare, side: left, passthrough: {macvtap: eno9, take: true}}]
  receiver:
    nics: [{network: control}, {network: test, side: server}, {network: spare, side: right}]
  tshark:
    image: cloud
    nics: [{network: control}, {mirror: sender}]
    publish: ["2222:22", "127.0.0.1:5353:53/udp"]
  port:
    nics: [{network: control}, {mirror: {from: function, port: port0}}]
  influxdb:
    nics: [{network: control}, {network: store, address: 10.9.3.43}]
    services: [influxdb]
    publish: ["8086:8086"]
`

// The lab on every golden host was made then, by alice, and has long expired.
var madeThen = time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)

// bootThen is the boot id of every golden host.
const bootThen = "5a3c0b6e-0c5e-4b43-9f0d-2f6f0a3c9d11"

// writeHost makes the golden files of a format: as today's labctl would leave the host.
func writeHost(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("SUDO_USER", "alice")
	t.Setenv("SUDO_UID", "1000")
	setNow(t, madeThen)
	h := withNICs(t)
	const boot = "proc/sys/kernel/random/boot_id"
	must(t, os.MkdirAll(filepath.Dir(filepath.Join(h.Root, boot)), 0o755))
	must(t, os.WriteFile(filepath.Join(h.Root, boot), []byte(bootThen+"\n"), 0o600))
	for _, name := range []string{"up0", "up1", "port0"} { // which a network's mark records
		l := netlink.NewVeth(netlink.LinkAttrs{Name: name})
		l.PeerName = "far-" + name
		must(t, netlink.LinkAdd(l))
		t.Cleanup(func() { _ = netlink.LinkDel(l) })
	}
	b, err := Prepare(h, loadFile(t, everyKind), "every-kind.yaml")
	must(t, err)
	// once more with what would be chosen first taken: only the mark then tells what was
	must(t, Folder{On: h, Tag: host.Tag{Lab: "before", Format: host.Format, File: "-", Chosen: b.Tag.Chosen}}.Create(t.Context()))
	b, err = Prepare(h, loadFile(t, everyKind), "every-kind.yaml")
	must(t, err)
	b.Made.keep(2 * time.Hour)
	must(t, b.folder().Create(t.Context()))
	var node bytes.Buffer
	node.WriteString("<node>\n")
	for _, s := range b.segments() {
		_ = s.Create(t.Context()) // a side's fails where its bridge is wanted, once it is defined and runs
		n, err := h.LookupNetworkByName(s.Segment.Object)
		must(t, err)
		text, err := n.GetXMLDesc(0)
		must(t, err)
		node.WriteString(text)
	}
	for _, m := range b.Machines() {
		node.WriteString(machineXML(t, h, m))
	}
	node.WriteString("</node>\n")
	mark, err := os.ReadFile(filepath.Join(b.dir(), markFile))
	must(t, err)
	must(t, os.MkdirAll(dir, 0o755))
	for name, text := range map[string][]byte{"node.xml": node.Bytes(), "mark.xml": mark, "names.txt": []byte(strings.Join(computed(b), ""))} {
		must(t, os.WriteFile(filepath.Join(dir, name), bytes.ReplaceAll(text, []byte(h.Dir), []byte(dirMark)), 0o644))
	}
}

// machineXML is what libvirt keeps of a machine, with the devices recorded that it
// has of the host: on libvirt's test driver none are taken.
func machineXML(t *testing.T, h *host.Host, m domains.Machine) string {
	t.Helper()
	for _, c := range m.Node.NICs {
		if c.Host.PCI != "" {
			m.Tag.Borrowed = append(m.Tag.Borrowed, host.Borrowed{PCI: c.Host.PCI, Boot: bootThen, Driver: "ixgbe", Link: "eno1", Up: true, MTU: 1500})
		}
	}
	x, err := domains.Render(m.Node, m.Boot, m.Tag)
	must(t, err)
	text, err := x.Marshal()
	must(t, err)
	d, err := h.DomainDefineXML(text)
	must(t, err)
	text, err = d.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE)
	must(t, err)
	return text
}
