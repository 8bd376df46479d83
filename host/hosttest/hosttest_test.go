package hosttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"libvirt.org/go/libvirt"
)

func TestNewHostsAreEmptyAndApart(t *testing.T) {
	one, two := New(t), New(t)
	if _, err := one.DomainDefineXMLFlags(`<domain type='test'><name>d</name><memory>1024</memory><os><type>hvm</type></os></domain>`, libvirt.DOMAIN_DEFINE_VALIDATE); err != nil {
		t.Fatal(err)
	}
	domains, err := two.ListAllDomains(0)
	if err != nil || len(domains) > 0 {
		t.Errorf("a new host has %d domains, %v; want none", len(domains), err)
	}
	if one.Dir == two.Dir {
		t.Errorf("two hosts share %s", one.Dir)
	}
}

func TestPattern(t *testing.T) {
	for _, test := range []struct{ name, run, want string }{
		{"TestA", "", "^TestA$"},
		{"TestA", "TestA|TestB", "^TestA$"},
		{"TestA", "A/sub", "^TestA$/sub"},
		{"TestA/sub#01", "A/sub", "^TestA$/^sub#01$"},
		{"TestA/s.b", "A", `^TestA$/^s\.b$`},
		{"TestA/sub", "A/sub/x/y", "^TestA$/^sub$/x/y"},
	} {
		if got := pattern(test.name, test.run); got != test.want {
			t.Errorf("pattern(%q, %q) = %s, want %s", test.name, test.run, got, test.want)
		}
	}
}

func TestDiff(t *testing.T) {
	before := Inventory{"same": 2, "went": 1, "fewer": 3}
	after := Inventory{"same": 2, "came": 1, "fewer": 1}
	const want = "+ came\n- fewer\n- fewer\n- went\n"
	if got := Diff(before, after); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := Diff(before, before); got != "" {
		t.Errorf("a difference to itself:\n%s", got)
	}
}

// fatal is a test that only remembers whether it was ended.
type fatal struct {
	testing.TB
	ended bool
}

func (f *fatal) Helper()      {}
func (f *fatal) Fatal(...any) { f.ended = true }

func TestTheMachineItselfIsNotChanged(t *testing.T) {
	for name, ended := range map[string]bool{"": true, "TestX": false} {
		t.Setenv(inside, name)
		f := &fatal{TB: t}
		if requirePrivate(f); f.ended != ended {
			t.Errorf("on the host of test %q: ended %v, want %v", name, f.ended, ended)
		}
	}
}

// A host that dies or hangs under its test has shown nothing.
func TestADeadHostIsTriedAgain(t *testing.T) {
	if os.Getenv(inside) == t.Name() {
		return
	}
	for _, first := range []string{"exit 125", "exec sleep 100000"} {
		// there are more than two, as a busy machine may take longer for one that neither dies nor hangs
		again(t, attempts{6, 10 * time.Second}, "bash", "-c", `[ -e "$0" ] || { touch "$0"; `+first+`; }; exec "$@"`, filepath.Join(t.TempDir(), "first"))
	}
}
