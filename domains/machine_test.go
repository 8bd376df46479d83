package domains

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

// state fails the test where the machine is in another state.
func state(t *testing.T, m interface {
	State(context.Context) (host.State, error)
}, want host.State,
) {
	t.Helper()
	got, err := m.State(t.Context())
	must(t, err)
	if got != want {
		t.Fatalf("state %s, want %s", got, want)
	}
}

func TestMachineContract(t *testing.T) {
	for _, n := range demo(t).Nodes {
		t.Run(n.Name, func(t *testing.T) {
			m := demoMachine(t, n.Name)
			state(t, m, host.Absent)
			must(t, m.Destroy(t.Context()))
			must(t, m.Create(t.Context()))
			state(t, m, host.Present)
			id, err := lookup(t, m.On, n.Object).GetID()
			must(t, err)
			must(t, m.Create(t.Context()))
			state(t, m, host.Present)
			if again, err := lookup(t, m.On, n.Object).GetID(); err != nil || again != id {
				t.Errorf("a running machine was started again (%d, then %d, %v)", id, again, err)
			}
			must(t, m.Destroy(t.Context()))
			state(t, m, host.Absent)
			must(t, m.Destroy(t.Context()))
		})
	}
}

func TestMachineIsCompleted(t *testing.T) {
	for name, leave := range map[string]func(*libvirt.Domain) error{
		"off":    (*libvirt.Domain).Destroy, // as after a reboot of the host
		"paused": (*libvirt.Domain).Suspend, // as where its start was cut short
	} {
		t.Run(name, func(t *testing.T) {
			m := demoMachine(t, "tshark")
			must(t, m.Create(t.Context()))
			must(t, leave(lookup(t, m.On, m.Node.Object)))
			state(t, m, host.Partial)
			must(t, m.Create(t.Context()))
			state(t, m, host.Present)
			must(t, leave(lookup(t, m.On, m.Node.Object)))
			must(t, m.Destroy(t.Context()))
			state(t, m, host.Absent)
		})
	}
}

// A machine that is off is started as it is described now.
func TestMachineThatIsOffIsDescribedAnew(t *testing.T) {
	m := demoMachine(t, "tshark")
	must(t, m.Create(t.Context()))
	must(t, lookup(t, m.On, m.Node.Object).Destroy())
	m.Boot.Kernel = "/other/kernel"
	must(t, m.Create(t.Context()))
	x, err := describe(lookup(t, m.On, m.Node.Object))
	must(t, err)
	if x.OS.Kernel != "/other/kernel" {
		t.Errorf("its kernel is %s", x.OS.Kernel)
	}
}

func TestMachineLeavesForeignDomainsAlone(t *testing.T) {
	other := demoTag()
	other.Lab = "other"
	mark, err := other.XML()
	must(t, err)
	for name, metadata := range map[string]string{"without a mark": "", "of another lab": mark} {
		t.Run(name, func(t *testing.T) {
			m := demoMachine(t, "tshark")
			foreign(t, m.On, m.Node.Object, metadata)
			before, err := lookup(t, m.On, m.Node.Object).GetXMLDesc(0)
			must(t, err)
			if _, err := m.State(t.Context()); err == nil {
				t.Error("State takes it for its own")
			}
			if err := m.Create(t.Context()); err == nil {
				t.Error("Create takes it for its own")
			}
			must(t, m.Destroy(t.Context()))
			must(t, Found{m.On, m.Node.Object, m.Tag}.Destroy(t.Context()))
			after, err := lookup(t, m.On, m.Node.Object).GetXMLDesc(0)
			must(t, err)
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("it was changed:\n%s", d)
			}
			if up, err := lookup(t, m.On, m.Node.Object).IsActive(); err != nil || up {
				t.Errorf("it runs: %v, %v", up, err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	h := hosttest.New(t)
	for i, n := range demo(t).Nodes {
		m := Machine{On: h, Node: n, Tag: demoTag(), Boot: Boot{Disk: "/d", Console: "/c"}}
		must(t, m.Create(t.Context()))
		if i == 0 {
			must(t, lookup(t, h, n.Object).Destroy())
		}
	}
	foreign(t, h, "labctl.trafic.looks-like-one", "")
	foreign(t, h, "another", `<lab xmlns="urn:other" name="trafic"/>`)
	found, err := Find(h)
	must(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.String())
		state(t, f, host.Present)
		if !f.Tag.Equal(demoTag()) {
			t.Errorf("%s bears %+v", f, f.Tag)
		}
	}
	want := []string{"machine/influxdb", "machine/iperf-client", "machine/iperf-server", "machine/tshark"}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, f := range found {
		must(t, f.Destroy(t.Context()))
		state(t, f, host.Absent)
		must(t, f.Destroy(t.Context()))
	}
	lookup(t, h, "labctl.trafic.looks-like-one")
	lookup(t, h, "another")
}

func TestFindPastMarksThatCannotBeRead(t *testing.T) {
	m := demoMachine(t, "tshark")
	must(t, m.Create(t.Context()))
	foreign(t, m.On, "odd", `<lab xmlns="urn:labctl:lab:1" format="two"/>`)
	found, err := Find(m.On)
	if len(found) != 1 || found[0].String() != "machine/tshark" {
		t.Errorf("found %v", found)
	}
	if err == nil || !strings.Contains(err.Error(), "domain odd: ") {
		t.Errorf("%v does not name the domain", err)
	}
}

func TestAccel(t *testing.T) {
	for _, accel := range []string{topology.AccelKVM, topology.AccelTCG} {
		m := demoMachine(t, "tshark")
		if _, there, err := m.Accel(); there || err != nil {
			t.Errorf("before it is there: %v, %v", there, err)
		}
		m.Boot.Accel = accel
		must(t, m.Create(t.Context()))
		if got, there, err := m.Accel(); got != accel || !there || err != nil {
			t.Errorf("%s: %s, %v, %v", accel, got, there, err)
		}
	}
}

// Logs of real domains are not the test driver's to remove.
func TestRemoveLogs(t *testing.T) {
	dir := t.TempDir()
	before := qemuLogDir
	qemuLogDir = dir
	t.Cleanup(func() { qemuLogDir = before })
	write := func(names ...string) {
		for _, n := range names {
			must(t, os.WriteFile(filepath.Join(dir, n), nil, 0o600))
		}
	}
	m := demoMachine(t, "tshark")
	others := []string{
		"labctl.trafic.tshark-2.log", m.Node.Object + ".log.bak", m.Node.Object + ".log.0.bak", m.Node.Object + ".log.", m.Node.Object + ".log0",
		strings.ReplaceAll(m.Node.Object, ".", "_") + ".log", "x" + m.Node.Object + ".log", "other.log",
	}
	write(others...)
	write(m.Node.Object+".log", m.Node.Object+".log.0", m.Node.Object+".log.12")
	must(t, m.Create(t.Context()))
	must(t, m.Destroy(t.Context()))
	if all, err := filepath.Glob(dir + "/*"); err != nil || len(all) != len(others)+3 {
		t.Errorf("the test driver removed logs: %v, %v", all, err)
	}
	must(t, removeLogs(m.Node.Object))
	left, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, f := range left {
		names = append(names, f.Name())
	}
	slices.Sort(others)
	if d := cmp.Diff(others, names); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	must(t, removeLogs(m.Node.Object))
	qemuLogDir = filepath.Join(dir, "none")
	must(t, removeLogs(m.Node.Object))
}

// Removal that is cut short after the logs leaves the domain to be found again.
// Folders of earlier runs go; those of what runs stay, and those of other names.
func TestRemoveFolders(t *testing.T) {
	before := qemuRunDirs
	qemuRunDirs = []string{t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "none")}
	t.Cleanup(func() { qemuRunDirs = before })
	m := demoMachine(t, "iperf-client") // whose name is longer than what libvirt takes of it
	must(t, m.Create(t.Context()))
	d, err := m.On.LookupDomainByName(m.Node.Object)
	must(t, err)
	id, err := d.GetID()
	must(t, err)
	running := fmt.Sprintf("domain-%d-labctl.trafic.iperf-", id)
	stay := []string{running, "domain-77-labctl.trafic.iperf", "domain-77-labctl.trafic.iperf-c", "domain-x-labctl.trafic.iperf-", "labctl.trafic.iperf-"}
	for _, dir := range qemuRunDirs[:2] {
		for _, name := range append(stay, "domain-77-labctl.trafic.iperf-", "domain-4-labctl.trafic.iperf-") {
			must(t, os.MkdirAll(filepath.Join(dir, name, "inside"), 0o700))
		}
	}
	must(t, removeFolders(m.On, m.Node.Object))
	slices.Sort(stay)
	for _, dir := range qemuRunDirs[:2] {
		var left []string
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if d := cmp.Diff(stay, left); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}

func TestLogsGoBeforeTheDomain(t *testing.T) {
	logDir, runDirs := qemuLogDir, qemuRunDirs
	qemuLogDir, qemuRunDirs = t.TempDir(), nil // not the machine's own
	t.Cleanup(func() { qemuLogDir, qemuRunDirs = logDir, runDirs })
	m := demoMachine(t, "tshark")
	must(t, m.Create(t.Context()))
	log := filepath.Join(qemuLogDir, m.Node.Object+".log")
	must(t, os.WriteFile(log, nil, 0o600))
	// taken for a real libvirt, the test driver refuses to undefine as labctl asks it to
	unaware := &host.Host{Connect: m.On.Connect}
	says(t, remove(t.Context(), unaware, m.Node.Object, m.Node.Lab), "undefine: ")
	if _, err := os.Stat(log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log is left: %v", err)
	}
	state(t, m, host.Partial)
}
