package lab

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// noon is when labs are made in tests.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// setNow has the host's clock stand still at a time.
func setNow(t *testing.T, at time.Time) {
	t.Helper()
	before := now
	now = func() time.Time { return at }
	t.Cleanup(func() { now = before })
}

// claims does what up does first: it takes a lab's name and subnets, for so long.
func claims(t *testing.T, h *host.Host, text string, ttl time.Duration) Build {
	t.Helper()
	b, _, err := claim(t.Context(), h, loadFile(t, text), Wanted{From: "lab.yaml", TTL: ttl}, deaf)
	must(t, err)
	return b
}

// plainMark is the mark in the folder of the lab named plain.
func plainMark(t *testing.T, h *host.Host) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.LabDir("plain"), markFile))
	must(t, err)
	return string(text)
}

func TestOwner(t *testing.T) {
	t.Setenv("SUDO_USER", "alice")
	t.Setenv("SUDO_UID", "1000")
	if name, uid := owner(); name != "alice" || uid != "1000" {
		t.Errorf("%s, %s; want the user behind sudo", name, uid)
	}
	t.Setenv("SUDO_USER", "")
	me, err := user.Current()
	must(t, err)
	if name, uid := owner(); name != me.Username || uid != strconv.Itoa(os.Getuid()) {
		t.Errorf("%s, %s; want %s, %d", name, uid, me.Username, os.Getuid())
	}
}

// What a mark says of when the lab was made stands in the folder, and nowhere else.
func TestMadeStandsInTheFolderAlone(t *testing.T) {
	noTools(t)
	t.Setenv("SUDO_USER", "alice <&>")
	t.Setenv("SUDO_UID", "1000")
	setNow(t, noon.Add(999*time.Millisecond).In(time.FixedZone("", 7200)))
	h := newHost(t)
	b := claims(t, h, plainLab, 2*time.Hour)
	until := noon.Add(2 * time.Hour)
	want := Made{At: &noon, By: "alice <&>", UID: "1000", With: Version(), Until: &until}
	opened, err := Open(h, "plain")
	must(t, err)
	if d := cmp.Diff(want, opened.Made); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if text := plainMark(t, h); !strings.Contains(text, ` at="2026-11-24T12:00:00Z"`) || !strings.Contains(text, ` until="2026-11-24T14:00:00Z"`) {
		t.Error(text)
	}
	put(t, b)
	other := newHost(t)
	setNow(t, noon.Add(time.Hour))
	put(t, claims(t, other, plainLab, 0))
	for name, text := range marksOf(t, h) {
		if strings.Contains(text, "alice") || strings.ReplaceAll(text, h.Dir, "") != strings.ReplaceAll(marksOf(t, other)[name], other.Dir, "") {
			t.Errorf("%s is another one when it is made at another time\n%s", name, text)
		}
	}
}

// marksOf are the marks of a host's domains and networks, by name.
func marksOf(t *testing.T, h *host.Host) map[string]string {
	t.Helper()
	marks, err := FindMarks(h)
	must(t, err)
	all := map[string]string{}
	for _, n := range marks.Networks {
		all[n.Object], err = n.Tag.XML()
		must(t, err)
	}
	for _, d := range marks.Domains {
		all[d.Object], err = d.Tag.XML()
		must(t, err)
	}
	return all
}

func TestExpired(t *testing.T) {
	setNow(t, noon)
	var m Made
	if m.Expired() {
		t.Error("a lab that is to stay has expired")
	}
	m.keep(time.Hour)
	for after, want := range map[time.Duration]bool{0: false, time.Hour - 1: false, time.Hour: true, 2 * time.Hour: true} {
		setNow(t, noon.Add(after))
		if m.Expired() != want {
			t.Errorf("expired after %s: %v", after, !want)
		}
	}
}

// up on a lab that is there says anew how long it stays where it is asked to, and
// leaves all else; there is nothing else to do for it.
func TestRenew(t *testing.T) {
	noTools(t)
	h := newHost(t)
	setNow(t, noon)
	made := claims(t, h, plainLab, time.Hour).Made
	setNow(t, noon.Add(time.Minute))
	first := plainMark(t, h)
	b := claims(t, h, plainLab, 0)
	if text := plainMark(t, h); text != first || cmp.Diff(made, b.Made) != "" {
		t.Errorf("up that asks for nothing changes the mark:\n%s%s%+v", first, text, b.Made)
	}
	var r recorder
	b, again, err := claim(t.Context(), h, loadFile(t, plainLab), Wanted{TTL: 3 * time.Hour}, r.tell)
	must(t, err)
	r.complete(t)
	if len(again) > 0 && count(again) > 0 {
		t.Errorf("an undo would take back %v", names(again))
	}
	if r.events[0].Verb != "renew" || r.events[0].Resource != "folder/plain" {
		t.Errorf("%+v", r.events)
	}
	until := noon.Add(3*time.Hour + time.Minute)
	want := Made{At: &noon, By: made.By, UID: made.UID, With: made.With, Until: &until}
	opened, err := Open(h, "plain")
	must(t, err)
	if d := cmp.Diff(want, opened.Made) + cmp.Diff(want, b.Made); d != "" || !opened.Tag.Equal(b.Tag) {
		t.Errorf("(-want +got)\n%s", d)
	}
	is(t, b.folder(), host.Present)
	if p, err := PlanUp(t.Context(), [][]Resource{{b.folder()}}); err != nil || !p.Empty() {
		t.Errorf("%v, %s", err, p)
	}
}

// A lab that was made by a labctl which did not say when, or whose folder is
// gone, is of unknown age, also once it is renewed.
func TestRenewOfAnOldLab(t *testing.T) {
	noTools(t)
	for name, change := range map[string]func(*testing.T, Build){
		"an older labctl's":     unmade,
		"a folder that is gone": func(t *testing.T, b Build) { must(t, b.folder().Destroy(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			put(t, prepare(t, h, plainLab))
			change(t, prepare(t, h, plainLab))
			if b := claims(t, h, plainLab, 0); cmp.Diff(Made{}, b.Made) != "" {
				t.Errorf("%+v", b.Made)
			}
			setNow(t, noon)
			claims(t, h, plainLab, time.Hour)
			until := noon.Add(time.Hour)
			opened, err := Open(h, "plain")
			must(t, err)
			if d := cmp.Diff(Made{Until: &until}, opened.Made); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// unmade makes the mark one of a labctl that did not say when.
func unmade(t *testing.T, b Build) {
	t.Helper()
	text, err := b.Tag.XML()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.dir(), markFile), []byte(text+"\n"), 0o600))
}

// What of a mark cannot be read is not known: it is no reason to remove the lab, nor to leave it there.
func TestReadMade(t *testing.T) {
	const lab = `<lab xmlns="urn:labctl:lab:1" name="x" format="1">`
	for text, want := range map[string]Made{
		"":                                     {},
		"<lab":                                 {},
		lab + "</lab>":                         {},
		lab + `<made by="bob"/></lab>`:         {By: "bob"},
		lab + `<made until="tomorrow"/></lab>`: {},
		lab + `<made by="bob" at="2026-11-24T12:00:00Z" new="1"><new/></made></lab>`: {By: "bob", At: &noon},
		`<lab><made by="bob"/></lab>`: {},
	} {
		if d := cmp.Diff(want, readMade([]byte(text))); d != "" {
			t.Errorf("%s (-want +got)\n%s", text, d)
		}
	}
	b := prepare(t, newHost(t), plainLab)
	must(t, b.folder().Create(t.Context()))
	text := strings.Replace(plainMark(t, b.On), ` at="`, ` at="on `, 1)
	must(t, os.WriteFile(filepath.Join(b.dir(), markFile), []byte(text), 0o600))
	if opened, err := Open(b.On, "plain"); err != nil || !opened.Tag.Equal(b.Tag) || opened.Made.Expired() {
		t.Errorf("%v, %+v", err, opened.Made)
	}
}

// What one of a lab's objects has borrowed is not in the mark that others get of it.
func TestTagsHoldNothingBorrowed(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	mark := b.Tag
	mark.Borrowed = []host.Borrowed{{Link: "eno1", Boot: bootThen}}
	text, err := mark.XML()
	must(t, err)
	_, err = h.NetworkDefineXML(`<network><name>labctl.plain.control</name><metadata>` + text + `</metadata><bridge name="lcbother"/></network>`)
	must(t, err)
	if again := prepare(t, h, plainLab); len(again.Tag.Borrowed) > 0 || !again.Tag.Equal(b.Tag) {
		t.Errorf("%+v", again.Tag)
	}
}
