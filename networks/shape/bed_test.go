//go:build e2e || guest

package shape

import (
	"encoding/binary"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bed is a network namespace of its own with a cable in it: a sends to b.
type bed struct {
	t        *testing.T
	a, b     netlink.Link
	sender   int // a packet socket at a
	receiver int // and one at b
}

// ofTest marks the frames of tests: an EtherType for experiments.
const ofTest = 0x88b5

// apart is a bed. It lasts as long as the test, which starts no subtests in it.
func apart(t *testing.T) *bed {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "va", TxQLen: -1, NumTxQueues: 1, NumRxQueues: 1})
	veth.PeerName = "vb"
	must(t, netlink.LinkAdd(veth))
	d := &bed{t: t}
	for _, end := range []struct {
		name   string
		link   *netlink.Link
		socket *int
	}{{"va", &d.a, &d.sender}, {"vb", &d.b, &d.receiver}} {
		l, err := netlink.LinkByName(end.name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Protocol: htons(ofTest)}))
		*end.link, *end.socket = l, fd
	}
	return d
}

// frame is one of that length, with room for a note behind its header.
func (d *bed) frame(bytes int) []byte {
	f := make([]byte, bytes)
	copy(f, d.b.Attrs().HardwareAddr)
	copy(f[6:], d.a.Attrs().HardwareAddr)
	binary.BigEndian.PutUint16(f[12:], ofTest)
	return f
}

// sh runs a script in the bed and returns what it prints.
func (d *bed) sh(script string) string {
	d.t.Helper()
	c := exec.CommandContext(d.t.Context(), "bash", "-c", script)
	c.Env = append(c.Environ(), "LINK=va")
	out, err := c.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
