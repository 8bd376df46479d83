package hosttest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
)

// The names of what is planted look like a lab's, without being any lab's: what
// goes by a name's look removes them.
const (
	plantedNetwork = `<network>
  <name>labctl.%[1]s.lan</name>
  <forward mode='nat'/>
  <bridge name='lcb%[1]s0'/>
  <ip address='%[2]s.1' prefix='24'><dhcp><range start='%[2]s.2' end='%[2]s.9'/></dhcp></ip>
</network>`
	plantedDomain = `<domain type='qemu'>
  <name>labctl.%[1]s.node</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <interface type='network'><source network='labctl.%[1]s.lan'/><target dev='lct%[1]s0'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>`
)

// Baseline is the Snapshot of a private host on which a network, a domain and a
// pool have come and gone: libvirt makes folders, firewall chains and settings of
// its own on first use, and keeps them.
func Baseline(t *testing.T) Inventory {
	t.Helper()
	h := connect(t)
	network, domain := plant(t, h, "earlier", "192.168.230")
	pool, err := h.StoragePoolDefineXML(`<pool type="dir"><name>earlier</name><target><path>/run/earlier</path></target></pool>`, 0)
	must(t, err)
	must(t, domain.Create())
	must(t, domain.Destroy())
	must(t, domain.Undefine())
	must(t, network.Destroy())
	must(t, network.Undefine())
	must(t, pool.Undefine())
	isProcess := func(line string) bool {
		return strings.HasPrefix(line, "process ") && strings.Contains(line, "labctl.earlier.")
	}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		found := Snapshot(t)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(found)), isProcess) { // libvirt does not wait for its dnsmasq's end
			return found
		}
		if time.Now().After(deadline) {
			t.Fatal("processes of the earlier network live")
		}
	}
}

// Foreign plants on a private host what is no lab's: a running network, a domain,
// a link, a table of firewall rules and a file. The function it returns gives the
// Diff of them since: empty while nobody touched them.
func Foreign(t *testing.T) (touched func() string) {
	t.Helper()
	plant(t, connect(t), "foreign", "192.168.231")
	output(t, "ip", "link", "add", "lclforeign0", "type", "veth", "peer", "name", "lclforeign1")
	output(t, "nft", "add", "table", "inet", "labctl-foreign")
	output(t, "nft", "add", "chain", "inet", "labctl-foreign", "forward", "{ type filter hook forward priority 0; }")
	must(t, os.WriteFile(filepath.Join(host.DefaultDir, "foreign"), []byte("nobody's\n"), 0o600))

	before := settled(t).about("foreign")
	return func() string {
		t.Helper()
		return Diff(before, Snapshot(t).about("foreign"))
	}
}

// settled is the Snapshot of a host on which a network's dnsmasq has done what it does as it starts: it writes a file, by a
// program of libvirt's.
func settled(t *testing.T) Inventory {
	t.Helper()
	const status = "/var/lib/libvirt/dnsmasq/lcbforeign0.status"
	found := Snapshot(t)
	for deadline := time.Now().Add(3 * time.Minute); ; {
		time.Sleep(50 * time.Millisecond)
		was := found
		found = Snapshot(t)
		if _, err := os.Stat(status); err == nil && Diff(was, found) == "" {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("the foreign network does not settle:\n%s", Diff(was, found))
		}
	}
}

// plant makes a running network and a domain on it.
func plant(t *testing.T, h *host.Host, name, prefix string) (*libvirt.Network, *libvirt.Domain) {
	t.Helper()
	network, err := h.NetworkDefineXML(fmt.Sprintf(plantedNetwork, name, prefix))
	must(t, err)
	must(t, network.Create())
	domain, err := h.DomainDefineXML(fmt.Sprintf(plantedDomain, name))
	must(t, err)
	return network, domain
}

// connect opens a private host's libvirt for the rest of the test, to change it.
func connect(t *testing.T) *host.Host {
	t.Helper()
	requirePrivate(t)
	h, err := host.Connect("", host.DefaultDir)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}
