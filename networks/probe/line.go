package probe

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

// line is a path with its sockets open.
type line struct {
	Path
	mark   uint32
	offset int    // of the payload
	next   uint32 // number
	out    int    // sends by way of In's queueing discipline
	past   int    // sends past it
	in     *os.File
	raw    syscall.RawConn
	buffer []byte
}

// Bytes of sockets' buffers: a flood of floodTime at rates that a host keeps up with.
const socketBuffer = 1 << 28

func open(p Path, mtu int) (_ *line, err error) {
	mark := make([]byte, 4)
	_, _ = rand.Read(mark) // never fails
	l := &line{
		Path: p, mark: binary.BigEndian.Uint32(mark), offset: len(p.Head(payloadLeast)), out: -1, past: -1,
		buffer: make([]byte, mtu+topology.EthernetHeader),
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.out, err = packetSocket(p.In, 0); err != nil {
		return nil, err
	}
	if err = os.NewSyscallError("set send buffer", unix.SetsockoptInt(l.out, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)); err != nil {
		return nil, err
	}
	if p.Own {
		if l.past, err = packetSocket(p.In, 0); err != nil {
			return nil, err
		}
		if err = os.NewSyscallError("bypass queue", unix.SetsockoptInt(l.past, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)); err != nil {
			return nil, err
		}
	}
	// A bridge takes the frames of its ports before sockets for one EtherType see them: listen to all.
	fd, err := packetSocket(p.Out, unix.ETH_P_ALL, l.listen)
	if err != nil {
		return nil, err
	}
	l.in = os.NewFile(uintptr(fd), p.Out)
	l.raw, err = l.in.SyscallConn()
	return l, err
}

// listen sets what a socket receives: marked frames that come in by the link, and when.
func (l *line) listen(fd int) error {
	const accept, reject = 1 << 18, 0
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(l.offset)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: l.mark, Jt: 2},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(l.offset + recordSize)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: l.mark, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: accept},
		{Code: unix.BPF_RET | unix.BPF_K, K: reject},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return os.NewSyscallError("attach filter", err)
	}
	for _, o := range []struct {
		what               string
		level, name, value int
	}{
		{"set receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer},
		{"stamp time", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{"ignore outgoing", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError(o.what, err)
		}
	}
	return nil
}

// packetSocket is a socket for the frames of a link, of a protocol in host order; 0
// receives none. It is prepared before it receives.
func packetSocket(link string, protocol uint16, prepare ...func(fd int) error) (int, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return -1, fmt.Errorf("link %s: %w", link, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("open packet socket", err)
	}
	for _, p := range prepare {
		if err := p(fd); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	network := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: i.Index}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind to %s: %w", link, err)
	}
	return fd, nil
}

func (l *line) close() {
	for _, fd := range []int{l.out, l.past} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	if l.in != nil {
		_ = l.in.Close()
	}
}

// receive is the next frame that comes in, until the one after it, and when it came (ns
// of Unix time); it ends with the socket's deadline, once none is left that came before.
func (l *line) receive() (frame []byte, at int64, err error) {
	var n, oobn int
	var rerr error
	oob := make([]byte, 64)
	next := func(fd uintptr) bool {
		for {
			n, oobn, _, _, rerr = unix.Recvmsg(int(fd), l.buffer, oob, 0)
			if rerr != unix.EINTR {
				return rerr != unix.EAGAIN
			}
		}
	}
	err = l.raw.Read(next)
	if errors.Is(err, os.ErrDeadlineExceeded) { // a busy host looks late at what came in time
		found := false
		if cerr := l.raw.Control(func(fd uintptr) { found = next(fd) }); cerr == nil && found {
			err = nil
		}
	}
	if err != nil {
		return nil, 0, err
	}
	if rerr != nil {
		return nil, 0, os.NewSyscallError("receive", rerr)
	}
	at, err = stamped(oob[:oobn])
	return l.buffer[:n], at, err
}

// stamped is the time (ns of Unix time) that the kernel gave a frame.
func stamped(oob []byte) (int64, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, os.NewSyscallError("read time stamp", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return int64(binary.NativeEndian.Uint64(m.Data))*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:])), nil
		}
	}
	return 0, errors.New("a frame came without a time stamp")
}

// dropped is how many frames came and found the socket's buffer full since it was last asked.
func (l *line) dropped() (int, error) {
	var drops uint32
	var serr error
	if err := l.raw.Control(func(fd uintptr) {
		var s *unix.TpacketStats
		if s, serr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); serr == nil {
			drops = s.Drops
		}
	}); err != nil {
		return 0, err
	}
	return int(drops), os.NewSyscallError("ask for drops", serr)
}
