package topology

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseSize is a size in bytes, from a whole number and its unit.
func ParseSize(s string) (int64, error) {
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

// parsePublish reads [ADDRESS:]HOST:NODE[/PROTOCOL]; an IPv6 address stands in brackets.
func parsePublish(s string) (Publish, error) {
	p := Publish{Protocol: "tcp"}
	rest, protocol, given := strings.Cut(s, "/")
	if given {
		p.Protocol = protocol
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return Publish{}, fmt.Errorf("has the protocol %s", show(p.Protocol))
	}
	if bracketed, ok := strings.CutPrefix(rest, "["); ok {
		var address string
		if address, rest, ok = strings.Cut(bracketed, "]:"); !ok {
			return Publish{}, errors.New("is not a published port")
		}
		a, err := parseHost6(address)
		if err != nil {
			return Publish{}, err
		}
		p.HostAddress = a
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 3 && !p.HostAddress.IsValid() {
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
	switch {
	case p.HostAddress.Is6():
		s = "[" + p.HostAddress.String() + "]:" + s
	case p.HostAddress.IsValid():
		s = p.HostAddress.String() + ":" + s
	}
	if p.Protocol != "tcp" {
		s += "/" + p.Protocol
	}
	return s
}

// parseRate is a rate in bit/s.
func parseRate(s string) (int64, error) {
	const expected = "expected bits a second, 8kbit to 400gbit, such as 50mbit"
	number, unit := s, ""
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		number, unit = s[:i], s[i:]
	}
	times, known := map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if rate := n * times; known && err == nil && rate >= leastRate && rate <= mostRate {
		return int64(math.Round(rate)), nil
	}
	return 0, errors.New(expected)
}

// showRate is a rate in the largest unit that keeps it short.
func showRate(bits int64) string {
	for _, u := range []struct {
		times float64
		name  string
	}{{1e9, "gbit"}, {1e6, "mbit"}, {1e3, "kbit"}} {
		if float64(bits) >= u.times {
			return strconv.FormatFloat(float64(bits)/u.times, 'f', -1, 64) + u.name
		}
	}
	return fmt.Sprintf("%dbit", bits)
}

var delayText = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(us|ms|s)$`)

// parseDelay is a time with its unit.
func parseDelay(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d > mostDelay || !delayText.MatchString(s) {
		return 0, fmt.Errorf("expected a time in us, ms or s up to %gs, such as 92ms", mostDelay.Seconds())
	}
	return d, nil
}

// parseShare is a percentage as a share of 1.
func parseShare(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(p >= 0 && p <= 100) {
		return 0, errors.New("expected a percentage of frames from 0% to 100%, such as 0.025%")
	}
	return p / 100, nil
}

// showShare is a share of 1 in percent.
func showShare(share float64) string { return strconv.FormatFloat(100*share, 'g', 6, 64) + "%" }

// parseQueue is a queue's length in bytes.
func parseQueue(s string) (int64, error) {
	for unit, shift := range map[string]int{"KiB": 10, "MiB": 20} {
		number, ok := strings.CutSuffix(s, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if bytes := n * float64(int(1)<<shift); err == nil && bytes >= 1 && bytes <= mostQueue {
			return int64(bytes), nil
		}
	}
	return 0, errors.New("expected bytes in KiB or MiB up to 1024MiB, such as 256KiB")
}

func showQueue(bytes int64) string {
	if bytes >= 1<<20 {
		return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', 1, 64) + "MiB"
	}
	return strconv.FormatFloat(float64(bytes)/(1<<10), 'f', 1, 64) + "KiB"
}
