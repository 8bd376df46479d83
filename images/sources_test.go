package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostTree is a host's root folder with the files given.
func hostTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for p, text := range files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const bookworm = "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n"

func TestHostSources(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"deb822, with another's packages, sources and what is off": {
			map[string]string{
				"etc/os-release": bookworm,
				"etc/apt/sources.list.d/debian.sources": `# the mirror
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
 bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
`,
				"etc/apt/sources.list.d/other.sources": "Types: deb\nURIs: http://other.example\nSuites: stable\nComponents: main\n",
			},
			`Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

`,
		},
		"one line each": {
			map[string]string{
				"etc/os-release": bookworm,
				"etc/apt/sources.list": `deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main # comment
# deb http://off.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb http://contrib.example/debian bookworm contrib
`,
				"etc/apt/sources.list.d/more.list": "deb http://mirror.example/debian bookworm-updates main\n",
			},
			`Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
Signed-By: /k.gpg

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-updates
Components: main

`,
		},
		"another release of Debian": {
			map[string]string{
				"etc/os-release":       "ID=debian\nVERSION_CODENAME=trixie\n",
				"etc/apt/sources.list": "deb http://mirror.example/debian trixie main\ndeb http://mirror.example/debian-security trixie-security main\n",
			},
			"Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n\n" +
				"Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n",
		},
		"another distribution": {
			map[string]string{
				"etc/os-release":       "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n",
				"etc/apt/sources.list": "deb http://mirror.example/ubuntu noble main\n",
			},
			"",
		},
		"nothing": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, hostSources(hostTree(t, c.files), "bookworm")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeepOptions(t *testing.T) {
	got := keepOptions(`Acquire "";
Acquire::Check-Valid-Until "false";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::http::Timeout "9";
Acquire::Retries "3";
Acquire::Languages "none";
`)
	want := `Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::Retries "3";
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
