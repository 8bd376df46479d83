package images

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// notBootable is a file that begins as an ISO image does, and has nothing else.
func notBootable(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.iso")
	text := append(make([]byte, 16*2048), "\x01CD001\x01"...)
	if err := os.WriteFile(path, append(text, make([]byte, 4096)...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestISOCheck(t *testing.T) {
	iso := notBootable(t)
	digest, err := sum(t.Context(), iso)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("CD001"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		iso  ISO
		want string // "" for none
	}{
		"fine":               {ISO{Path: iso, Name: "a"}, ""},
		"digest":             {ISO{Path: iso, Name: "a", SHA256: strings.ToUpper(digest.SHA256)}, ""},
		"another digest":     {ISO{Path: iso, Name: "a", SHA256: strings.Repeat("0", 64)}, "its SHA-256 is " + digest.SHA256 + ", --sha256 says 000"},
		"half a digest":      {ISO{Path: iso, Name: "a", SHA256: "0123"}, "is no SHA-256"},
		"short":              {ISO{Path: short, Name: "a"}, "no ISO 9660 image\n  download alpine-virt"},
		"no ISO":             {ISO{Path: "iso_test.go", Name: "a"}, "no ISO 9660 image\n  download alpine-virt"},
		"a folder":           {ISO{Path: ".", Name: "a"}, "is a directory"},
		"a name like a path": {ISO{Path: iso, Name: "../a"}, "is no name"},
		"a release's number": {ISO{Path: iso, Name: "a", Release: "3.22"}, "is no release of Alpine"},
		"edge":               {ISO{Path: iso, Name: "a", Release: "edge"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.iso.check(t.Context())
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := (ISO{Path: "gone.iso", Name: "a"}).check(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestISOScripts looks at what is typed: a shell can read it, a terminal changes
// none of it, and it is no more than a terminal takes while nobody reads.
func TestISOScripts(t *testing.T) {
	s := &isoSystem{mirror: "http://mirror.example/alpine", kept: alpineMirror, own: "v3.22", release: "edge", packages: isoWants}
	for _, b := range isoBoots {
		for _, step := range b.steps {
			script, err := step.script(s)
			if err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(script, "\t\x00\x1b") || len(script) > 4000 {
				t.Errorf("%s: %d bytes: %q", step.what, len(script), script)
			}
			c := exec.Command("sh", "-n")
			c.Stdin = strings.NewReader("(set -e\n" + script + "\n); echo $?\n")
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", step.what, err, out)
			}
		}
	}
}

// TestSetupAnswers sources the answers as setup-alpine does.
func TestSetupAnswers(t *testing.T) {
	s := &isoSystem{mirror: "http://mirror.example/alpine", own: "v3.7"}
	script, err := writeAnswers(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "answers")
	script = strings.ReplaceAll(script, "/root/answers", file)
	out, err := exec.Command("sh", "-c", script+"\n. "+file+`
for o in KEYMAP HOSTNAME DNS TIMEZONE PROXY APKREPOS USER SSHD NTP DISK; do eval "echo $o: \$${o}OPTS"; done
sh -c 'echo $ERASE_DISKS $KERNELOPTS'
echo "$INTERFACESOPTS"`).CombinedOutput()
	want := `KEYMAP: us us
HOSTNAME: -n alpine
DNS: -n 10.0.2.3
TIMEZONE: -z UTC
PROXY: none
APKREPOS: http://mirror.example/alpine/v3.7/main http://mirror.example/alpine/v3.7/community
USER: none
SSHD: -c openssh openssh
NTP: -c none none
DISK: -m sys -s 0 /dev/vda
/dev/vda quiet console=ttyS0,115200
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp

`
	if err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReadRelease(t *testing.T) {
	for said, want := range map[string]string{
		"release: 3.7.0\r\n":                "v3.7",
		"\x1b[6nrelease: 3.22.1\r\n":        "v3.22",
		"release: 3.23.0_alpha20250612\r\n": "edge",
		"release: \r\n":                     "",
		"cat: can't open\r\n":               "",
		"release: 3.22.1; rm -rf /\r\n":     "",
	} {
		s := &isoSystem{tell: func(string) {}}
		err := readRelease(s, said)
		if (err == nil) != (want != "") || s.own != want || s.release != want {
			t.Errorf("%q: %q, %v", said, s.own, err)
		}
	}
	s := &isoSystem{release: "edge", tell: func(string) {}}
	if err := readRelease(s, "release: 3.7.0\r\n"); err != nil || s.own != "v3.7" || s.release != "edge" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestPackagesThatAreNotThere(t *testing.T) {
	var told []string
	s := &isoSystem{release: "v3.22", tell: func(what string) { told = append(told, what) }}
	if err := readAbsent(s, "absent: influxdb\r\n"); err != nil || len(told) != 1 || !strings.Contains(told[0], "Alpine v3.22 has no influxdb") {
		t.Errorf("%q, %v", told, err)
	}
	if got := strings.Join(s.packages, " "); strings.Contains(got, "influxdb") || !strings.Contains(got, "tshark") {
		t.Errorf("installs %s", got)
	}
	err := readAbsent(s, "absent: bash\r\nabsent: socat\r\nabsent: influxdb\r\n")
	if err == nil || !strings.Contains(err.Error(), "no bash, socat for v3.22\n  name another") {
		t.Errorf("got %v", err)
	}
	if err := readLacking(s, "(1/2) Installing go\r\nOK: 12 MiB\r\n"); err != nil {
		t.Errorf("got %v", err)
	}
	err = readLacking(s, "ERROR: go-1: BAD signature\r\nlacks: go\r\n")
	if err == nil || !strings.Contains(err.Error(), "apk has not installed go\n") {
		t.Errorf("got %v", err)
	}
}

func TestMirror(t *testing.T) {
	for where, want := range map[string]mirror{
		"":                                     {URL: alpineMirror, Kept: alpineMirror},
		"https://mirror.example/alpine/":       {URL: "https://mirror.example/alpine", Kept: "https://mirror.example/alpine"},
		"http://127.0.0.1:8080/alpine":         {URL: "http://10.0.2.2:8080/alpine", Kept: alpineMirror},
		"http://localhost/":                    {URL: "http://10.0.2.2", Kept: alpineMirror},
		"ftp://mirror.example/alpine":          {},
		"http://":                              {},
		"http://mirror.example/$(reboot)":      {},
		"http://mirror.example/a\nEND\nreboot": {},
		"./no-such-folder":                     {},
	} {
		m, err := openMirror(t.Context(), where)
		if (err == nil) != (want.URL != "") || m.URL != want.URL || m.Kept != want.Kept {
			t.Errorf("%q: %+v, %v", where, m, err)
		}
		if err == nil {
			_ = m.Close()
		}
	}
}

// TestMirrorFolder serves a folder, nothing beside it, and only so long.
func TestMirrorFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "alpine")
	err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, "index"), []byte("packages"), 0o644),
		os.WriteFile(folder+".secret", nil, 0o644), os.Symlink("../alpine.secret", filepath.Join(folder, "link")))
	if err != nil {
		t.Fatal(err)
	}
	m, err := openMirror(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.Replace(m.URL, slirpHost, "127.0.0.1", 1)
	get := func(path string) string {
		r, err := http.Get(here + path)
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return r.Status + " " + string(text)
	}
	if got := get("/index"); got != "200 OK packages" {
		t.Errorf("got %s", got)
	}
	for _, path := range []string{"/link", "/../alpine.secret"} {
		if got := get(path); strings.HasPrefix(got, "200") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := get("/index"); !strings.Contains(got, "refused") {
		t.Errorf("still served: %s", got)
	}
}
