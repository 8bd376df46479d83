package topology

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// parseSize is a size in bytes, from a whole number and its unit.
func parseSize(s string) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	shift := map[string]int{"MiB": 20, "GiB": 30, "TiB": 40}[s[digits:]]
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	switch {
	case digits == len(s):
		return 0, errors.New("has no unit")
	case digits == 0 || shift == 0:
		return 0, errors.New("is not a size")
	case err != nil || n > math.MaxInt64>>shift:
		return 0, errors.New("is too large")
	}
	return n << shift, nil
}

// showSize is a size in the largest unit that keeps it whole.
func showSize(bytes int64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{40, "TiB"}, {30, "GiB"}} {
		if bytes != 0 && bytes%(1<<u.shift) == 0 {
			return fmt.Sprintf("%d%s", bytes>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%dMiB", bytes>>20)
}

// parsePublish reads [ADDRESS:]HOST:NODE[/PROTOCOL].
func parsePublish(s string) (Publish, error) {
	p := Publish{Protocol: "tcp"}
	rest, protocol, given := strings.Cut(s, "/")
	if given {
		p.Protocol = protocol
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return Publish{}, fmt.Errorf("has the protocol %s", show(p.Protocol))
	}
	if strings.HasPrefix(rest, "[") {
		return Publish{}, errors.New("has an IPv6 host address: IPv6 is not yet supported")
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 3 {
		a, err := netip.ParseAddr(parts[0])
		if err != nil || !a.Is4() {
			return Publish{}, fmt.Errorf("has the host address %s, which is not an IPv4 address", show(parts[0]))
		}
		if !a.IsUnspecified() {
			p.HostAddress = a
		}
		parts = parts[1:]
	}
	if len(parts) != 2 {
		return Publish{}, errors.New("is not a published port")
	}
	for i, port := range []*uint16{&p.HostPort, &p.Port} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || n == 0 {
			return Publish{}, fmt.Errorf("has the port %s, which is not between 1 and 65535", show(parts[i]))
		}
		*port = uint16(n)
	}
	return p, nil
}

// String is the port as it is written in a lab file.
func (p Publish) String() string {
	s := fmt.Sprintf("%d:%d", p.HostPort, p.Port)
	if p.HostAddress.IsValid() {
		s = p.HostAddress.String() + ":" + s
	}
	if p.Protocol != "tcp" {
		s += "/" + p.Protocol
	}
	return s
}
