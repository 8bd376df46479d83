package domains

import (
	"os"
	"strings"
	"testing"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("an old line\n", 1<<20) // 12 MiB
	for name, test := range map[string]struct {
		log  string
		want string
	}{
		"nothing":          {"", ""},
		"few":              {"one\r\ntwo\r\n", "one\ntwo"},
		"escape sequences": {"\x1b[2J\x1b]0;title\x07boot\x9b31m\n", "?[2J?]0;title?boot\ufffd31m"},
		"many":             {long + "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12"},
	} {
		t.Run(name, func(t *testing.T) {
			m := demoMachine(t, "tshark")
			must(t, os.WriteFile(m.Boot.Console, []byte(test.log), 0o600))
			if got := m.LastLines(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	if got := demoMachine(t, "tshark").LastLines(); got != "" {
		t.Errorf("%q of a machine that printed nothing yet", got)
	}
}

func TestTailIsBounded(t *testing.T) {
	m := demoMachine(t, "tshark")
	f, err := os.Create(m.Boot.Console)
	must(t, err)
	must(t, f.Truncate(1<<40)) // a guest that never stops printing
	_, err = f.WriteAt([]byte("the end"), 1<<40-7)
	must(t, err)
	must(t, f.Close())
	if b := tail(m.Boot.Console); len(b) != consoleTail || !strings.HasSuffix(string(b), "the end") {
		t.Errorf("%d bytes", len(b))
	}
}

func TestPanicked(t *testing.T) {
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"boots":    {"Linux version 6\nlogin: ", false},
		"panicked": {"Linux version 6\n[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n", true},
		"long ago": {"Kernel panic - not syncing\n" + strings.Repeat("x", consoleTail), false},
	} {
		m := demoMachine(t, "tshark")
		must(t, os.WriteFile(m.Boot.Console, []byte(test.log), 0o600))
		if got := m.Panicked(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
