package flows

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// classes are the names of code points that every iperf3 knows, and their bytes in the IP header.
var classes = map[string]int{
	"af11": 0x28, "af12": 0x30, "af13": 0x38, "af21": 0x48, "af22": 0x50, "af23": 0x58,
	"af31": 0x68, "af32": 0x70, "af33": 0x78, "af41": 0x88, "af42": 0x90, "af43": 0x98,
	"cs0": 0x00, "cs1": 0x20, "cs2": 0x40, "cs3": 0x60, "cs4": 0x80, "cs5": 0xa0, "cs6": 0xc0, "cs7": 0xe0,
	"ef": 0xb8, "va": 0xb0, "lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04,
}

// parseDSCP is the type of service byte of a code point: a name, or a number that
// may be octal (056) or hexadecimal (0x2e).
func parseDSCP(s string) (int, error) {
	if b, ok := classes[strings.ToLower(s)]; ok {
		return b, nil
	}
	const most = 63
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n > most || strings.Contains(s, "_") {
		names := make([]string, 0, len(classes))
		for name := range classes {
			names = append(names, name)
		}
		slices.Sort(names)
		return 0, fmt.Errorf("expected 0 to %d, or one of %s", most, strings.Join(names, ", "))
	}
	return int(n) << 2, nil
}

// TypeOfService is the byte that the flow's packets carry in their IP header, by tos or dscp.
func (c ClientConfig) TypeOfService() int {
	if b, err := parseDSCP(c.DSCP); c.DSCP != "" && err == nil {
		return b
	}
	return c.TOS
}
