package networks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host"
)

// plain are the settings of a bridge that passes every frame at once and adds
// none of its own. The host has no address there, and would else tell who asks by
// ARP for those that it has elsewhere.
func plain(bridge string) map[string]string {
	return map[string]string{
		"/sys/class/net/" + bridge + "/bridge/stp_state":          "0",
		"/sys/class/net/" + bridge + "/bridge/multicast_snooping": "0",
		"/proc/sys/net/ipv4/conf/" + bridge + "/arp_ignore":       "8",
	}
}

// makePlain turns off what a bridge adds to or keeps from the traffic.
func makePlain(bridge string) error {
	for file, value := range plain(bridge) {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s: %w", filepath.Base(file), err)
		}
	}
	return host.Quiet(bridge)
}

// isPlain says whether the bridge is there and plain.
func isPlain(bridge string) (bool, error) {
	for file, value := range plain(bridge) {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil || strings.TrimSpace(string(b)) != value {
			return false, err
		}
	}
	return host.IsQuiet(bridge)
}

var errForeign = errors.New("not this lab's")

// link is the host's link of that name; nil where there is none.
func link(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for link %s: %w", name, err)
	}
	return l, nil
}

// ownLink is the host's link of that name and MAC; nil where there is none.
// Another's link of that name is an error.
func ownLink(name string, mac net.HardwareAddr) (netlink.Link, error) {
	l, err := link(name)
	if l == nil || err != nil {
		return nil, err
	}
	if !bytes.Equal(l.Attrs().HardwareAddr, mac) {
		return nil, fmt.Errorf("link %s (%s) is %w: remove it or rename it", name, l.Attrs().HardwareAddr, errForeign)
	}
	return l, nil
}
