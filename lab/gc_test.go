package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// expiring puts a lab of that name on the host that is to stay for so long; 0 is for ever.
func expiring(t *testing.T, h *host.Host, name, subnet string, ttl time.Duration) Build {
	t.Helper()
	noTools(t)
	b := claims(t, h, named(strings.ReplaceAll(plainLab, "10.9.1.", subnet), name), ttl)
	put(t, b)
	return b
}

// hosts are the labs on the host.
func hosts(t *testing.T, h *host.Host) string {
	t.Helper()
	marks, err := FindMarks(h)
	must(t, err)
	return strings.Join(marks.Labs(), " ")
}

func TestCollect(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	if all, err := Collect(t.Context(), h, deaf); err != nil || len(all) > 0 {
		t.Errorf("%v, %v on an empty host", all, err)
	}
	expiring(t, h, "hour", "10.9.1.", time.Hour)
	elsewhere := h.In(filepath.Join(t.TempDir(), "elsewhere"))
	expiring(t, elsewhere, "hour-elsewhere", "10.9.2.", time.Hour)
	expiring(t, h, "day", "10.9.3.", 24*time.Hour)
	expiring(t, h, "stays", "10.9.4.", 0)
	unmade(t, expiring(t, h, "old", "10.9.5.", time.Minute))
	must(t, os.MkdirAll(h.LabDir("cut-short"), 0o711))
	for _, step := range []struct {
		after time.Duration
		want  []Collected
	}{
		{time.Hour - time.Second, nil},
		{time.Hour, []Collected{{Lab: "hour", Things: 4}, {Lab: "hour-elsewhere", Things: 4}}},
		{time.Hour + time.Second, nil},
	} {
		setNow(t, noon.Add(step.after))
		all, err := Collect(t.Context(), h, deaf)
		if d := cmp.Diff(step.want, all); d != "" || err != nil {
			t.Errorf("after %s: %v (-want +got)\n%s", step.after, err, d)
		}
	}
	if got := hosts(t, h); got != "cut-short day old stays" {
		t.Errorf("there are %s now", got)
	}
	if _, err := os.Stat(elsewhere.LabDir("hour-elsewhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder elsewhere: %v", err)
	}
	if _, err := os.Stat(host.LockDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left", host.LockDir)
	}
}

// A lab at which another labctl is at work is not taken down under it, nor waited for.
func TestCollectPassesOverWhatIsInUse(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	expiring(t, h, "busy", "10.9.1.", time.Hour)
	expiring(t, h, "idle", "10.9.2.", time.Hour)
	setNow(t, noon.Add(2*time.Hour))
	unlock, err := host.Lock(t.Context(), "lab-busy", "the test", func(string) {})
	must(t, err)
	all, err := Collect(t.Context(), h, deaf)
	must(t, err)
	if len(all) != 2 || !strings.HasPrefix(all[0].Passed, "another labctl works on it: process ") || !strings.HasSuffix(all[0].Passed, "(the test)") || all[0].Things != 0 {
		t.Errorf("%+v", all)
	}
	if got := hosts(t, h); got != "busy" {
		t.Errorf("there are %s now", got)
	}
	unlock()
	if all, err := Collect(t.Context(), h, deaf); err != nil || cmp.Diff([]Collected{{Lab: "busy", Things: 4}}, all) != "" {
		t.Errorf("once it is free: %+v, %v", all, err)
	}
}

// What a lab's mark says is looked at again once it is this process's turn.
func TestCollectLooksAgain(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	expiring(t, h, "renewed", "10.9.1.", time.Hour)
	if c, err := collect(t.Context(), h, "renewed", deaf); err != nil || c.Things != 0 || c.Passed == "" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := collect(t.Context(), h, "gone", deaf); err != nil || c.Things != 0 || c.Passed == "" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := hosts(t, h); got != "renewed" {
		t.Errorf("there are %s now", got)
	}
}

func TestCollectLeavesANewerLabctlsAlone(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	b := expiring(t, h, "newer", "10.9.1.", time.Hour)
	b.Tag.Format = host.Format + 1
	must(t, b.folder().write())
	setNow(t, noon.Add(2*time.Hour))
	all, err := Collect(t.Context(), h, deaf)
	if err != nil || len(all) != 1 || all[0].Things != 0 || !strings.Contains(all[0].Passed, "newer labctl") {
		t.Errorf("%+v, %v", all, err)
	}
	if d := cmp.Diff([]string{"labctl.newer.control", "labctl.newer.one", "labctl.newer.two"}, domainsAndNetworks(t, h)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A lab that cannot be removed holds no other up, keeps its claim, and is tried again.
func TestCollectGoesOnPastFailures(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	stuck := expiring(t, h, "a-stuck", "10.9.1.", time.Hour)
	expiring(t, h, "b-fine", "10.9.2.", time.Hour)
	mend := notGivenBack(t, h, stuck.Tag)
	setNow(t, noon.Add(2*time.Hour))
	all, err := Collect(t.Context(), h, deaf)
	if d := cmp.Diff([]Collected{{Lab: "b-fine", Things: 4}}, all); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, says := range []string{"take lab a-stuck down: ", "remove machine/three: give 0000:3b:00.0 back", "lab a-stuck is not all gone; left: folder/a-stuck, machine/three"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	if l, err := listedAs(t, h, "a-stuck"); err != nil || l.State != Part || !l.ExpiresAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v, %v", l, err)
	}
	mend()
	if all, err := Collect(t.Context(), h, deaf); err != nil || cmp.Diff([]Collected{{Lab: "a-stuck", Things: 2}}, all) != "" {
		t.Errorf("mended: %+v, %v", all, err)
	}
	clean(t, h)
}

// notGivenBack adds a machine to the lab whose device does not go back to its
// driver, until that is mended.
func notGivenBack(t *testing.T, h *host.Host, tag host.Tag) (mend func()) {
	t.Helper()
	h.Root = t.TempDir()
	const device = "sys/bus/pci/devices/0000:3b:00.0/"
	for path, text := range map[string]string{
		"proc/sys/kernel/random/boot_id": bootThen, device + "class": "0x020000", device + "driver_override": "vfio-pci",
	} {
		path = filepath.Join(h.Root, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
	}
	tag.Borrowed = []host.Borrowed{{PCI: "0000:3b:00.0", Boot: bootThen, Driver: "ixgbe"}}
	mark, err := tag.XML()
	must(t, err)
	_, err = h.DomainDefineXML(`<domain type="test"><name>labctl.` + tag.Lab + `.three</name><metadata>` + mark +
		`</metadata><memory>1024</memory><os><type>hvm</type></os></domain>`)
	must(t, err)
	return func() { must(t, os.MkdirAll(filepath.Join(h.Root, "sys/bus/pci/drivers/ixgbe"), 0o755)) }
}

func TestCollectInterrupted(t *testing.T) {
	h := newHost(t)
	setNow(t, noon)
	expiring(t, h, "a", "10.9.1.", time.Hour)
	expiring(t, h, "b", "10.9.2.", time.Hour)
	setNow(t, noon.Add(2*time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Collect(ctx, h, func(e Event) {
		if e.Resource == "folder/a" && e.Phase == Ends {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := hosts(t, h); got != "b" {
		t.Errorf("there are %s now", got)
	}
}
