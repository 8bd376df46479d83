package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// found are the names of what Find finds, in stages.
func found(t *testing.T, h *host.Host, lab string) string {
	t.Helper()
	stages, err := Find(t.Context(), h, lab)
	must(t, err)
	var texts []string
	for _, s := range stages {
		all := names([][]Removable{s})
		slices.Sort(all)
		texts = append(texts, strings.Join(all, " "))
	}
	return strings.Join(texts, " | ")
}

// domainsAndNetworks are libvirt's names of all it has.
func domainsAndNetworks(t *testing.T, h *host.Host) []string {
	t.Helper()
	var all []string
	ds, err := h.ListAllDomains(0)
	must(t, err)
	for _, d := range ds {
		name, err := d.GetName()
		must(t, err)
		all = append(all, name)
	}
	ns, err := h.ListAllNetworks(0)
	must(t, err)
	for _, n := range ns {
		name, err := n.GetName()
		must(t, err)
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestFindAndDown(t *testing.T) {
	const whole = "folder/plain | network/control | machine/one machine/two"
	remark := func(mark string) func(*testing.T, Build) {
		return func(t *testing.T, b Build) {
			must(t, os.WriteFile(filepath.Join(b.folder().dir(), markFile), []byte(mark), 0o600))
		}
	}
	for name, test := range map[string]struct {
		change func(*testing.T, Build)
		want   string
		things int
	}{
		"whole":                      {func(*testing.T, Build) {}, whole, 4},
		"without its folder":         {func(t *testing.T, b Build) { must(t, os.RemoveAll(b.folder().dir())) }, "network/control | machine/one machine/two", 3},
		"its mark cannot be read":    {remark("<lab"), whole, 4},
		"its mark is half written":   {func(t *testing.T, b Build) { must(t, os.Remove(filepath.Join(b.folder().dir(), markFile))) }, whole, 4},
		"the folder alone":           {func(t *testing.T, b Build) { removeDomains(t, b); must(t, b.segments()[0].Destroy(t.Context())) }, "folder/plain", 1},
		"networks alone":             {func(t *testing.T, b Build) { removeDomains(t, b); must(t, b.folder().Destroy(t.Context())) }, "network/control", 1},
		"a machine alone":            {aMachineAlone, "machine/two", 1},
		"after a reboot of the host": {off, whole, 4},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			other := prepare(t, h, strings.ReplaceAll(strings.ReplaceAll(plainLab, "plain", "other"), "10.9.1.", "10.9.2."))
			put(t, other)
			before := domainsAndNetworks(t, h)
			b := prepare(t, h, plainLab)
			put(t, b)
			test.change(t, b)
			if d := cmp.Diff(test.want, found(t, h, "plain")); d != "" {
				t.Errorf("found (-want +got)\n%s", d)
			}
			var r recorder
			n, err := Down(t.Context(), h, "plain", r.tell)
			if err != nil || n != test.things {
				t.Errorf("%d things removed, %v; want %d", n, err, test.things)
			}
			r.complete(t)
			if again, err := Down(t.Context(), h, "plain", deaf); again != 0 || err != nil {
				t.Errorf("again: %d things, %v", again, err)
			}
			if d := cmp.Diff(before, domainsAndNetworks(t, h)); d != "" {
				t.Errorf("left or lost (-want +got)\n%s", d)
			}
			if d := cmp.Diff("folder/other | network/control | machine/one machine/two", found(t, h, "other")); d != "" {
				t.Errorf("of the other lab (-want +got)\n%s", d)
			}
			if _, err := os.Stat(host.LockDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left", host.LockDir)
			}
		})
	}
}

func removeDomains(t *testing.T, b Build) {
	t.Helper()
	for _, m := range b.Machines() {
		must(t, m.Destroy(t.Context()))
	}
}

func aMachineAlone(t *testing.T, b Build) {
	must(t, b.Machines()[0].Destroy(t.Context()))
	must(t, b.segments()[0].Destroy(t.Context()))
	must(t, b.folder().Destroy(t.Context()))
}

func off(t *testing.T, b Build) {
	for _, m := range b.Machines() {
		d, err := b.On.LookupDomainByName(m.Node.Object)
		must(t, err)
		must(t, d.Destroy())
	}
}

// A replacement that was cut short leaves marks of the old file and of the new one.
func TestDownOfTwoFiles(t *testing.T) {
	h := newHost(t)
	old := prepare(t, h, plainLab)
	put(t, old)
	must(t, os.RemoveAll(old.folder().dir()))
	must(t, old.Machines()[1].Destroy(t.Context()))
	now := decided(t, strings.Replace(plainLab, "  two:", "  three:", 1))
	b := Build{On: h, Lab: now, Tag: old.Tag}
	b.Tag.File = strings.Replace(plainLab, "  two:", "  three:", 1)
	must(t, b.folder().Create(t.Context()))
	must(t, b.Machines()[1].Create(t.Context()))
	if d := cmp.Diff("folder/plain | network/control | machine/one machine/three", found(t, h, "plain")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n, err := Down(t.Context(), h, "plain", deaf); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if left := domainsAndNetworks(t, h); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What a newer labctl made is left to it: there may be things that this one cannot find.
func TestFindOfANewerLabctl(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	b.Tag.Format = host.Format + 1
	put(t, b)
	stages, err := Find(t.Context(), h, "plain")
	if err == nil || !strings.Contains(err.Error(), "newer labctl") {
		t.Errorf("%v", err)
	}
	if all := names(stages); len(all) != 0 {
		t.Errorf("%v would be removed", all)
	}
}

// Where up was killed before it made the lab's folder, that of the labs may be left.
func TestDownOfNothing(t *testing.T) {
	h := newHost(t)
	labs := filepath.Dir(h.LabDir("plain"))
	must(t, os.MkdirAll(labs, 0o755))
	if n, err := Down(t.Context(), h, "plain", func(e Event) { t.Errorf("told %v", e) }); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := os.Stat(labs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the labs: %v", err)
	}
}

// Down removes all it can, tells what it could not, and looks again.
func TestDestroyGoesOnPastFailures(t *testing.T) {
	j := &journal{}
	var r recorder
	err := destroy(t.Context(), [][]Removable{
		{fake{name: "a", journal: j}},
		{fake{name: "b", stays: true, journal: j}, fake{name: "c", stays: true, journal: j}},
		{fake{name: "d", stays: true, journal: j}},
	}, r.tell)
	r.complete(t)
	if len(j.done) != 4 || j.done[0] != "destroy d" || j.done[3] != "destroy a" {
		t.Errorf("%q", j.done)
	}
	for _, name := range []string{"b", "c", "d"} {
		if err == nil || !strings.Contains(err.Error(), "remove "+name+": broken") {
			t.Errorf("%v does not tell of %s", err, name)
		}
	}
	if got := (Left{"demo", []string{"network/a", "machine/b"}}).Error(); got != "lab demo is not all gone; left: network/a, machine/b" {
		t.Error(got)
	}
}

// While another labctl works on the lab, Down waits for it, and says so.
func TestDownWaitsForItsTurn(t *testing.T) {
	h := newHost(t)
	unlock, err := host.Lock(t.Context(), "lab-plain", "the test", func(string) {})
	must(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	var r recorder
	_, err = Down(ctx, h, "plain", func(e Event) { r.tell(e); cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(r.events) != 1 || !strings.Contains(r.events[0].Note, "(the test)") || r.events[0].Phase != Notes {
		t.Errorf("told %+v", r.events)
	}
}

// What could not be removed keeps what it stands on: a machine its disk, and all of it the lab's folder.
func TestDestroyKeepsWhatTheRestStandsOn(t *testing.T) {
	h := newHost(t)
	claim := Folder{On: h, Tag: host.Tag{Lab: "plain", Format: 1, File: "name: plain\n"}}
	must(t, claim.Create(t.Context()))
	j := &journal{}
	stages := [][]Removable{
		{claim},
		{fake{name: "disk/a", journal: j}, fake{name: "disk/b", journal: j}},
		{fake{name: "machine/a", stays: true, journal: j}, fake{name: "machine/b", journal: j}},
	}
	var r recorder
	if err := destroy(t.Context(), stages, r.tell); err == nil || !strings.Contains(err.Error(), "remove machine/a: broken") {
		t.Errorf("%v", err)
	}
	if slices.Contains(j.done, "destroy disk/a") || !slices.Contains(j.done, "destroy disk/b") {
		t.Errorf("%q", j.done)
	}
	if s, err := claim.State(t.Context()); err != nil || s != host.Present {
		t.Errorf("the folder is %s, %v", s, err)
	}
	must(t, destroy(t.Context(), stages[:2], r.tell))
	if s, err := claim.State(t.Context()); err != nil || s != host.Absent {
		t.Errorf("the folder is %s, %v", s, err)
	}
}

// A folder of a lab's name that holds something else is nobody's to remove.
func TestFolderOfSomebodyElse(t *testing.T) {
	h := newHost(t)
	f := Folder{On: h, Tag: host.Tag{Lab: "data", Format: 1}}
	results := filepath.Join(f.dir(), "results.csv")
	must(t, os.MkdirAll(f.dir(), 0o755))
	must(t, os.WriteFile(results, []byte("1,2\n"), 0o600))
	if n, err := Down(t.Context(), h, "data", deaf); n != 0 || err != nil {
		t.Errorf("down found %d things, %v", n, err)
	}
	for what, err := range map[string]error{"create": f.Create(t.Context()), "destroy": f.Destroy(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "left alone") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(results); err != nil {
		t.Error(err)
	}
}

// A lab made in another folder of labctl's is found there.
func TestDownInAnotherFolder(t *testing.T) {
	h := newHost(t)
	elsewhere := h.In(filepath.Join(t.TempDir(), "elsewhere"))
	b := prepare(t, elsewhere, plainLab)
	put(t, b)
	if n, err := Down(t.Context(), h, "plain", deaf); n != 4 || err != nil {
		t.Errorf("down found %d things, %v", n, err)
	}
	if _, err := os.Stat(b.folder().dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's folder: %v", err)
	}
}

// One lab's broken mark is that lab's matter.
func TestBrokenMarkOfAnother(t *testing.T) {
	h := newHost(t)
	put(t, prepare(t, h, plainLab))
	_, err := h.NetworkDefineXML(`<network><name>labctl.other.net</name><metadata><lab xmlns="urn:labctl:lab:1" name="other" format="one"/></metadata><bridge name="lcbother"/></network>`)
	must(t, err)
	if n, err := Down(t.Context(), h, "plain", deaf); n != 4 || err != nil {
		t.Errorf("down of plain found %d things, %v", n, err)
	}
	if _, err := Down(t.Context(), h, "other", deaf); err == nil || !strings.Contains(err.Error(), "labctl.other.net") {
		t.Errorf("down of other: %v", err)
	}
}
