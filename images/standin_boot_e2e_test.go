//go:build e2e

package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fromDebian makes packages of Debian's, so that a node boots: OpenRC, busybox's
// init and the programs are real, musl and Alpine's own are not there.
func (s standIn) fromDebian(t testing.TB) {
	t.Helper()
	out, err := exec.Command("testdata/alpine-stand-in/fetch").Output()
	if err != nil {
		t.Fatal(err)
	}
	debs, err := filepath.Glob(strings.TrimSpace(string(out)) + "/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	packages := []apkFile{alpineBase}
	for _, deb := range debs {
		name, rest, _ := strings.Cut(filepath.Base(deb), "_")
		version, _, _ := strings.Cut(rest, "_")
		p := apkFile{name: name, version: strings.NewReplacer("%3a", ".", "~", "_", "+", "_").Replace(version), files: debFiles(deb)}
		switch {
		case name == "busybox-static":
			p.provides = []string{"busybox"}
			p.script = "#!/bin/busybox.static sh\nexec /bin/busybox.static --install -s\n"
		case strings.HasPrefix(name, "linux-image-") && strings.Contains(name, "-cloud-") && strings.Contains(name, "."):
			release := strings.TrimPrefix(name, "linux-image-")
			p.provides = []string{"linux-virt"}
			p.script = "#!/bin/sh\nexec depmod " + release + "\n"
		}
		alpineBase.needs = append(alpineBase.needs, name)
		packages = append(packages, p)
	}
	packages[0].needs = alpineBase.needs // all of them: which library is whose, Debian knows
	s.repository(t, "v0/main", packages...)
}

// alpineBase is what Alpine's packages of other names bring.
var alpineBase = apkFile{
	name: "alpine-baselayout", version: "0-r0",
	provides: []string{"alpine-keys", "alpine-release", "apk-tools", "iputils", "procps-ng"},
	files: func(w *tar.Writer) error {
		return text(map[string]string{
			"etc/passwd": "root:x:0:0:root:/root:/bin/ash\nsshd:x:22:22::/run/sshd:/bin/false\ninfluxdb:x:100:101::/var/lib/influxdb:/bin/false\n" +
				"_chrony:x:123:123::/var/lib/chrony:/bin/false\n",
			"etc/group":           "root:x:0:\ntty:x:5:\nuucp:x:14:\nsshd:x:22:\ninfluxdb:x:101:\n_chrony:x:123:\n",
			"etc/shadow":          "root:::0:::::\n",
			"etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
			"etc/conf.d/sshd":     "start_pre() { mkdir -p /run/sshd; } # Debian's sshd wants it\n",
			// Debian's openrc asks PAM, which Alpine does not have
			"etc/pam.d/common-auth":     "auth required pam_permit.so\n",
			"etc/pam.d/common-account":  "account required pam_permit.so\n",
			"etc/pam.d/common-password": "password required pam_permit.so\n",
			"etc/pam.d/common-session":  "session required pam_permit.so\n",
			// Alpine's openrc brings them
			"etc/init.d/killprocs": "#!/sbin/openrc-run\nstart() { killall5 -15; sleep 1; killall5 -9; return 0; }\n",
			"etc/init.d/mount-ro":  "#!/sbin/openrc-run\ndepend() { after killprocs; }\nstart() { mount -o remount,ro /; }\n",
			"bin/sh":               "-> bash", // Debian's busybox prefers its own ip to iproute2's
			"root/":                "", "run/": "", "proc/": "", "sys/": "", "tmp/": "", "dev/": "", "var/log/": "", "var/lib/chrony/": "",
		})(w)
	},
}

// debFiles are the files of a Debian package that a node needs, with busybox where Alpine has it.
func debFiles(deb string) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		archive, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb).Output()
		if err != nil {
			return err
		}
		r := tar.NewReader(bytes.NewReader(archive))
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			h.Name = strings.TrimPrefix(h.Name, "./")
			if h.Name == "" || unwantedFile(deb, h.Name) {
				continue
			}
			if h.Name == "bin/busybox" {
				h.Name = "bin/busybox.static"
			}
			h.Linkname = strings.TrimPrefix(h.Linkname, "./")
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.Copy(w, r); err != nil {
				return err
			}
		}
	}
}

func unwantedFile(deb, name string) bool {
	for _, dir := range []string{"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "lib/systemd/", "etc/rc"} {
		if strings.HasPrefix(name, dir) && name != "etc/rc.conf" {
			return true
		}
	}
	// sysvinit's scripts are not Alpine's
	return strings.HasPrefix(name, "etc/init.d/") && !strings.HasPrefix(filepath.Base(deb), "openrc_")
}

// standInBase builds the shipped recipe from the stand-in, but for Go and what goes with it.
func standInBase(t testing.TB) Base {
	t.Helper()
	s := newStandIn(t)
	s.fromDebian(t)
	r := builtIn(t, "alpine")
	r.Name, r.Repositories, r.Extra = "alpine-stand-in", []string{"v0/main"}, nil
	r.Packages = slices.DeleteFunc(r.Packages, func(p string) bool { return slices.Contains([]string{"git", "go", "musl-dev", "make"}, p) })
	for i, p := range r.Packages {
		r.Packages[i], _, _ = strings.Cut(p, "@")
	}
	r.Minirootfs = s.minirootfs(t)
	r.trusted = map[string][]byte{keyName: []byte(s.publicKey(t))}
	b, err := Build(t.Context(), t.TempDir(), r, Options{Mirror: s.dir}, func(what string) { t.Log(what) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packages, %d MiB, Linux %s", len(slices.Collect(maps.Keys(b.Packages))), b.Bytes()>>20, b.Kernel)
	return b
}
