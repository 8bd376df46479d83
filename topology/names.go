package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
)

// Identity is a pure function of names: the same file gives the same objects,
// MACs, UUIDs and links on every run and on every host. No name holds a dot or
// a slash, so joined names cannot meet.

// ObjectName is libvirt's name for a lab's object, "labctl.LAB.NAME[.SIDE]".
func ObjectName(lab string, names ...string) string {
	return "labctl." + lab + "." + strings.Join(names, ".")
}

// UUID is the version 8 UUID (RFC 9562 section 5.8) of an object, from SHA-256 of its names.
func UUID(kind, lab string, names ...string) string {
	b := digest("uuid", kind, lab, names...)
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// MAC is the locally administered unicast address of a link, six bytes:
// 02 and five bytes of SHA-256 of its names.
func MAC(kind, lab string, names ...string) net.HardwareAddr {
	b := digest("mac", kind, lab, names...)
	return net.HardwareAddr{0x02, b[0], b[1], b[2], b[3], b[4]}
}

// LinkName is the name of a link on the host, 13 of the 15 characters that
// Linux allows: "lc", a letter for the kind, and ten hex digits of SHA-256 of its names.
func LinkName(kind, lab string, names ...string) string {
	b := digest("link", kind, lab, names...)
	return "lc" + kind[:1] + hex.EncodeToString(b[:5])
}

// TableName is the name of a lab's nftables table.
func TableName(lab string) string { return "labctl-" + lab }

func digest(what, kind, lab string, names ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{what, kind, lab}, names...), "/")))
	return sum[:]
}
