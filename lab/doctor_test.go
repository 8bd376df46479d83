package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
)

// diagnose is what doctor says of a file, by check; every finding has its why and its fix.
func diagnose(t *testing.T, h *host.Host, text string) (Diagnosis, map[string]host.Check) {
	t.Helper()
	d, err := Doctor(t.Context(), h, loadFile(t, text), "lab.yaml")
	must(t, err)
	checks := map[string]host.Check{}
	for _, c := range d.Checks {
		if _, twice := checks[c.Name]; twice {
			t.Errorf("%s is checked twice", c.Name)
		}
		checks[c.Name] = c
		for _, f := range c.Findings {
			if f.What == "" || f.Why == "" || f.Fix == "" {
				t.Errorf("%s: a finding without what, why or fix: %+v", c.Name, f)
			}
		}
	}
	return d, checks
}

// says looks for a finding with those texts.
func says(t *testing.T, c host.Check, state, what, fix string) {
	t.Helper()
	for _, f := range c.Findings {
		if f.State() == state && strings.Contains(f.What, what) && strings.Contains(f.Fix, fix) {
			return
		}
	}
	t.Errorf("%s does not say %q, %s, fixed by %q: %+v", c.Name, what, state, fix, c.Findings)
}

func TestDoctorOfNoLab(t *testing.T) {
	_, checks := diagnose(t, newHost(t), plainLab)
	for _, name := range []string{
		"libvirt", "qemu", "capability cache", "confinement", "clock",
		"kvm", "firmware", "programs", "memory", "paths", "disk", "subnets", "ports", "iommu", "interrupts", "locked memory", "nics", "bridges", "ovs",
		"images", "kernel", "bridged frames", "other labs", "lab", "guest agents", "leftovers", "locks",
	} {
		c, ok := checks[name]
		if !ok {
			t.Errorf("%s is not checked", name)
		}
		delete(checks, name)
		if name != "programs" && c.State() == host.Wrong {
			t.Errorf("%s is wrong: %+v", name, c.Findings)
		}
	}
	for name := range checks {
		t.Errorf("%s is checked, and unknown to this test", name)
	}
}

// A libvirt that does not answer is one finding, and ends nothing else.
func TestDoctorWithoutLibvirt(t *testing.T) {
	before := newHost(t)
	must(t, prepare(t, before, named(plainLab, "rival")).folder().Create(t.Context()))
	h, err := host.ConnectWithin(t.Context(), "test:///no/such/host", before.Dir, time.Minute)
	if err == nil {
		t.Fatal("a libvirt that is not there answers")
	}
	d, checks := diagnose(t, h, plainLab)
	if d.Fit() {
		t.Error("a host without libvirt is fit")
	}
	says(t, checks["libvirt"], host.Wrong, "does not answer", "systemctl start libvirtd")
	says(t, checks["subnets"], host.Wrong, "overlaps 10.9.1.0/24", "another subnet") // which rival's folder says
	for _, name := range []string{"kernel", "memory", "disk", "images", "lab", "bridged frames", "locks"} {
		if _, ok := checks[name]; !ok {
			t.Errorf("%s is not checked", name)
		}
	}
	must(t, prepare(t, before, strings.ReplaceAll(named(plainLab, "own"), "10.9.1.", "10.9.3.")).folder().Create(t.Context()))
	_, own := diagnose(t, h, strings.ReplaceAll(named(plainLab, "own"), "10.9.1.", "10.9.3."))
	if own["lab"].State() != host.OK || own["subnets"].State() != host.OK {
		t.Errorf("a lab that has its folder already: %+v, %+v", own["lab"], own["subnets"])
	}
	for _, name := range []string{"guest agents", "leftovers"} {
		if _, ok := checks[name]; ok {
			t.Errorf("%s is checked without libvirt", name)
		}
	}
}

// What is there of labs is told whole, half, and where a mark cannot be read.
func TestDoctorTellsOfLeftovers(t *testing.T) {
	h := newHost(t)
	half := prepare(t, h, strings.ReplaceAll(named(plainLab, "half"), "10.9.1.", "10.9.2."))
	must(t, half.folder().Create(t.Context()))
	n, err := h.NetworkDefineXML(`<network><name>labctl.broken.lan</name><metadata><lab xmlns="` + host.TagNamespace + `" format="x"/></metadata></network>`)
	must(t, err)
	defer func() { _ = n.Free() }()
	must(t, os.MkdirAll(host.LockDir, 0o755))
	must(t, os.WriteFile(filepath.Join(host.LockDir, "lab-half.lock"), []byte("process 99999999 (labctl up)"), 0o600))
	must(t, os.WriteFile(filepath.Join(host.LockDir, "claims.lock"), []byte("process 99999999 (labctl up)"), 0o600))
	d, checks := diagnose(t, h, plainLab)
	says(t, checks["leftovers"], host.Warning, "lab half is not whole", "labctl down half")
	says(t, checks["leftovers"], host.Warning, "labctl.broken.lan", "labctl down broken")
	says(t, checks["locks"], host.Warning, "lab-half.lock is left by process 99999999 (labctl up)", "labctl down half")
	says(t, checks["locks"], host.Warning, "claims.lock", "rm "+filepath.Join(host.LockDir, "claims.lock"))
	for _, name := range []string{"leftovers", "locks", "lab"} {
		if checks[name].State() == host.Wrong {
			t.Errorf("%s keeps a lab from working: %+v", name, d)
		}
	}
}

// A lab that a labctl works on is no leftover.
func TestDoctorLeavesWorkAlone(t *testing.T) {
	h := newHost(t)
	half := prepare(t, h, strings.ReplaceAll(named(plainLab, "half"), "10.9.1.", "10.9.2."))
	must(t, half.folder().Create(t.Context()))
	unlock, err := lock(t.Context(), "half", "labctl up", deaf)
	must(t, err)
	_, checks := diagnose(t, h, plainLab)
	if c := checks["leftovers"]; c.State() != host.OK || !strings.Contains(checks["locks"].Found, "lab-half: process ") {
		t.Errorf("%+v, %+v", c, checks["locks"])
	}
	unlock()
	_, checks = diagnose(t, h, plainLab)
	says(t, checks["leftovers"], host.Warning, "lab half is not whole", "labctl down half")
}

// What has the lab's names and is not the lab's is told, all of it, and up would refuse it.
func TestDoctorTellsOfForeignNames(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	must(t, os.MkdirAll(filepath.Join(h.LabDir("plain"), "content"), 0o755))
	d, err := h.DomainDefineXML("<domain type='test'><name>" + b.Lab.Nodes[0].Object + "</name><memory>1024</memory><os><type>hvm</type></os></domain>")
	must(t, err)
	defer func() { _ = d.Free() }()
	n, err := h.NetworkDefineXML("<network><name>" + b.Lab.Networks[0].Segments[0].Object + "</name></network>")
	must(t, err)
	defer func() { _ = n.Free() }()
	diagnosis, checks := diagnose(t, h, plainLab)
	says(t, checks["lab"], host.Wrong, h.LabDir("plain"), "")
	says(t, checks["lab"], host.Wrong, b.Lab.Nodes[0].Object, "")
	says(t, checks["lab"], host.Wrong, b.Lab.Networks[0].Segments[0].Object, "virsh net-dumpxml")
	if diagnosis.Fit() {
		t.Error("the host is fit")
	}
}

// A file that says otherwise now is a finding, as up refuses it, and the rest is looked at.
func TestDoctorOfAChangedFile(t *testing.T) {
	h := newHost(t)
	put(t, prepare(t, h, plainLab))
	_, checks := diagnose(t, h, strings.Replace(plainLab, "10.9.1.11", "10.9.1.12", 1))
	says(t, checks["lab"], host.Wrong, "lab plain is there already", "--replace")
	if _, ok := checks["kernel"]; !ok {
		t.Error("the kernel is not looked at")
	}
}

func TestDoctorInterrupted(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Doctor(ctx, h, loadFile(t, plainLab), "lab.yaml"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestDoctorChangesNothing(t *testing.T) {
	h := newHost(t)
	diagnose(t, h, chosenLab)
	if m, err := FindMarks(h); err != nil || len(m.Labs()) > 0 {
		t.Errorf("%v, %v", m.Labs(), err)
	}
	for _, dir := range []string{h.Dir, host.LockDir} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
