//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// diagnosed is what doctor says as JSON.
type diagnosed struct {
	Lab, From string
	Fit       bool
	Checks    []struct {
		Check, State, Found string
		Findings            []struct{ State, What, Why, Fix string }
	}
}

// doctor runs doctor on a file, with flags of labctl's; the exit code must agree with
// what it says, in JSON as in words.
func doctor(t *testing.T, file string, flags ...string) diagnosed {
	t.Helper()
	r := labctl(t, append(slices.Clone(flags), "doctor", "--json", file)...)
	var d diagnosed
	if err := json.Unmarshal([]byte(r.out), &d); err != nil {
		t.Fatalf("labctl doctor: %v", err)
	}
	if want := map[bool]int{true: 0, false: 4}[d.Fit]; r.code != want || r.err != "" {
		t.Errorf("fit is %v, and doctor exits %d and says %q", d.Fit, r.code, r.err)
	}
	words := labctl(t, append(slices.Clone(flags), "doctor", file)...)
	if words.code != r.code {
		t.Errorf("with --json doctor exits %d, without %d", r.code, words.code)
	}
	for _, c := range d.Checks {
		if !strings.Contains(words.out, c.Check) {
			t.Errorf("check %s is not told in words", c.Check)
		}
		for _, f := range c.Findings {
			if f.What == "" || f.Why == "" || f.Fix == "" || !strings.Contains(words.out, f.Why) {
				t.Errorf("%s: a finding without what, why or fix, or told in JSON alone: %+v", c.Check, f)
			}
		}
	}
	return d
}

// says looks for a finding of a check.
func (d diagnosed) says(t *testing.T, check, state, what, fix string) {
	t.Helper()
	for _, c := range d.Checks {
		if c.Check != check {
			continue
		}
		for _, f := range c.Findings {
			if f.State == state && strings.Contains(f.What, what) && strings.Contains(f.Fix, fix) {
				return
			}
		}
		t.Errorf("%s does not say %q, %s, fixed by %q: %+v", check, what, state, fix, c.Findings)
		return
	}
	t.Errorf("%s is not checked", check)
}

// state is that of a check; "" where it was not made.
func (d diagnosed) state(check string) string {
	for _, c := range d.Checks {
		if c.Check == check {
			return c.State
		}
	}
	return ""
}

// wrongs are the checks that keep a lab from working.
func (d diagnosed) wrongs() string {
	var all []string
	for _, c := range d.Checks {
		if c.State == "wrong" {
			all = append(all, c.Check)
		}
	}
	return strings.Join(all, ", ")
}

// fault is something that is made wrong for real, and what doctor says then.
type fault struct {
	name, provoke, after string              // scripts
	change               func(string) string // of the lab's file
	flags                []string            // labctl's
	wrong                string              // the checks that keep the lab from working
	check, state         string
	what, fix            string
}

// TestDoctor: a fit host is fit, and each thing that is made wrong is told, with why
// it matters and what mends it, the exit code saying whether the lab could work.
func TestDoctor(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		text := strings.ReplaceAll(small, "NAME", "sick")
		decided := decide(t, text)
		bridge, wire := decided.Networks[0].Segments[0].Bridge, decided.Networks[1].Wire.Ends[0].Link
		fit := doctor(t, write(t, "sick.yaml", text))
		if !fit.Fit || fit.Lab != "sick" || fit.wrongs() != "" {
			t.Errorf("an empty host is not fit for a small lab: %+v", fit)
		}
		for _, check := range []string{
			"libvirt", "qemu", "capability cache", "confinement", "clock",
			"kvm", "firmware", "programs", "memory", "paths", "disk", "subnets", "ports", "iommu", "interrupts", "locked memory", "nics", "bridges", "ovs",
			"images", "kernel", "bridged frames", "other labs", "lab", "guest agents", "leftovers", "locks",
		} {
			if fit.state(check) == "" {
				t.Errorf("%s is not checked", check)
			}
		}
		with := func(old, text string) func(string) string {
			return func(file string) string { return strings.Replace(file, old, text, 1) }
		}
		publishing := with("memory: 256MiB", `publish: ["2222:22"]`)
		for _, f := range []fault{
			{
				name: "no KVM where the file insists on it", change: with("image:", "accel: kvm\nimage:"),
				wrong: "kvm", check: "kvm", state: "wrong", what: "accel: kvm", fix: "accel: auto",
			},
			{
				name: "no KVM where it would be nice", check: "kvm", state: "warning", what: "neither vmx nor svm", fix: "modprobe kvm_intel",
			},
			{
				name: "more memory than there is", change: with("256MiB", "1TiB"),
				wrong: "memory", check: "memory", state: "wrong", what: "MiB are available", fix: "memory:",
			},
			{
				name:    "a port that is taken",
				provoke: "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 2222, Listen => 1) or die; sleep' >/dev/null 2>&1 & echo $! > /run/listener; until ss -ltn | grep -q :2222; do sleep 0.1; done",
				after:   "kill $(cat /run/listener)",
				change:  publishing, wrong: "ports", check: "ports", state: "wrong", what: "is taken by perl (process ", fix: "systemctl status PROCESS",
			},
			{
				name: "a subnet that is taken", provoke: "ip link add taken type bridge; ip addr add 10.9.8.1/24 dev taken", after: "ip link del taken",
				change: with("control: {}", "control: {subnet: 10.9.8.0/25}"),
				wrong:  "subnets", check: "subnets", state: "wrong", what: "10.9.8.0/25 overlaps 10.9.8.0/24", fix: "ip route show root 10.9.8.0/24 table all",
			},
			{
				name: "a folder that QEMU cannot pass", provoke: "mkdir -m 700 /run/closed", after: "rmdir /run/closed", flags: []string{"--dir", "/run/closed"},
				wrong: "paths", check: "paths", state: "wrong", what: "/run/closed (mode -rwx------)", fix: "chmod o+x /run/closed",
			},
			{
				name: "a firewall that eats bridged frames, as with Docker", provoke: docker, after: undocker,
				wrong: "bridged frames", check: "bridged frames", state: "wrong", what: "IPv4 frames", fix: "iptables -I FORWARD -i lcb+ -j ACCEPT && iptables -I FORWARD -o lcb+ -j ACCEPT",
			},
			{
				name: "one that is asked about none", provoke: docker + "; sysctl -qw net.bridge.bridge-nf-call-iptables=0", after: undocker + "; sysctl -qw net.bridge.bridge-nf-call-iptables=1",
				check: "bridged frames", state: "warning", what: "policy of FORWARD is DROP", fix: "iptables -I FORWARD",
			},
			{
				name: "one that eats IPv6", provoke: "ip6tables -P FORWARD DROP", after: "ip6tables -P FORWARD ACCEPT",
				check: "bridged frames", state: "warning", what: "IPv6 frames", fix: "ip6tables -I FORWARD -i lcb+ -o lcb+ -j ACCEPT",
			},
			{
				name: "a bridge that is not ours", provoke: "ip link add " + bridge + " type bridge", after: "ip link del " + bridge,
				wrong: "lab", check: "lab", state: "wrong", what: bridge, fix: "ip link del " + bridge,
			},
			{
				name: "a cable that is not ours", provoke: "ip link add " + wire + " type veth peer name other", after: "ip link del " + wire,
				wrong: "lab", check: "lab", state: "wrong", what: wire, fix: "ip link del " + wire,
			},
			{
				name: "a link like a lab's", provoke: "ip link add lcb0123456789 type bridge", after: "ip link del lcb0123456789",
				check: "leftovers", state: "warning", what: "lcb0123456789 is named like a lab's", fix: "ip link del lcb0123456789",
			},
			{
				name: "a table without its lab", provoke: "nft add table ip labctl-ghost", after: os.Getenv(binary) + " down ghost",
				check: "leftovers", state: "warning", what: "labctl-ghost", fix: "labctl down ghost",
			},
			{
				name:    "a lock that its holder left",
				provoke: "mkdir -p /run/labctl; true & wait $!; echo \"process $! (labctl up)\" > /run/labctl/lab-ghost.lock", after: os.Getenv(binary) + " down ghost",
				check: "locks", state: "warning", what: "lab-ghost.lock is left by process", fix: "labctl down ghost",
			},
		} {
			t.Run(f.name, func(t *testing.T) { f.hold(t, text) })
		}
		t.Run("a lab that is half made", halfMade)
		t.Run("a lab that is up", func(t *testing.T) { diagnosesALab(t, text) })
		isClean()
		t.Run("a libvirt that is gone", func(t *testing.T) { withoutLibvirt(t, text) })
	})
}

// What Docker does to a host on which libvirt's rules are not asked: its chain was
// there, and somebody has flushed FORWARD since.
const (
	docker   = "iptables-save -t filter > /run/rules; iptables -F FORWARD; iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER"
	undocker = "iptables -F FORWARD; iptables -X DOCKER-USER; iptables-restore < /run/rules; rm /run/rules"
)

// decide is the lab that a file asks for, without a host.
func decide(t *testing.T, text string) topology.Lab {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(text), topology.Known{Recipes: []string{"debian-slim"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// hold makes it wrong, and looks that doctor says so and nothing else, and changes nothing.
func (f fault) hold(t *testing.T, text string) {
	if f.provoke != "" {
		sh(t, f.provoke)
	}
	if f.change != nil {
		text = f.change(text)
	}
	before := hosttest.Snapshot(t)
	d := doctor(t, write(t, "sick.yaml", text), f.flags...)
	if diff := hosttest.Diff(before, hosttest.Snapshot(t)); diff != "" {
		t.Errorf("doctor has changed the host:\n%s", diff)
	}
	if got := d.wrongs(); got != f.wrong {
		t.Errorf("wrong is %q, want %q", got, f.wrong)
	}
	d.says(t, f.check, f.state, f.what, f.fix)
	if f.after != "" {
		sh(t, f.after)
	}
}

// halfMade: what an interrupted up leaves with --keep is told, of whichever lab.
func halfMade(t *testing.T) {
	fails(t, 5, []string{"left for a look"}, "up", "--keep", "--timeout", "2s", smallLab(t, "half"))
	sh(t, "virsh -c qemu:///system -q destroy labctl.half.one || true")
	d := doctor(t, smallLab(t, "sick"))
	if !d.Fit {
		t.Errorf("wrong is %s", d.wrongs())
	}
	d.says(t, "leftovers", "warning", "lab half is not whole", "labctl down half")
	must(t, "down", "half")
}

// diagnosesALab: a lab that is up is no leftover, and its agents do what labctl needs;
// what eats its frames, and what mends that, does so for real.
func diagnosesALab(t *testing.T, text string) {
	file := write(t, "sick.yaml", text)
	must(t, "up", file)
	d := doctor(t, file)
	if !d.Fit || d.state("leftovers") != "ok" || d.state("guest agents") != "ok" {
		t.Errorf("of a whole lab: %+v", d)
	}
	changed := doctor(t, write(t, "sick.yaml", strings.Replace(text, "256MiB", "320MiB", 1)))
	changed.says(t, "lab", "wrong", "lab sick is there already", "--replace")

	sh(t, docker)
	eaten := doctor(t, file)
	eaten.says(t, "bridged frames", "wrong", "IPv4 frames", "iptables -I FORWARD")
	if r := labctl(t, "verify", "--timeout", "20s"); r.code == 0 {
		t.Error("no frame is eaten, and doctor says so")
	}
	for _, c := range eaten.Checks { // what it says mends it
		if c.Check == "bridged frames" && len(c.Findings) > 0 {
			fix, _, _ := strings.Cut(c.Findings[0].Fix, " (")
			sh(t, fix)
		}
	}
	must(t, "verify")
	if got := doctor(t, file).state("bridged frames"); got != "ok" {
		t.Errorf("mended, bridged frames are %s", got)
	}
	sh(t, undocker)

	sh(t, "kill -STOP $(cat /run/libvirt/qemu/labctl.sick.two.pid)")
	hung := doctor(t, file)
	hung.says(t, "guest agents", "warning", "node two", "labctl console --lab sick two")
	sh(t, "kill -CONT $(cat /run/libvirt/qemu/labctl.sick.two.pid)")
	must(t, "down", "sick")
}

// withoutLibvirt kills libvirtd: one finding, and all that needs none is looked at.
func withoutLibvirt(t *testing.T, text string) {
	pid, err := strconv.Atoi(sh(t, "cat /run/libvirtd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	sh(t, fmt.Sprintf("kill %[1]d; while kill -0 %[1]d 2>/dev/null && [ \"$(ps -o stat= -p %[1]d | cut -c1)\" != Z ]; do sleep 0.1; done", pid))
	d := doctor(t, write(t, "sick.yaml", strings.Replace(text, "256MiB", "1TiB", 1)))
	d.says(t, "libvirt", "wrong", "does not answer", "systemctl start libvirtd")
	if got := d.wrongs(); got != "libvirt, memory" {
		t.Errorf("wrong is %q", got)
	}
	for _, check := range []string{"qemu", "kernel", "bridged frames", "images", "disk", "ports", "subnets", "locks", "lab"} {
		if d.state(check) == "" {
			t.Errorf("%s is not checked without libvirt", check)
		}
	}
}
