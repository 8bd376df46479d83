package hosttest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
)

// link is what `ip -json -details link` says of one, without its counters.
type link struct {
	Name     string   `json:"ifname"`
	AltNames []string `json:"altnames"`
	Alias    string   `json:"ifalias"`
	MAC      string   `json:"address"`
	MTU      int      `json:"mtu"`
	Master   string   `json:"master"`
	Peer     string   `json:"link"`
	Flags    []string `json:"flags"`
	Info     struct {
		Kind string `json:"info_kind"`
	} `json:"linkinfo"`
}

func links(t *testing.T) []link {
	t.Helper()
	var all []link
	must(t, json.Unmarshal([]byte(output(t, "ip", "-json", "-details", "link")), &all))
	return all
}

func lookLinks(t *testing.T, _ *host.Host, found Inventory) {
	for _, l := range links(t) {
		found.add("link %s: kind %q, mac %s, mtu %d, master %q, peer %q, up %v, promiscuous %v, altnames %q, alias %q", l.Name,
			l.Info.Kind, l.MAC, l.MTU, l.Master, l.Peer, slices.Contains(l.Flags, "UP"), slices.Contains(l.Flags, "PROMISC"), l.AltNames, l.Alias)
		offloads, err := host.Offloads(l.Name)
		must(t, err)
		found.add("link %s: offloads %q", l.Name, offloads)
	}
}

// lookPCI looks whose the PCI devices are.
func lookPCI(t *testing.T, h *host.Host, found Inventory) {
	devices, err := filepath.Glob("/sys/bus/pci/devices/*")
	must(t, err)
	for _, d := range devices {
		p, err := h.PCI(filepath.Base(d))
		must(t, err)
		found.add("device %s: driver %q, kept for %q, links %q, virtual functions %q", p.Address, p.Driver, p.Override, p.Links, p.VFs)
	}
}

func lookAddresses(t *testing.T, _ *host.Host, found Inventory) {
	var all []struct {
		Link      string `json:"ifname"`
		Addresses []struct {
			Local  string `json:"local"`
			Prefix int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	must(t, json.Unmarshal([]byte(output(t, "ip", "-json", "address")), &all))
	for _, l := range all {
		for _, a := range l.Addresses {
			found.add("address %s: %s/%d", l.Link, a.Local, a.Prefix)
		}
	}
	// Whether the other end of a link is up just now is no trace of a lab.
	state := strings.NewReplacer(" linkdown", "", " dead", "")
	for _, family := range []string{"-4", "-6"} {
		found.addText("route "+family, state.Replace(output(t, "ip", family, "route", "show", "table", "all")))
		found.addText("rule "+family, output(t, "ip", family, "rule"))
	}
}

// counts are the numbers in tc's words which differ between two of the same.
var counts = regexp.MustCompile(` (index \d+ )?ref(cnt)? \d+( bind \d+)?`)

func lookTrafficControl(t *testing.T, _ *host.Host, found Inventory) {
	for _, l := range links(t) {
		queues := output(t, "tc", "qdisc", "show", "dev", l.Name)
		for queue := range strings.Lines(counts.ReplaceAllString(queues, "")) {
			if !strings.HasPrefix(queue, "qdisc noqueue") { // which says that there is none
				found.addText("qdisc "+l.Name, queue)
			}
		}
		at := []string{"root"}
		if strings.Contains(queues, "clsact") || strings.Contains(queues, "ingress") {
			at = append(at, "ingress", "egress")
		}
		for _, hook := range at {
			filters := output(t, "tc", "filter", "show", "dev", l.Name, hook)
			found.addText("filter "+l.Name+" "+hook, counts.ReplaceAllString(filters, ""))
		}
	}
}

// lookFirewall takes nft's words apart into rules which each name their table and chain.
func lookFirewall(t *testing.T, _ *host.Host, found Inventory) {
	var in []string
	for line := range strings.Lines(output(t, "nft", "--stateless", "list", "ruleset")) {
		line = strings.TrimSpace(line)
		switch block, opens := strings.CutSuffix(line, " {"); {
		case opens:
			in = append(in, block)
			found.add("nft %s", strings.Join(in, " "))
		case line == "}":
			in = in[:len(in)-1]
		case line != "":
			found.add("nft %s: %s", strings.Join(in, " "), line)
		}
	}
}

// settings are those of the kernel that a lab, or libvirt for it, may change.
var settings = []string{
	"/proc/sys/net/ipv4/ip_forward",
	"/proc/sys/net/ipv4/conf/*/forwarding",
	"/proc/sys/net/ipv4/conf/*/route_localnet",
	"/proc/sys/net/ipv4/conf/*/rp_filter",
	"/proc/sys/net/ipv4/conf/*/proxy_arp",
	"/proc/sys/net/ipv4/conf/*/arp_*",
	"/proc/sys/net/ipv6/conf/*/disable_ipv6",
	"/proc/sys/net/ipv6/conf/*/forwarding",
	"/proc/sys/net/ipv6/conf/*/accept_ra",
	"/proc/sys/net/ipv6/conf/*/autoconf",
	"/proc/sys/net/bridge/*",
	"/sys/class/net/*/bridge/stp_state",
	"/sys/class/net/*/bridge/forward_delay",
	"/sys/class/net/*/bridge/multicast_snooping",
	"/sys/class/net/*/bridge/vlan_filtering",
	"/sys/class/net/*/bridge/group_fwd_mask",
}

func lookSysctls(t *testing.T, _ *host.Host, found Inventory) {
	for _, pattern := range settings {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range files {
			value, err := os.ReadFile(file)
			must(t, err)
			found.add("setting %s: %s", file, strings.TrimSpace(string(value)))
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}
