//go:build bench

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// floor is what a lab's machines need at the least: the QEMU command lines that
// libvirt starts for it, started at once by hand, on networks and disks made before.
type floor struct {
	file  string
	lines map[string][]string // QEMU's words by the domain's name
}

// bareRun is when the machines of a floor were started, and when each agent answered
// and each machine was ready.
type bareRun struct {
	start         time.Time
	agents, ready []time.Time
}

// learn brings the lab up and reads its machines' command lines.
func learn(b *testing.B, file string) floor {
	labctlRun(b, "up", file)
	f := floor{file, map[string][]string{}}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range processes {
		text, _ := os.ReadFile(p) // "" where it has ended
		words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if i := slices.Index(words, "-name"); i > 0 && strings.HasPrefix(words[i+1], "guest=") {
			name, _, _ := strings.Cut(strings.TrimPrefix(words[i+1], "guest="), ",")
			f.lines[name] = words
		}
	}
	labctlRun(b, "down", file)
	return f
}

// run starts the machines and waits until all are ready.
func (f floor) run(b *testing.B) bareRun {
	b.Helper()
	machines, err := f.prepare(b)
	defer func() {
		for _, m := range machines {
			m.end()
		}
		labctlRun(b, "down", f.file)
	}()
	if err != nil {
		b.Fatal(err)
	}
	r := bareRun{time.Now(), make([]time.Time, len(machines)), make([]time.Time, len(machines))}
	var group errgroup.Group
	for i, m := range machines {
		group.Go(func() (err error) {
			if err = m.cmd.Start(); err == nil {
				m.leaveFiles()
				r.agents[i], err = m.untilReady()
				r.ready[i] = time.Now()
			}
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", m.Node.Name, err, m.said.String())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return r
}

// prepare walks the lab's list as up does, with bare machines in place of libvirt's.
func (f floor) prepare(b *testing.B) (machines []*bareMachine, err error) {
	h, err := host.Connect("", host.DefaultDir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	text, err := os.ReadFile(f.file)
	if err != nil {
		return nil, err
	}
	file, err := topology.Load(f.file, text, topology.Known{Recipes: images.Recipes()})
	if err != nil {
		return nil, err
	}
	build, err := lab.Prepare(h, file, f.file)
	if err != nil {
		return nil, err
	}
	build.Bases = map[string]images.Base{}
	for _, n := range build.Lab.Nodes {
		recipe, err := images.BuiltIn(n.Image)
		if err != nil {
			return nil, err
		}
		if build.Bases[n.Name], err = images.Find(h.ImageDir(), recipe); err != nil {
			return nil, err
		}
	}
	for _, stage := range build.Resources() {
		for _, r := range stage {
			if m, ok := r.(domains.Machine); ok {
				bare, err := newBareMachine(m, f.lines[m.Node.Object], b.TempDir())
				machines = append(machines, bare)
				if err != nil {
					return machines, fmt.Errorf("%s: %w", m, err)
				}
			} else if err := r.Create(b.Context()); err != nil {
				return machines, fmt.Errorf("create %s: %w", r, err)
			}
		}
	}
	return machines, nil
}

// bareMachine is a machine's QEMU without libvirt.
type bareMachine struct {
	domains.Machine
	dir   string // of its sockets
	cmd   *exec.Cmd
	files []*os.File // which libvirt would hand to QEMU
	said  bytes.Buffer
}

// descriptor is a file that libvirt handed to QEMU.
var descriptor = regexp.MustCompile(`\bfd(=|":")[0-9]+`)

// newBareMachine makes the machine's taps, its sockets and its console's log, and
// sets them in its command line where libvirt's own were.
func newBareMachine(m domains.Machine, line []string, dir string) (*bareMachine, error) {
	bare := &bareMachine{Machine: m, dir: dir}
	if len(line) == 0 {
		return bare, errors.New("no command line was seen of it")
	}
	var words []string
	for i := 1; i < len(line); i++ {
		switch word := line[i]; {
		case word == "-S": // libvirt's machines start paused
		case word == "-object" && strings.Contains(line[i+1], `"masterKey0"`): // a file that went with libvirt's domain
			i++
		case descriptor.MatchString(word):
			f, err := bare.open(word)
			if err != nil {
				return bare, err
			}
			bare.files = append(bare.files, f)
			const first = 3 // behind stdin, stdout and stderr
			words = append(words, descriptor.ReplaceAllString(word, "fd${1}"+strconv.Itoa(first+len(bare.files)-1)))
		default:
			words = append(words, word)
		}
	}
	bare.cmd = exec.Command(line[0], words...)
	bare.cmd.ExtraFiles = bare.files
	bare.cmd.Stdout, bare.cmd.Stderr = &bare.said, &bare.said
	return bare, nil
}

// open opens what a word of the command line has a descriptor for.
func (m *bareMachine) open(word string) (*os.File, error) {
	for i, c := range m.Node.NICs {
		if strings.Contains(word, fmt.Sprintf(`"hostnet%d"`, i)) {
			return tap(c)
		}
	}
	switch {
	case strings.Contains(word, "id=charmonitor"):
		return listen(filepath.Join(m.dir, "monitor"))
	case strings.Contains(word, "id=charchannel0"):
		return listen(m.agentSocket())
	case strings.Contains(word, "id=charchannel1"): // its worker's, which nobody starts
		return listen(filepath.Join(m.dir, "worker"))
	case strings.Contains(word, "opaque=serial0-log"):
		return os.OpenFile(m.Boot.Console, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	return nil, fmt.Errorf("nobody knows what QEMU's %q is for", word)
}

func (m *bareMachine) agentSocket() string { return filepath.Join(m.dir, "agent") }

// tap makes a NIC's host end as libvirt does. It goes when its last holder has ended.
func tap(c topology.NIC) (*os.File, error) {
	t := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: c.Link},
		Mode:      netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		Queues: 1, NonPersist: true,
	}
	if err := netlink.LinkAdd(t); err != nil {
		return nil, fmt.Errorf("tap %s: %w", c.Link, err)
	}
	f := t.Fds[0]
	if err := host.Quiet(c.Link); err != nil {
		return f, err
	}
	if c.Bridge != "" {
		bridge, err := netlink.LinkByName(c.Bridge)
		if err != nil {
			return f, err
		}
		if err := netlink.LinkSetMaster(t, bridge); err != nil {
			return f, err
		}
	}
	return f, netlink.LinkSetUp(t)
}

func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return l.File()
}

// leaveFiles leaves to QEMU alone what was opened for it.
func (m *bareMachine) leaveFiles() {
	for _, f := range m.files {
		_ = f.Close()
	}
}

// end ends the machine's QEMU, where it was started, and waits until it has ended.
func (m *bareMachine) end() {
	m.leaveFiles()
	if m.cmd != nil && m.cmd.Process != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
}
