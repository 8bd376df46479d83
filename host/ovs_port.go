package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kinds of datapath that Open vSwitch passes frames with.
const (
	OVSKernel    = "system" // the kernel's
	OVSUserspace = "netdev" // ovs-vswitchd's own, where the kernel has none
)

// OVSDatapath is the kind of datapath that bridges of Open vSwitch are to have here.
func OVSDatapath() (string, error) {
	_, err := netlink.GenlFamilyGet("ovs_datapath") // the kernel loads the module for it
	if errors.Is(err, unix.ENOENT) {
		return OVSUserspace, nil
	}
	if err != nil {
		return "", fmt.Errorf("ask the kernel for Open vSwitch's datapath: %w", err)
	}
	return OVSKernel, nil
}

// portLink is the key under which a port that labctl made bears its link's number:
// another link of its name is not seen by the userspace datapath.
const portLink = "labctl-link"

// OVSPlug makes a link of the host a port of a bridge of Open vSwitch's that labctl has
// made, along with more commands in the same transaction.
func OVSPlug(ctx context.Context, link, bridge string, more ...string) error {
	if err := Deafen(link); err != nil {
		return err
	}
	plugged, err := OVSPlugged(ctx, link, bridge)
	if err != nil || plugged && len(more) == 0 {
		return err
	}
	i, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	of, err := OVSRows(ctx, "Port", "name="+bridge, "qos")
	if err != nil {
		return err
	}
	// On its own: what follows is to be a port of its own to ovs-vswitchd.
	if err := OVSUnplug(ctx, link); err != nil {
		return err
	}
	commands := []string{"add-port", bridge, link, "--", "set", "Interface", link, fmt.Sprintf("external_ids:%s=%d", portLink, i.Index)}
	if len(of) == 1 && of[0].One("qos") != "" { // that of the bridge: its queues are not Open vSwitch's business
		commands = append(commands, "--", "set", "Port", link, "qos="+of[0].One("qos"))
	}
	if err := OVS(ctx, append(commands, more...)...); err != nil {
		return fmt.Errorf("plug %s into %s: %w", link, bridge, err)
	}
	return nil
}

// OVSUnplug has a link of the host be no port of Open vSwitch's; not being one is fine.
func OVSUnplug(ctx context.Context, link string) error {
	if err := OVS(ctx, "--if-exists", "del-port", link); err != nil {
		return fmt.Errorf("unplug %s: %w", link, err)
	}
	return nil
}

// OVSPlugged says whether a link of the host is a port of that bridge and passes frames.
func OVSPlugged(ctx context.Context, link, bridge string) (bool, error) {
	i, err := net.InterfaceByName(link)
	if err != nil || !isDeaf(link) {
		return false, nil // gone
	}
	port, err := OVSRows(ctx, "Port", "name="+link, "_uuid")
	if err != nil || len(port) != 1 {
		return false, err
	}
	of, err := OVSRows(ctx, "Bridge", "name="+bridge, "ports")
	if err != nil || len(of) != 1 || !strings.Contains(of[0].One("ports"), port[0].One("_uuid")) {
		return false, err
	}
	state, err := OVSRows(ctx, "Interface", "name="+link, "ofport", "external_ids")
	if err != nil || len(state) != 1 {
		return false, err
	}
	number, err := strconv.Atoi(state[0].One("ofport")) // -1 where ovs-vswitchd could not open it
	made := state[0].One("external_ids:" + portLink)
	return err == nil && number > 0 && (made == "" || made == strconv.Itoa(i.Index)), nil
}

// Deafen keeps the host from answering ARP by a link, for addresses that it has elsewhere:
// Open vSwitch's userspace datapath leaves what comes in at a port to the host as well.
func Deafen(link string) error {
	if err := os.WriteFile(arpIgnore(link), []byte(ignoreAll), 0); err != nil {
		return fmt.Errorf("turn ARP off: %w", err)
	}
	return nil
}

// isDeaf says whether Deafen was here.
func isDeaf(link string) bool { return readARP(link) == ignoreAll }

// readARP is for which addresses a link answers ARP, as the kernel counts; "" where it is not there.
func readARP(link string) string {
	b, _ := os.ReadFile(arpIgnore(link))
	return strings.TrimSpace(string(b))
}

// ignoreAll is to answer for no address (ip-sysctl.rst, arp_ignore).
const ignoreAll = "8"

func arpIgnore(link string) string { return "/proc/sys/net/ipv4/conf/" + link + "/arp_ignore" }
