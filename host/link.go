package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// Quiet turns IPv6 off on a link of the host, so that the host sends no
// discovery of its own through it. A link which is not there is an error.
func Quiet(link string) error {
	if quiet, err := IsQuiet(link); quiet || err != nil {
		return err
	}
	if err := os.WriteFile(disableIPv6(link), []byte("1"), 0); err != nil {
		return fmt.Errorf("turn IPv6 off: %w", err)
	}
	return nil
}

// IsQuiet says whether IPv6 is off on a link of the host. A link which is not
// there is an error.
func IsQuiet(link string) (bool, error) {
	b, err := os.ReadFile(disableIPv6(link))
	if errors.Is(err, fs.ErrNotExist) {
		// The kernel has no IPv6, or the link's MTU is too small for it.
		_, err := net.InterfaceByName(link)
		return err == nil, err
	}
	return strings.TrimSpace(string(b)) == "1", err
}

func disableIPv6(link string) string {
	return "/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6"
}
