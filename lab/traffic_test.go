package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// What passed a NIC is told as its node sees it: what goes out at a tap is what the node
// receives, and what goes out at a macvtap is what it sends.
func TestTraffic(t *testing.T) {
	cable := netlink.NewVeth(netlink.LinkAttrs{Name: "traffic"})
	cable.PeerName = "far-traffic"
	must(t, netlink.LinkAdd(cable))
	t.Cleanup(func() { _ = netlink.LinkDel(cable) })
	for _, name := range []string{cable.Name, cable.PeerName} {
		must(t, host.Quiet(name)) // else the kernel has frames of its own to send
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
	}
	send(t, cable.Name, 3, 100)
	send(t, cable.PeerName, 2, 60)
	out, in := networks.Passed{Frames: 3, Bytes: 300}, networks.Passed{Frames: 2, Bytes: 120}
	for kind, want := range map[string]networks.Traffic{
		topology.KindVirtio:  {Sent: in, Received: out},
		topology.KindMacvtap: {Sent: out, Received: in},
	} {
		s := Build{}.nicStatus(topology.NIC{Kind: kind, Link: cable.Name})
		if s.HostState != "up" || s.Traffic == nil || cmp.Diff(want, *s.Traffic) != "" {
			t.Errorf("%s: %s, %+v; want %+v", kind, s.HostState, s.Traffic, want)
		}
	}
	for _, c := range []topology.NIC{{Kind: topology.KindVirtio, Link: "no-such-link"}, {Kind: topology.KindFunction}} {
		if s := (Build{}).nicStatus(c); s.HostState != "absent" || s.Traffic != nil {
			t.Errorf("%+v: %s, %+v", c, s.HostState, s.Traffic)
		}
	}
}

// send sends frames out at a link.
func send(t *testing.T, name string, frames, bytes int) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(fd) }()
	for range frames {
		must(t, unix.Sendto(fd, make([]byte, bytes), 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Halen: 6}))
	}
}
