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

func TestList(t *testing.T) {
	noTools(t)
	t.Setenv("SUDO_USER", "alice")
	setNow(t, noon)
	h := newHost(t)
	if all, err := List(t.Context(), h); err != nil || all == nil || len(all) > 0 {
		t.Errorf("%v, %v; want an empty list, also as JSON", all, err)
	}
	put(t, claims(t, h, plainLab, time.Hour))
	must(t, os.MkdirAll(h.LabDir("cut-short"), 0o711))
	old := prepare(t, h, named(strings.ReplaceAll(plainLab, "10.9.1.", "10.9.2."), "old"))
	put(t, old)
	unmade(t, old)
	all, err := List(t.Context(), h)
	must(t, err)
	want := []Listed{
		{Name: "cut-short", State: Part},
		{Name: "old", State: Part, Nodes: 2, From: "lab.yaml"},
		{Name: "plain", State: Part, Nodes: 2, MadeAt: noon, Owner: "alice", ExpiresAt: noon.Add(time.Hour), From: "lab.yaml"},
	}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := List(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after an interrupt", err)
	}
}

// listedAs is the lab of that name as List tells of it; "" where it does not.
func listedAs(t *testing.T, h *host.Host, name string) (Listed, error) {
	t.Helper()
	all, err := List(t.Context(), h)
	for _, l := range all {
		if l.Name == name {
			return l, err
		}
	}
	return Listed{}, err
}

// Each lab that has anything on the host is told of, whatever that is.
func TestListOfWhatIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, Build)
		note   string
	}{
		"a machine alone": {aMachineAlone, ""},
		"its folder alone": {func(t *testing.T, b Build) {
			removeDomains(t, b)
			must(t, b.segments()[0].Destroy(t.Context()))
		}, ""},
		"after a reboot": {off, ""},
		"a mark that cannot be read": {func(t *testing.T, b Build) {
			must(t, b.folder().Destroy(t.Context()))
			must(t, os.MkdirAll(filepath.Join(b.dir(), markFile), 0o711))
		}, "folder plain: read "},
		"a network whose mark cannot be read": {func(t *testing.T, b Build) { unreadableNetwork(t, b.On, "labctl.plain.three") }, "network labctl.plain.three: read labctl's mark"},
		"a mark whose file is none": {func(t *testing.T, b Build) {
			removeDomains(t, b)
			must(t, b.segments()[0].Destroy(t.Context()))
			b.Tag.File = "name: ["
			must(t, b.folder().write())
		}, "the file in lab plain's mark:"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			other := prepare(t, h, named(strings.ReplaceAll(plainLab, "10.9.1.", "10.9.2."), "other"))
			put(t, other)
			b := prepare(t, h, plainLab)
			put(t, b)
			test.change(t, b)
			l, err := listedAs(t, h, "plain")
			if err != nil || l.State != Part || !strings.HasPrefix(l.Note, test.note) || (l.Note == "") != (test.note == "") {
				t.Errorf("%+v, %v", l, err)
			}
			if l, err := listedAs(t, h, "other"); err != nil || l.Nodes != 2 || l.Note != "" {
				t.Errorf("the other lab: %+v, %v", l, err)
			}
		})
	}
}

// unreadableNetwork defines a network with a mark that labctl cannot read.
func unreadableNetwork(t *testing.T, h *host.Host, name string) {
	t.Helper()
	_, err := h.NetworkDefineXML(`<network><name>` + name + `</name><metadata><lab xmlns="urn:labctl:lab:1" name="other" format="one"/></metadata><bridge name="lcbother"/></network>`)
	must(t, err)
}

// What bears a mark that no name tells the lab of is an error beside the labs.
func TestListOfWhatIsNobodys(t *testing.T) {
	h := newHost(t)
	put(t, prepare(t, h, plainLab))
	unreadableNetwork(t, h, "copy-of-a-network")
	l, err := listedAs(t, h, "plain")
	if l.Nodes != 2 || l.Note != "" {
		t.Errorf("%+v", l)
	}
	if err == nil || !strings.Contains(err.Error(), "network copy-of-a-network: read labctl's mark") {
		t.Errorf("%v", err)
	}
}

// A newer labctl's lab is not judged, as there may be things of it that this one does not know.
func TestListOfANewerLabctl(t *testing.T) {
	setNow(t, noon)
	h := newHost(t)
	b := prepare(t, h, plainLab)
	b.Tag.Format = host.Format + 1
	b.Made.keep(time.Hour)
	put(t, b)
	want := Listed{
		Name: "plain", State: Unsure, MadeAt: noon, Owner: b.Made.By, ExpiresAt: noon.Add(time.Hour), From: "lab.yaml",
		Note: "lab plain was made by a newer labctl (format 2, this one knows 1): use that one",
	}
	if l, err := listedAs(t, h, "plain"); err != nil || cmp.Diff(want, l) != "" {
		t.Errorf("%v (-want +got)\n%s", err, cmp.Diff(want, l))
	}
	// also where only its folder is there, with a mark that this one cannot read
	removeDomains(t, b)
	must(t, b.segments()[0].Destroy(t.Context()))
	text := strings.Replace(plainMark(t, h), `<file>`, `<chosen network="control" subnet="by the next labctl"/><file>`, 1)
	must(t, os.WriteFile(filepath.Join(b.dir(), markFile), []byte(text), 0o600))
	if l, err := listedAs(t, h, "plain"); err != nil || l.State != Unsure {
		t.Errorf("%+v, %v", l, err)
	}
	if n, err := Down(t.Context(), h, "plain", deaf); n != 0 || !errors.As(err, new(Newer)) {
		t.Errorf("down removed %d things, %v", n, err)
	}
	is(t, b.folder(), host.Present)
}
