package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// told are a check's findings, "STATE: WHAT", each with why it matters and a way out.
func told(t *testing.T, c Check) string {
	t.Helper()
	var all []string
	for _, f := range c.Findings {
		if f.What == "" || f.Why == "" || f.Fix == "" {
			t.Errorf("%s: a finding without what, why or fix: %+v", c.Name, f)
		}
		all = append(all, f.State()+": "+f.What)
	}
	return strings.Join(all, "\n")
}

// holds looks for exactly one finding of that state that says want, with that in its
// fix; for none where state is OK.
func holds(t *testing.T, c Check, state, want, fix string) {
	t.Helper()
	got := told(t, c)
	switch {
	case c.State() != state, c.Found == "":
		t.Errorf("%s is %s, found %q; want %s:\n%s", c.Name, c.State(), c.Found, state, got)
	case state == OK:
	case len(c.Findings) != 1, !strings.Contains(got, want), !strings.Contains(c.Findings[0].Fix, fix):
		t.Errorf("want %q, fixed by %q; got %s\n  %s", want, fix, got, c.Findings[0].Fix)
	}
}

func TestCheckState(t *testing.T) {
	c := Check{}
	for _, step := range []struct {
		add  func(what, why, fix string)
		want string
	}{
		{func(string, string, string) {}, OK},
		{c.Warn, Warning},
		{c.Fault, Wrong},
		{c.Warn, Wrong},
	} {
		step.add("what", "why", "fix")
		if got := c.State(); got != step.want {
			t.Errorf("after %d findings: %s, want %s", len(c.Findings), got, step.want)
		}
	}
}

func TestClock(t *testing.T) {
	holds(t, clock(unix.TIME_OK, unix.STA_PLL), OK, "", "")
	holds(t, clock(unix.TIME_OK, unix.STA_UNSYNC), Warning, "STA_UNSYNC", "systemctl enable --now chrony")
	holds(t, clock(unix.TIME_ERROR, 0), Warning, "STA_UNSYNC", "chrony")
	if c := seesClock(t.Context(), &Host{}, Needs{}); c.Found == "" {
		t.Error("the kernel's clock is not looked at")
	}
}

const (
	passwd = "root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:107::/var/lib/libvirt:/bin/false\nother:x:1000:1000:::\n"
	group  = "root:x:0:\nkvm:x:107:\nvirt:x:900:other,libvirt-qemu\n"
)

func TestOpens(t *testing.T) {
	qemu, _ := findUser("libvirt-qemu", passwd, group)
	for name, test := range map[string]struct {
		node node
		user account
		want bool
	}{
		"root's alone":           {node{0o600, 0, 0}, qemu, false},
		"root's alone, for root": {node{0o600, 0, 0}, account{}, true},
		"nobody's, for root":     {node{0, 107, 107}, account{}, true},
		"as udev makes it":       {node{0o660, 0, 107}, qemu, true},
		"of a group it is in":    {node{0o660, 0, 900}, qemu, true},
		"of another group":       {node{0o660, 0, 5}, qemu, false},
		"for all":                {node{0o666, 0, 0}, qemu, true},
		"for all to read":        {node{0o664, 0, 0}, qemu, false},
		"for its group to read":  {node{0o646, 0, 107}, qemu, false}, // which is asked before the others
		"its own":                {node{0o600, 64055, 0}, qemu, true},
	} {
		if got := test.node.opens(test.user); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestQEMUUser(t *testing.T) {
	accounts := "file etc/passwd " + strings.ReplaceAll(passwd, "\n", `\n`) + "\nfile etc/group " + strings.ReplaceAll(group, "\n", `\n`) + "\n"
	for conf, want := range map[string]string{
		"": "libvirt-qemu",
		`file etc/libvirt/qemu.conf #user = "other"`: "libvirt-qemu",
		`file etc/libvirt/qemu.conf user = "other"`:  "other",
		`file etc/libvirt/qemu.conf user = "+1000"`:  "other",
		`file etc/libvirt/qemu.conf user = "root"`:   "root",
	} {
		if got := sys(t, accounts, conf).qemuUser().name; got != want {
			t.Errorf("%s: %s, want %s", conf, got, want)
		}
	}
	if got := sys(t).qemuUser().name; got != "root" {
		t.Errorf("where no user is told: %s", got)
	}
}

func TestCapabilityCache(t *testing.T) {
	holds(t, seesCapabilityCache(t.Context(), sys(t), Needs{}), OK, "", "")
	h := sys(t, "file dev/kvm x\nfile etc/passwd qemu:x:64055:107:::")
	holds(t, seesCapabilityCache(t.Context(), h, Needs{}), Warning, "not for qemu", "chgrp kvm /dev/kvm && chmod 660 /dev/kvm")
	if err := os.Chmod(h.path("dev/kvm"), 0o666); err != nil {
		t.Fatal(err)
	}
	holds(t, seesCapabilityCache(t.Context(), h, Needs{}), OK, "", "")
}

// helper is what Debian's profile of virt-aa-helper allows and denies of files, in short.
const helper = `profile virt-aa-helper /usr/lib/libvirt/virt-aa-helper {
  #include <abstractions/base>
  deny @{PROC}/[0-9]*/mounts r,
  deny /dev/sd* r,
  /{usr/,}sbin/apparmor_parser Ux,
  audit deny @{HOME}/.*/** mrwkl,
  @{HOME}/** r,
  /var/lib/libvirt/images/** r,
  /**.qcow{,2} r,
}`

func TestMayRead(t *testing.T) {
	const own = "profile x {\n  /var/lib/libvirt/images/** r,\n  /{srv,mnt}/** rw,\n  /**/*.log w,\n  # /labs/** r,\n}"
	for name, test := range map[string]struct {
		profile, path string
		want          bool
	}{
		"Debian's":             {helper, "/var/lib/labctl/labs/x/n.qcow2", true},
		"a home":               {helper, "/home/me/n.raw", true},
		"a hidden folder":      {helper, "/home/me/.labs/x/n.qcow2", false},
		"of root":              {helper, "/root/.labs/x/n.qcow2", false},
		"another kind of file": {helper, "/var/lib/labctl/n.raw", false},
		"not covered":          {own, "/var/lib/labctl/labs/x/n.qcow2", false},
		"one of two":           {own, "/mnt/labs/x/n.qcow2", true},
		"only to write":        {own, "/labs/n.log", false},
		"a comment":            {own, "/labs/n.qcow2", false},
		"the local addition":   {own + "\n  /labs/** r,", "/labs/n.qcow2", true},
		"no rules":             {"", "/labs/n.qcow2", false},
	} {
		if got := mayRead(test.profile, test.path); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestConfinement(t *testing.T) {
	const on = "file sys/module/apparmor/parameters/enabled Y\n"
	profile := "file " + helperProfile + " " + strings.ReplaceAll(helper, "\n", `\n`) + "\n"
	const template = "file etc/apparmor.d/libvirt/TEMPLATE.qemu x\n"
	for name, test := range map[string]struct {
		spec, dir        string
		state, what, fix string
	}{
		"nothing":               {"", "/var/lib/labctl", OK, "", ""},
		"AppArmor off":          {"file sys/module/apparmor/parameters/enabled N", "/var/lib/labctl", OK, "", ""},
		"AppArmor as installed": {on + profile + template, "/var/lib/labctl", OK, "", ""},
		"without its profile":   {on + template, "/var/lib/labctl", Wrong, "not in /etc/apparmor.d", "reinstall"},
		"without the template":  {on + profile, "/var/lib/labctl", Wrong, "not in /etc/apparmor.d", "reinstall"},
		"in a hidden folder":    {on + profile + template, "/root/.labs", Wrong, "disks in /root/.labs", "apparmor_parser -r /etc/apparmor.d"},
		"not used by libvirt":   {on + `file etc/libvirt/qemu.conf security_driver = "none"`, "/x", OK, "", ""},
		"SELinux permissive":    {"file sys/fs/selinux/enforce 0", "/x", OK, "", ""},
		"SELinux, and no label": {"file sys/fs/selinux/enforce 1", "/x", Warning, `/x is labelled ""`, "semanage fcontext -a -t virt_image_t '/x(/.*)?'"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sys(t, test.spec)
			h.Dir = test.dir
			holds(t, seesConfinement(t.Context(), h, Needs{}), test.state, test.what, test.fix)
		})
	}
	for label, want := range map[string]string{
		"system_u:object_r:virt_image_t:s0":        OK,
		"system_u:object_r:svirt_image_t:s0:c1,c2": OK,
		"unconfined_u:object_r:default_t:s0":       Warning,
		"system_u:object_r:var_lib_t:s0":           Warning,
		"virt_image_t":                             Warning,
	} {
		c := Check{}
		if c.labelled("/x", label); c.State() != want {
			t.Errorf("%s: %s", label, c.State())
		}
	}
}

func TestOldLibvirt(t *testing.T) {
	for version, want := range map[uint32]string{
		1003001: Wrong, 2000999: Wrong, 2001000: Warning, 7010000: Warning, 8000000: OK, 11003000: OK,
	} {
		c := Check{Found: "x"}
		c.oldLibvirt(version)
		if told(t, c); c.State() != want {
			t.Errorf("%s: %s, want %s", Version(version), c.State(), want)
		}
	}
}

func TestWhatQEMULacks(t *testing.T) {
	capabilities := func(channel string) string {
		return "<domainCapabilities><devices><channel supported='" + channel + "'/></devices></domainCapabilities>"
	}
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		look             func(*Check)
		state, says, fix string
	}{
		"machines":                 {func(c *Check) { c.offersMachines(capabilities("yes"), nil) }, OK, "", ""},
		"a libvirt that says less": {func(c *Check) { c.offersMachines("<domainCapabilities/>", nil) }, OK, "", ""},
		"no machine":               {func(c *Check) { c.offersMachines("", failed) }, Wrong, "no x86_64 machine of type pc: failed", "install qemu-system-x86"},
		"another language":         {func(c *Check) { c.offersMachines("{}", nil) }, Wrong, "cannot be read", "install qemu-system-x86"},
		"no channel":               {func(c *Check) { c.offersMachines(capabilities("no"), nil) }, Wrong, "no channel for the guest agent", "install qemu-system-x86"},
		"old":                      {func(c *Check) { c.oldQEMU(5002050) }, Wrong, "QEMU 5.2.50 has no FUSE export", "backports"},
		"old enough":               {func(c *Check) { c.oldQEMU(6000000) }, OK, "", ""},
		"exports":                  {func(c *Check) { c.exportsDisks("--export [type=]fuse,id=…", nil, true) }, OK, "", ""},
		"no daemon":                {func(c *Check) { c.exportsDisks("", failed, true) }, Wrong, "qemu-storage-daemon does not run: failed", "install qemu-system-common"},
		"built without":            {func(c *Check) { c.exportsDisks("--export [type=]nbd,id=…", nil, true) }, Wrong, "built without FUSE export", "install qemu-system-common"},
		"no device":                {func(c *Check) { c.exportsDisks("--export [type=]fuse,id=…", nil, false) }, Wrong, "there is no /dev/fuse", "modprobe fuse"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Check{Name: "qemu", Found: "x"}
			test.look(&c)
			holds(t, c, test.state, test.says, test.fix)
		})
	}
}

// silent is a host whose libvirt does not answer.
func silent(t *testing.T) *Host {
	t.Helper()
	h, err := ConnectWithin(t.Context(), "test:///no/such/host", filepath.Join(t.TempDir(), "labctl"), time.Minute)
	if err == nil || h.Silent() == nil {
		t.Fatal("a libvirt that is not there answers")
	}
	t.Cleanup(h.Close)
	return h
}

// Every check that needs no libvirt is made without one, and no failure stops the rest.
func TestExamineWithoutLibvirt(t *testing.T) {
	h := silent(t)
	needs := Needs{Auto: true, MemoryMiB: muchMemory, DiskBytes: muchDisk, Tools: []string{"no-such-tool"}}
	states := map[string]string{}
	for _, c := range Examine(t.Context(), h, needs) {
		told(t, c)
		states[c.Name] = c.State()
	}
	for name, want := range map[string]string{
		"libvirt": Wrong, "programs": Wrong, "memory": Wrong, "disk": Wrong, "kvm": Warning, "ports": OK, "subnets": OK,
	} {
		if states[name] != want {
			t.Errorf("%s is %q, want %s", name, states[name], want)
		}
	}
	if len(states) != len(observations)+len(preflight) {
		t.Errorf("%d checks were made: %v", len(states), states)
	}
}

// KVM is wanted, would be nice, or is no matter.
func TestExamineKVM(t *testing.T) {
	h := silent(t)
	for _, test := range []struct {
		needs Needs
		want  string
	}{{Needs{KVM: true}, Wrong}, {Needs{Auto: true}, Warning}, {Needs{}, OK}} {
		for _, c := range Examine(t.Context(), h, test.needs) {
			if c.Name == "kvm" && c.State() != test.want {
				t.Errorf("%+v: %s, want %s", test.needs, c.State(), test.want)
			}
		}
	}
}

// A processor that could is not enough: whose libvirt is silent offers nothing.
func TestKVMWithoutLibvirt(t *testing.T) {
	h := sys(t, "file proc/cpuinfo flags : fpu vmx")
	h.silent = errors.New("gone")
	if ok, why, err := h.KVM(); ok || err != nil || !strings.Contains(why, "does not answer") {
		t.Errorf("%v, %q, %v", ok, why, err)
	}
}

// up is not stricter than what cannot work: Preflight passes over warnings.
func TestPreflightPassesOverWarnings(t *testing.T) {
	if err := Preflight(t.Context(), fake(t), Needs{Auto: true}); err != nil {
		t.Error(err)
	}
}

func TestConnectWithinIsPatientNoLonger(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user has gone")
	cancel(gone)
	if _, err := ConnectWithin(ctx, "test:///no/such/host", "", time.Minute); err == nil {
		t.Error("it answers")
	}
	h, err := ConnectWithin(t.Context(), "test:///default", "", -1)
	if err != nil && (!strings.Contains(err.Error(), "has not answered") || seesLibvirt(t.Context(), h, Needs{}).State() != Wrong) {
		t.Error(err)
	}
	h.Close()
}

func TestListeners(t *testing.T) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), os.Getpid())
	for _, protocol := range []string{"tcp", "udp"} {
		p := taken(t, protocol)
		if got := (&Host{}).listeners(p); len(got) != 1 || got[0] != own {
			t.Errorf("%s: %q, want %q", protocol, got, own)
		}
		u, err := hasFreePorts(t.Context(), &Host{}, Needs{Ports: []Port{p}})
		if err != nil || len(u) != 1 || !strings.Contains(u[0].What, "is taken by "+own) {
			t.Errorf("%s: %v, %v", protocol, u, err)
		}
	}
}

func TestBound(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	const listens = "   0: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n"
	const connected = "   1: 0100007F:08AE 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0\n"
	const another = "   2: 00000000:08AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0 100 0 0 10 0\n"
	const udp = "  3: 00000000:08AE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4245 2 0 0\n"
	for _, test := range []struct{ table, protocol, want string }{
		{"", "tcp", ""},
		{head + connected + another, "tcp", ""},
		{head + connected + another + listens, "tcp", "4242"},
		{head + udp, "udp", "4245"},
		{head + "nonsense\n : : 0A\n", "tcp", ""},
	} {
		if got := strings.Join(bound(test.table, Port{Number: 2222, Protocol: test.protocol}), ","); got != test.want {
			t.Errorf("%s %q: %q, want %q", test.protocol, test.table, got, test.want)
		}
	}
}

func TestLocks(t *testing.T) {
	before := LockDir
	LockDir = filepath.Join(t.TempDir(), "locks")
	t.Cleanup(func() { LockDir = before })
	h := &Host{}
	if held, stale, err := h.Locks(); len(held)+len(stale) > 0 || err != nil {
		t.Errorf("no folder: %v, %v, %v", held, stale, err)
	}
	unlock, err := Lock(t.Context(), "lab-live", "labctl up", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]string{
		"lab-dead.lock":  "process 99999999 (labctl up)",
		"lab-alive.lock": fmt.Sprintf("process %d (labctl up)", os.Getpid()), // takes it just now
		"lab-new.lock":   "",
		"lab-other":      "process 99999999 (labctl up)",
	} {
		if err := os.WriteFile(filepath.Join(LockDir, name), []byte(by), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, stale, err := h.Locks()
	if err != nil || len(held) != 1 || held[0].Name != "lab-live" || held[0].By != fmt.Sprintf("process %d (labctl up)", os.Getpid()) {
		t.Errorf("held: %v, %v", held, err)
	}
	want := LockFile{filepath.Join(LockDir, "lab-dead.lock"), "lab-dead", "process 99999999 (labctl up)"}
	if len(stale) != 1 || stale[0] != want {
		t.Errorf("stale: %v", stale)
	}
	unlock()
	if held, _, _ := h.Locks(); len(held) > 0 {
		t.Errorf("given back: %v", held)
	}
}
