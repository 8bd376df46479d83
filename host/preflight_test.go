package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"
)

func TestVirtualises(t *testing.T) {
	const head = "processor\t: 0\nmodel name\t: Some CPU with vmx in its name\n"
	for name, test := range map[string]struct {
		cpuinfo string
		want    bool
	}{
		"Intel":              {head + "flags\t\t: fpu sse2 vmx ept\n", true},
		"AMD":                {head + "flags\t\t: fpu svm npt\nbugs\t\t: none\n", true},
		"neither":            {head + "flags\t\t: fpu sse2 hypervisor\n", false},
		"part of a flag":     {head + "flags\t\t: fpu vmxnet svme\n", false},
		"other flags' lines": {head + "flags\t\t: fpu\nvmx flags\t: vnmi ept vmx\n", false},
		"no flags":           {head, false},
		"nothing":            {"", false},
	} {
		if got := virtualises([]byte(test.cpuinfo)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOffersKVM(t *testing.T) {
	guest := func(arch string, types ...string) libvirtxml.CapsGuest {
		g := libvirtxml.CapsGuest{Arch: libvirtxml.CapsGuestArch{Name: arch}}
		for _, t := range types {
			g.Arch.Domains = append(g.Arch.Domains, libvirtxml.CapsGuestDomain{Type: t})
		}
		return g
	}
	for name, test := range map[string]struct {
		guests []libvirtxml.CapsGuest
		want   bool
	}{
		"both":          {[]libvirtxml.CapsGuest{guest("i686", "qemu"), guest("x86_64", "qemu", "kvm")}, true},
		"emulated only": {[]libvirtxml.CapsGuest{guest("x86_64", "qemu")}, false},
		"another arch":  {[]libvirtxml.CapsGuest{guest("x86_64", "qemu"), guest("i686", "kvm")}, false},
		"none":          {nil, false},
	} {
		if got := offersKVM(libvirtxml.Caps{Guests: test.guests}); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAvailableMiB(t *testing.T) {
	for info, want := range map[string]int{
		"MemTotal:  24 kB\nMemAvailable:    2097152 kB\n": 2048,
		"MemAvailable: 1023 kB\n":                         0,
		"MemTotal: 1 kB\n":                                -1,
		"MemAvailable: many kB\n":                         -1,
		"MemAvailable:\n":                                 -1,
		"":                                                -1,
	} {
		if got := availableMiB([]byte(info)); got != want {
			t.Errorf("%q: %d, want %d", info, got, want)
		}
	}
}

// fake is a host on libvirt's test driver, with a folder that is not there yet.
func fake(t *testing.T) *Host {
	t.Helper()
	h, err := Connect("test:///default", filepath.Join(t.TempDir(), "not", "yet"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// taken is a port of 127.0.0.1 on which somebody listens.
func taken(t *testing.T, protocol string) Port {
	t.Helper()
	local := net.IPv4(127, 0, 0, 1)
	p := Port{Address: netip.MustParseAddr("127.0.0.1"), Protocol: protocol}
	if protocol == "udp" {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: local})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		p.Number = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		return p
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: local})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p.Number = l.Addr().(*net.TCPAddr).AddrPort().Port()
	return p
}

const (
	muchMemory = 1 << 30 // MiB
	muchDisk   = 1 << 60 // bytes
)

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, p := range texts {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func TestPreflight(t *testing.T) {
	tcp, udp := taken(t, "tcp"), taken(t, "udp")
	// their numbers are to be free where they are looked for below: another process may have them there
	for range 10 {
		if listen(t.Context(), Port{udp.Address, udp.Number, "tcp"}) != nil {
			udp = taken(t, "udp")
		}
		if listen(t.Context(), Port{netip.IPv6Unspecified(), tcp.Number, "tcp"}) != nil {
			tcp = taken(t, "tcp")
		}
	}
	both, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = both.Close() }()
	of := func(address string) Port {
		return Port{netip.MustParseAddr(address), both.Addr().(*net.TCPAddr).AddrPort().Port(), "tcp"}
	}
	everywhere := tcp
	everywhere.Address = netip.Addr{}
	for name, test := range map[string]struct {
		needs Needs
		want  []string // each in the reason at its place; none where the host is fit
	}{
		"nothing":            {Needs{}, nil},
		"what there is":      {Needs{MemoryMiB: 1, DiskBytes: 1, Tools: []string{"sh"}}, nil},
		"a tool":             {Needs{Tools: []string{"sh", "no-such-tool"}}, []string{"no-such-tool"}},
		"memory":             {Needs{MemoryMiB: muchMemory}, []string{"1073741824 MiB of memory"}},
		"room":               {Needs{DiskBytes: muchDisk}, []string{"labctl image prune"}},
		"KVM":                {Needs{KVM: true}, []string{"accel: kvm"}},
		"a TCP port":         {Needs{Ports: []Port{tcp}}, []string{"/tcp of the host"}},
		"a UDP port":         {Needs{Ports: []Port{udp}}, []string{"/udp of the host"}},
		"a port everywhere":  {Needs{Ports: []Port{everywhere}}, []string{"/tcp of the host"}},
		"any port":           {Needs{Ports: []Port{{Protocol: "tcp"}, {Protocol: "udp"}}}, nil},
		"a port's other use": {Needs{Ports: []Port{{tcp.Address, udp.Number, "tcp"}}}, nil},
		"a subnet": {
			Needs{Subnets: prefixes("10.1.0.0/16", "10.3.0.0/24"), InUse: prefixes("192.168.0.0/16", "10.1.2.0/24", "10.1.0.0/24")},
			[]string{"subnet 10.1.0.0/16 overlaps 10.1.2.0/24"},
		},
		"a port by IPv6":           {Needs{Ports: []Port{of("::")}}, []string{"/tcp of the host"}},
		"a port of one address":    {Needs{Ports: []Port{of("::1")}}, []string{"/tcp of the host"}},
		"another's IPv6 address":   {Needs{Ports: []Port{of("2001:db8:5:6:7:8:9:a")}}, []string{"the host does not have address 2001:db8:5:6:7:8:9:a"}},
		"both kinds, by one":       {Needs{Ports: []Port{of("0.0.0.0"), of("::")}}, []string{"/tcp of the host"}},
		"IPv6's is another's port": {Needs{Ports: []Port{{netip.IPv6Unspecified(), tcp.Number, "tcp"}}}, nil},
		"a subnet of IPv6": {
			Needs{Subnets: prefixes("fd00:1::/64"), InUse: prefixes("10.0.0.0/8", "fd00:1::/48")},
			[]string{"subnet fd00:1::/64 overlaps fd00:1::/48"},
		},
		"subnets beside each other": {Needs{Subnets: prefixes("10.1.0.0/24"), InUse: prefixes("10.1.1.0/24", "10.0.255.0/24")}, nil},
		"everything at once": {
			Needs{
				KVM: true, Tools: []string{"no-such-tool", "nor-this"}, MemoryMiB: muchMemory, DiskBytes: muchDisk,
				Subnets: prefixes("10.1.0.0/16"), InUse: prefixes("10.0.0.0/8"), Ports: []Port{tcp, udp},
			},
			[]string{"accel: kvm", "no-such-tool", "nor-this", "memory", "MiB are free", "overlaps 10.0.0.0/8", "/tcp", "/udp"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := fake(t)
			err := Preflight(t.Context(), h, test.needs)
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var unfits Unfits
			if !errors.As(err, &unfits) || len(unfits) != len(test.want) {
				t.Fatalf("%T %v; want %d reasons", err, err, len(test.want))
			}
			for i, u := range unfits {
				if !strings.Contains(u.Error(), test.want[i]) || u.Fix == "" || !strings.Contains(err.Error(), u.Error()) {
					t.Errorf("reason %d is %q; want %q in it, and a way out", i, u, test.want[i])
				}
			}
		})
	}
}

func TestIsPassable(t *testing.T) {
	temporary := t.TempDir()
	if err := os.Chmod(filepath.Dir(temporary), 0o711); err != nil { // the test's own: 0700
		t.Fatal(err)
	}
	dir := filepath.Join(temporary, "labctl")
	h := &Host{Dir: dir}
	for _, d := range []string{"", "labs", "images"} {
		closed := filepath.Join(dir, d)
		t.Run(filepath.Base(closed), func(t *testing.T) {
			if u, err := isPassable(t.Context(), h, Needs{DiskBytes: 1}); len(u) > 0 || err != nil {
				t.Errorf("before: %v, %v", u, err)
			}
			if err := os.Mkdir(closed, 0o700); err != nil {
				t.Fatal(err)
			}
			u, err := isPassable(t.Context(), h, Needs{DiskBytes: 1})
			if err != nil || len(u) != 1 || !strings.Contains(u[0].What, closed+" (mode -rwx------)") || !strings.Contains(u[0].Fix, "chmod o+x "+closed) {
				t.Errorf("%v, %v", u, err)
			}
			if err := os.Chmod(closed, 0o711); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if u, err := isPassable(t.Context(), h, Needs{}); len(u) > 0 || err != nil {
		t.Errorf("where no disk is wanted: %v, %v", u, err)
	}
}

// Each reason why a port cannot be had has a way out of its own.
func TestUnpublishable(t *testing.T) {
	for name, test := range map[string]struct {
		port      Port
		err       error // nil where listening on the port gives it
		what, fix string
	}{
		"taken":            {taken(t, "tcp"), nil, "is taken", "ss -lntup"},
		"taken, UDP":       {taken(t, "udp"), nil, "is taken", "ss -lntup"},
		"another's":        {Port{netip.MustParseAddr("192.0.2.1"), 0, "tcp"}, nil, "the host does not have address 192.0.2.1", "ip -br address"},
		"another's, UDP":   {Port{netip.MustParseAddr("192.0.2.1"), 0, "udp"}, nil, "the host does not have address 192.0.2.1", "ip -br address"},
		"for another user": {Port{Number: 80, Protocol: "tcp"}, fmt.Errorf("listen: %w", unix.EACCES), "cannot be listened on: listen: permission denied", "another port"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.err
			if err == nil {
				err = listen(t.Context(), test.port)
			}
			u := unpublishable(test.port, err, nil)
			if !strings.Contains(u.What, test.what) || !strings.Contains(u.Fix, test.fix) || test.what != "is taken" && strings.Contains(u.What, "taken") {
				t.Errorf("%s", u)
			}
		})
	}
}

// A check changes nothing: the folder that room was looked for in is still not there.
func TestPreflightMakesNothing(t *testing.T) {
	h := fake(t)
	if err := Preflight(t.Context(), h, Needs{DiskBytes: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", h.Dir, err)
	}
}

func TestQuietOfNoLink(t *testing.T) {
	if err := Quiet("no-such-link"); err == nil {
		t.Error("a link that is not there is quiet")
	}
	if _, err := IsQuiet("no-such-link"); err == nil {
		t.Error("a link that is not there is quiet or not")
	}
}
