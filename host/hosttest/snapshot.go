package hosttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
)

// Inventory is what is on a host that a lab could have made or changed: one line
// a thing, and how often it is there.
type Inventory map[string]int

// look adds what there is of one kind.
type look func(*testing.T, *host.Host, Inventory)

var looks = []look{
	lookDomains, lookNetworks, lookPools, lookOVS,
	lookPCI, lookLinks, lookAddresses, lookTrafficControl, lookFirewall, lookSysctls,
	lookProcesses, lookMounts, lookFiles,
}

// Snapshot looks at everything labctl promises to leave as it was: libvirt's
// domains, networks, pools and volumes; Open vSwitch's records; PCI devices, links, addresses, routes, queues,
// filters, firewall rules and settings; processes, mounts and files. The test
// itself, libvirt's daemons, base images and kept states do not count.
func Snapshot(t *testing.T) Inventory {
	t.Helper()
	h, err := host.Connect("", host.DefaultDir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	found := Inventory{}
	for _, l := range looks {
		l(t, h, found)
	}
	return found
}

// Diff lists what went and what came, "- domain d: running" and "+ link l: …";
// it is empty when nothing changed.
func Diff(before, after Inventory) string {
	var b strings.Builder
	all := maps.Clone(before)
	maps.Copy(all, after)
	for _, line := range slices.Sorted(maps.Keys(all)) {
		b.WriteString(strings.Repeat("- "+line+"\n", max(0, before[line]-after[line])))
		b.WriteString(strings.Repeat("+ "+line+"\n", max(0, after[line]-before[line])))
	}
	return b.String()
}

// about is the part of an inventory which mentions name.
func (i Inventory) about(name string) Inventory {
	part := maps.Clone(i)
	maps.DeleteFunc(part, func(line string, _ int) bool { return !strings.Contains(line, name) })
	return part
}

func (i Inventory) add(format string, args ...any) { i[fmt.Sprintf(format, args...)]++ }

// addText adds each line of text, without the spaces around it.
func (i Inventory) addText(what, text string) {
	for line := range strings.Lines(text) {
		i.add("%s: %s", what, strings.TrimSpace(line))
	}
}
