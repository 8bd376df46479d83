package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Needs are what a lab wants of the host, in plain numbers and names: of what is
// not there yet, since what runs already has what it needs.
type Needs struct {
	KVM       bool  // KVM or nothing
	Auto      bool  // KVM where it can be had, else slower
	UEFI      bool  // a firmware for machines
	MemoryMiB int   // of the machines to be started
	DiskBytes int64 // for the overlays to be made, at the least
	Subnets   []netip.Prefix
	InUse     []netip.Prefix // by the host and by others
	Ports     []Port
	Tools     []string  // programs that are run
	Devices   []Device  // PCI devices to be handed to machines
	Links     []LinkUse // links of the host to be taken
	Bridges   []Bridge  // of the host's own that nodes are plugged into, also where they are
	OVS       []string  // networks whose bridges are to be Open vSwitch's, also where they are
	// Taken is who has a PCI device or a link already, by address or name: "lab x",
	// "domain y". The lab's own are left out.
	Taken map[string]string
}

// Port is a port of the host that is wanted; the zero Address means all of IPv4, and ::
// all of IPv6.
type Port struct {
	Address  netip.Addr
	Number   uint16
	Protocol string // "tcp" or "udp"
}

// Unfits are all the reasons why the host cannot run the lab.
type Unfits []Unfit

func (u Unfits) Error() string {
	errs := make([]error, len(u))
	for i := range u {
		errs[i] = u[i]
	}
	return errors.Join(errs...).Error()
}

// preflightCheck is a check without which nothing is made.
type preflightCheck struct {
	name  string
	why   string // what it finds matters
	look  func(context.Context, *Host, Needs) (Unfits, error)
	found func(*Host, Needs) string  // what there is, for doctor
	more  func(*Check, *Host, Needs) // what makes labs worse alone, for doctor; nil: nothing
}

var preflight = []preflightCheck{
	{"kvm", "under QEMU's software emulation timing and throughput are not those of hardware, and the file forbids it", hasKVM, kvmFound, slowly},
	{"firmware", "the node's machine would find nothing that starts it", hasUEFI, firmwareFound, nil},
	{"programs", "they make and write the nodes' disks, before anything boots", hasTools, toolsFound, nil},
	{"memory", "where memory runs out the kernel swaps, and ends machines: what is measured then is the host", hasMemory, memoryFound, nil},
	{"paths", "QEMU runs as a user of its own: it could not open the disks, and no machine would start", isPassable, pathFound, nil},
	{"disk", "a machine whose disk cannot grow is paused by QEMU in the middle of what it does", hasRoom, roomFound, nil},
	{"subnets", "the host would send to the one what is for the other, and one of the two could not be reached", hasFreeSubnets, subnetsFound, nil},
	{"ports", "who connects to it would reach something else than the node, or nothing", hasFreePorts, portsFound, nil},
	{"iommu", "a device can be given to a machine only behind an IOMMU: it could write to all of the host's memory", hasIOMMU, devicesFound, nil},
	{"interrupts", "a machine could raise any interrupt of the host by its device, and libvirt refuses that", remapsInterrupts, devicesFound, nil},
	{"locked memory", "the device writes to the machine's memory behind the kernel's back: QEMU must lock it, or it does not start", canLock, devicesFound, nil},
	{"nics", "the NIC would not come, or be taken from who uses it now", hasNICs, nicsFound, nil},
	{"bridges", "nodes would be on no network, or the bridge and who is on it would not be as they were", hasBridges, bridgesFound, disturbedBridges},
	{"ovs", "the file asks for bridges of Open vSwitch's (bridge: ovs), and labctl makes them by it", hasOVS, ovsFound, slowOVS},
}

// Preflight looks whether the host can give what is needed, before anything is
// made. Its error is an Unfits that holds all that is missing.
func Preflight(ctx context.Context, h *Host, n Needs) error {
	var all Unfits
	for _, check := range preflight {
		unfit, err := check.look(ctx, h, n)
		if err != nil {
			return err
		}
		all = append(all, unfit...)
	}
	if len(all) > 0 {
		return all
	}
	return nil
}

func hasKVM(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if !n.KVM {
		return nil, nil
	}
	ok, why, err := h.KVM()
	if err != nil || ok {
		return nil, err
	}
	return Unfits{{
		"the file asks for accel: kvm, and KVM cannot run guests here: " + why,
		"enable virtualisation in the firmware and load kvm_intel or kvm_amd, or write accel: auto",
	}}, nil
}

func hasUEFI(_ context.Context, _ *Host, n Needs) (Unfits, error) {
	var unfit Unfit
	if _, err := UEFI(); n.UEFI && errors.As(err, &unfit) {
		return Unfits{unfit}, nil
	}
	return nil, nil
}

func hasTools(_ context.Context, _ *Host, n Needs) (Unfits, error) {
	var u Unfits
	for _, tool := range n.Tools {
		if _, err := Tool(tool); err != nil {
			u = append(u, Unfit{"there is no " + tool + " on PATH", "make setup in labctl's source installs what labctl needs"})
		}
	}
	return u, nil
}

func hasMemory(_ context.Context, _ *Host, n Needs) (Unfits, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	available := availableMiB(info)
	if available < 0 || n.MemoryMiB <= available {
		return nil, nil
	}
	return Unfits{{
		fmt.Sprintf("the nodes to be started want %d MiB of memory, and %d MiB are available", n.MemoryMiB, available),
		"give the nodes less (memory:), or end something else",
	}}, nil
}

// availableMiB is MemAvailable of /proc/meminfo; -1 where it is not told.
func availableMiB(info []byte) int {
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) >= 2 && string(fields[0]) == "MemAvailable:" {
			if kib, err := strconv.Atoi(string(fields[1])); err == nil {
				return kib / 1024
			}
		}
	}
	return -1
}

// isPassable looks whether QEMU, which libvirt runs as a user of its own, gets
// through labctl's folders, those of them that are there, to the disks.
func isPassable(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if n.DiskBytes == 0 || h.Fake() {
		return nil, nil
	}
	for _, dir := range append([]string{h.LabDir(""), h.ImageDir()}, upwards(h.Dir)...) {
		i, err := os.Stat(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && i.Mode().Perm()&0o001 == 0 {
			return Unfits{{
				fmt.Sprintf("QEMU cannot pass through %s (mode %s) to the machines' disks in %s", dir, i.Mode().Perm(), h.Dir),
				"give labctl a folder that others may pass to (--dir), as " + DefaultDir + ", or chmod o+x " + dir,
			}}, nil
		}
	}
	return nil, nil
}

// upwards is a folder and all those that it is in.
func upwards(dir string) []string {
	dir = filepath.Clean(dir)
	if dir == "/" || dir == "." {
		return []string{dir}
	}
	return append([]string{dir}, upwards(filepath.Dir(dir))...)
}

func hasRoom(_ context.Context, h *Host, n Needs) (Unfits, error) {
	if n.DiskBytes == 0 {
		return nil, nil
	}
	var s unix.Statfs_t
	if dir, err := statfs(h.Dir, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if free(s) >= n.DiskBytes {
		return nil, nil
	}
	return Unfits{{
		fmt.Sprintf("the nodes' disks want at least %d MiB in %s, and %d MiB are free", n.DiskBytes>>20, h.Dir, free(s)>>20),
		"make room there (labctl image prune), or give labctl another folder (--dir)",
	}}, nil
}

// statfs looks at the file system that a folder is on, or will be: no lab may
// have been there yet. It returns the folder that it has looked at.
func statfs(dir string, s *unix.Statfs_t) (string, error) {
	err := unix.Statfs(dir, s)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, s)
	}
	return dir, err
}

// free is what others than root may still write (bytes).
func free(s unix.Statfs_t) int64 { return int64(s.Bavail) * s.Bsize }

func hasFreeSubnets(_ context.Context, _ *Host, n Needs) (Unfits, error) {
	var u Unfits
	for _, s := range n.Subnets {
		for _, used := range n.InUse {
			if s.Overlaps(used) {
				fix := "give the network another subnet, or leave subnet: out and a free one is chosen; ip route show root "
				if s.Addr().Is6() {
					fix = "give the network another subnet6:; ip -6 route show root "
				}
				u = append(u, Unfit{
					fmt.Sprintf("subnet %s overlaps %s, which is in use on this host or by another lab", s, used),
					fix + used.Masked().String() + " table all tells what has it",
				})
				break
			}
		}
	}
	return u, nil
}

// hasFreePorts tries to listen on each port: who else does cannot be forgotten that way.
func hasFreePorts(ctx context.Context, h *Host, n Needs) (Unfits, error) {
	var u Unfits
	for _, p := range n.Ports {
		if err := listen(ctx, p); err != nil {
			taken := unpublishable(p, err, h.listeners(p))
			if !slices.Contains(u, taken) { // as by one that listens by both kinds of IP
				u = append(u, taken)
			}
		}
	}
	return u, nil
}

// unpublishable is why nothing can listen on a port, and the way out; by is who
// listens there, as far as that is known.
func unpublishable(p Port, err error, by []string) Unfit {
	port := fmt.Sprintf("port %d/%s of the host, to be published, ", p.Number, p.Protocol)
	switch {
	case errors.Is(err, unix.EADDRINUSE) && len(by) > 0:
		return Unfit{
			fmt.Sprintf("%sis taken by %s", port, strings.Join(by, ", ")),
			"end it (systemctl status PROCESS names its service), or publish another port",
		}
	case errors.Is(err, unix.EADDRINUSE):
		return Unfit{
			fmt.Sprintf("%sis taken: %v", port, err),
			"end what listens there (ss -lntup), or publish another port",
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return Unfit{
			fmt.Sprintf("%sis wanted at %s, and the host does not have address %s", port, p.Address, p.Address),
			"publish it at an address of the host (ip -br address), or leave the address out: at all of them",
		}
	default:
		return Unfit{
			fmt.Sprintf("%scannot be listened on: %v", port, err),
			"mend that, or publish another port",
		}
	}
}

func listen(ctx context.Context, p Port) error {
	kind, address := "4", ":"+strconv.Itoa(int(p.Number))
	if p.Address.Is6() {
		kind = "6"
	}
	if p.Address.IsValid() {
		address = netip.AddrPortFrom(p.Address, p.Number).String()
	}
	if p.Protocol == "udp" {
		c, err := new(net.ListenConfig).ListenPacket(ctx, "udp"+kind, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp"+kind, address)
	if err != nil {
		return err
	}
	return l.Close()
}
