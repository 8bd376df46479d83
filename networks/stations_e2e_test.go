//go:build e2e

package networks

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// patience is how long a test waits for what has to come, on a busy machine too.
const patience = 3 * time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// noneTentative waits until the kernel has seen that nobody else has the host's IPv6 addresses: a second or two after it
// makes one, it makes a route to it.
func noneTentative(t *testing.T) {
	t.Helper()
	eventually(t, "no address is tentative", func() bool { return sh(t, "ip -6 -o address show tentative") == "" })
}

func connect(t *testing.T) *host.Host {
	t.Helper()
	h, err := host.Connect("", host.DefaultDir)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func sh(t *testing.T, format string, args ...any) string {
	t.Helper()
	script := fmt.Sprintf(format, args...)
	out, err := exec.CommandContext(t.Context(), "bash", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// station makes a network namespace that stands for a machine: its link eth0 is
// the other end of the host's link "v-NAME". Its loopback is down. Neither end
// sends anything of its own.
func station(t *testing.T, name string) {
	t.Helper()
	sh(t, `ip netns add %[1]s
		ip link add v-%[1]s type veth peer name eth0 netns %[1]s
		sysctl -qw net.ipv6.conf.v-%[1]s.disable_ipv6=1
		ip netns exec %[1]s sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
		ip link set v-%[1]s up
		ip -n %[1]s link set eth0 up`, name)
}

// endStation takes a station away, as when its machine ends.
func endStation(t *testing.T, name string) {
	t.Helper()
	sh(t, "ip link del v-%[1]s; ip netns del %[1]s", name)
}

// in runs do in a station's network namespace; "" is the host's.
func in(station string, do func() error) error {
	if station == "" {
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		ns, err := netns.GetFromName(station)
		if err == nil {
			defer func() { _ = ns.Close() }()
			err = netns.Set(ns)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// serve answers every connection, and every UDP datagram, with "NAME to CLIENT".
func serve(t *testing.T, station, network, address string) {
	t.Helper()
	must(t, in(station, func() error {
		if strings.HasPrefix(network, "udp") {
			c, err := net.ListenPacket(network, address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				for {
					_, from, err := c.ReadFrom(make([]byte, 64))
					if err != nil {
						return
					}
					_, _ = fmt.Fprintf(packetWriter{c, from}, "%s to %s", station, hostOf(from))
				}
			}()
			return nil
		}
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "%s to %s", station, hostOf(c.RemoteAddr()))
				_ = c.Close()
			}
		}()
		return nil
	}))
}

type packetWriter struct {
	net.PacketConn
	to net.Addr
}

func (w packetWriter) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}

// ask is what a service answers to a station, "" where nothing comes within the time.
func ask(station, network, address string, wait time.Duration) string {
	var answer []byte
	_ = in(station, func() error {
		c, err := net.DialTimeout(network, address, wait)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(wait))
		if strings.HasPrefix(network, "udp") {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			answer = make([]byte, 64)
			n, _ := c.Read(answer)
			answer = answer[:n]
			return nil
		}
		answer, err = io.ReadAll(c)
		return err
	})
	return string(answer)
}

// marked is an EtherType for local experiments, which no kernel sends on its own.
const marked = 0x88b5

// tap receives the frames that pass a link, sent and received.
type tap struct {
	t  *testing.T
	fd int
}

// listen opens a tap on a link for one EtherType in host order.
func listen(t *testing.T, station, link string, etherType uint16) tap {
	t.Helper()
	var fd int
	must(t, in(station, func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		protocol := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, etherType)))
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, protocol)
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(protocol), Ifindex: i.Index})
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	return tap{t, fd}
}

// send puts a frame on the link.
func (p tap) send(frame []byte) {
	p.t.Helper()
	if _, err := unix.Write(p.fd, frame); err != nil {
		p.t.Fatal(os.NewSyscallError("send frame", err))
	}
}

// next is the next frame, nil where none comes in time.
func (p tap) next(wait time.Duration) []byte {
	p.t.Helper()
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	must(p.t, unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	b := make([]byte, 1<<17)
	n, _, err := unix.Recvfrom(p.fd, b, 0)
	if err != nil {
		return nil
	}
	return b[:n]
}

// until counts the frames that come until each of all has: processors may deliver them in another order than they were sent.
func (p tap) until(all ...[]byte) map[string]int {
	p.t.Helper()
	seen := map[string]int{}
	for slices.ContainsFunc(all, func(f []byte) bool { return seen[string(f)] == 0 }) {
		f := p.next(patience)
		if f == nil {
			p.t.Fatalf("of %d frames not all came; %d did, others included", len(all), len(seen))
		}
		seen[string(f)]++
	}
	for f := p.next(100 * time.Millisecond); f != nil; f = p.next(100 * time.Millisecond) {
		seen[string(f)]++
	}
	return seen
}

// frames are marked frames of several lengths, down to a bare header, each of them once.
func frames(from byte) [][]byte {
	var all [][]byte
	for _, length := range []int{14, 15, 17, 18, 60, 64, 576, 1514} {
		f := make([]byte, length)
		copy(f, []byte{0x02, 0xaa, 0, 0, byte(length >> 8), byte(length), 0x02, 0xbb, 0, 0, 0, from, marked >> 8, marked & 0xff})
		all = append(all, f)
	}
	return all
}

// once checks that every frame was seen exactly once, and no other.
func once(t *testing.T, what string, seen map[string]int, want ...[]byte) {
	t.Helper()
	for _, f := range want {
		if n := seen[string(f)]; n != 1 {
			t.Errorf("%s: a frame of %d bytes came %d times", what, len(f), n)
		}
		delete(seen, string(f))
	}
	for f, n := range seen {
		t.Errorf("%s: %d × %x came and was not sent", what, n, f[:min(len(f), 40)])
	}
}
