package hosttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// call is a system call of a process, about to be made.
type call struct {
	pid    int
	number uint64
	args   [6]uint64
}

// change says what a call changes of the host; "" where it is nothing.
func (c call) change() string {
	switch c.number {
	case unix.SYS_OPENAT:
		if c.args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return ""
		}
		return named("create", c.path(0, 1))
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_SENDTO:
		return c.write(c.args[1], c.args[2])
	case unix.SYS_WRITEV:
		return c.write(word(c.pid, c.args[1]), word(c.pid, c.args[1]+8))
	case unix.SYS_SENDMSG:
		vector := word(c.pid, c.args[1]+16)
		return c.write(word(c.pid, vector), word(c.pid, vector+8))
	case unix.SYS_IOCTL:
		return c.ioctl()
	case unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_VFORK, unix.SYS_FORK:
		return c.start()
	case unix.SYS_WAITID, unix.SYS_WAIT4:
		return "see a program end"
	case unix.SYS_KILL, unix.SYS_PIDFD_SEND_SIGNAL:
		return "signal a program"
	}
	for _, f := range fileCalls {
		if f.number == c.number {
			return named(f.verb, f.path(c))
		}
	}
	return ""
}

// fileCalls change a file that they name, by path or by descriptor.
var fileCalls = []struct {
	number uint64
	verb   string
	path   func(call) string
}{
	{unix.SYS_MKDIRAT, "make folder", at(0, 1)},
	{unix.SYS_UNLINKAT, "remove", at(0, 1)},
	{unix.SYS_RENAMEAT, "rename", at(0, 1)},
	{unix.SYS_RENAMEAT2, "rename", at(0, 1)},
	{unix.SYS_SYMLINKAT, "link", at(1, 2)},
	{unix.SYS_LINKAT, "link", at(2, 3)},
	{unix.SYS_FCHMODAT, "mode of", at(0, 1)},
	{unix.SYS_FCHOWNAT, "owner of", at(0, 1)},
	{unix.SYS_UTIMENSAT, "time of", at(0, 1)},
	{unix.SYS_MKDIR, "make folder", absolute},
	{unix.SYS_RMDIR, "remove", absolute},
	{unix.SYS_UNLINK, "remove", absolute},
	{unix.SYS_RENAME, "rename", absolute},
	{unix.SYS_CHMOD, "mode of", absolute},
	{unix.SYS_CHOWN, "owner of", absolute},
	{unix.SYS_LCHOWN, "owner of", absolute},
	{unix.SYS_TRUNCATE, "length of", absolute},
	{unix.SYS_SETXATTR, "attribute of", absolute},
	{unix.SYS_MOUNT, "mount", absolute},
	{unix.SYS_UMOUNT2, "unmount", absolute},
	{unix.SYS_FTRUNCATE, "length of", open},
	{unix.SYS_FALLOCATE, "length of", open},
	{unix.SYS_FCHMOD, "mode of", open},
	{unix.SYS_FCHOWN, "owner of", open},
	{unix.SYS_COPY_FILE_RANGE, "write", func(c call) string { return c.descriptor(2) }},
	{unix.SYS_SENDFILE, "write", open},
}

func at(dir, name int) func(call) string { return func(c call) string { return c.path(dir, name) } }

func absolute(c call) string { return c.text(c.args[0]) }

func open(c call) string { return c.descriptor(0) }

// numbers are those that name a process.
var numbers = regexp.MustCompile(`[0-9]+`)

func named(verb, path string) string {
	if strings.HasPrefix(path, "/proc/") && !strings.HasPrefix(path, "/proc/sys/") {
		path = numbers.ReplaceAllString(path, "N")
	}
	return verb + " " + path
}

// path is the file that the arguments name: a folder's descriptor, and a name in it.
func (c call) path(dir, name int) string {
	path := c.text(c.args[name])
	if filepath.IsAbs(path) {
		return path
	}
	if int32(c.args[dir]) == unix.AT_FDCWD {
		folder, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.pid))
		return filepath.Join(folder, path)
	}
	return filepath.Join(c.descriptor(dir), path)
}

func (c call) text(at uint64) string {
	text, _, _ := bytes.Cut(memory(c.pid, at, unix.PathMax), []byte{0})
	return string(text)
}

// descriptor is what an open file is, as the kernel names it.
func (c call) descriptor(argument int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.pid, int32(c.args[argument])))
	return name
}

// write is what is written to a file, or said to the kernel or to libvirt.
func (c call) write(buffer, length uint64) string {
	to := c.descriptor(0)
	if filepath.IsAbs(to) {
		if strings.HasPrefix(to, "/dev/") {
			return ""
		}
		return named("write", to)
	}
	if !strings.HasPrefix(to, "socket:") {
		return ""
	}
	message := memory(c.pid, buffer, int(min(length, 64)))
	switch c.family() {
	case unix.AF_NETLINK:
		return ofNetlink(message)
	case unix.AF_UNIX:
		return ofLibvirt(message)
	}
	return ""
}

// family is that of the socket which is the first argument.
func (c call) family() int {
	process, err := unix.PidfdOpen(c.pid, 0)
	if err != nil {
		return -1
	}
	defer func() { _ = unix.Close(process) }()
	socket, err := unix.PidfdGetfd(process, int(int32(c.args[0])), 0)
	if err != nil {
		return -1
	}
	defer func() { _ = unix.Close(socket) }()
	family, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return -1
	}
	return family
}

// ofNetlink reads the type of a netlink message (rtnetlink(7), nfnetlink): those
// that only ask are no change.
func ofNetlink(message []byte) string {
	if len(message) < unix.SizeofNlMsghdr {
		return ""
	}
	kind := binary.NativeEndian.Uint16(message[4:])
	asksLinks := kind < 0x100 && kind%4 == 2                                 // RTM_GET…
	asksTables := kind>>8 == unix.NFNL_SUBSYS_NFTABLES && (kind&0xff)%3 == 1 // NFT_MSG_GET…
	if kind < unix.NLMSG_MIN_TYPE || asksLinks || asksTables {
		return ""
	}
	return fmt.Sprintf("netlink %d", kind)
}

// Of libvirt's protocol (src/rpc/virnetprotocol.x, src/remote/remote_protocol.x):
// its program, and the calls of it that labctl makes and that only ask.
const (
	remoteProgram = 0x20008086
	isCall        = 0
)

var asks = []uint32{
	1, 2, 3, 4, 5, 6, 7, // open, close, type, version, vcpus, node, capabilities
	14, 15, 22, 23, 24, // a domain's description, autostart, lookups
	43, 44, 45, 46, 47, // and a network's
	59, 60, 66, 110, 157, // hostname, features, authentication, URI, library version
	150, 151, 152, 153, 212, // is active, is persistent, state
	273, 283, // lists
	360, 361, // close callbacks
}

func ofLibvirt(message []byte) string {
	const header = 7 * 4 // length, program, version, procedure, type, serial, status
	if len(message) < header || binary.BigEndian.Uint32(message[4:]) != remoteProgram || binary.BigEndian.Uint32(message[16:]) != isCall {
		return ""
	}
	procedure := binary.BigEndian.Uint32(message[12:])
	if slices.Contains(asks, procedure) {
		return ""
	}
	return fmt.Sprintf("libvirt call %d", procedure)
}

// start is a new process; not a thread.
func (c call) start() string {
	flags := c.args[0]
	if c.number == unix.SYS_CLONE3 {
		flags = word(c.pid, c.args[0])
	}
	if (c.number == unix.SYS_CLONE || c.number == unix.SYS_CLONE3) && flags&unix.CLONE_THREAD != 0 {
		return ""
	}
	return "start a program"
}

// asksEthtool are the commands of SIOCETHTOOL that only ask (linux/ethtool.h).
var asksEthtool = []uint32{unix.ETHTOOL_GDRVINFO, unix.ETHTOOL_GSSET_INFO, unix.ETHTOOL_GSTRINGS, unix.ETHTOOL_GFEATURES}

func (c call) ioctl() string {
	const ifreqData = unix.IFNAMSIZ
	if c.args[1] != unix.SIOCETHTOOL {
		return ""
	}
	command := uint32(word(c.pid, word(c.pid, c.args[2]+ifreqData)))
	if slices.Contains(asksEthtool, command) {
		return ""
	}
	name, _, _ := bytes.Cut(memory(c.pid, c.args[2], unix.IFNAMSIZ), []byte{0})
	return fmt.Sprintf("ethtool %d of %s", command, name)
}
