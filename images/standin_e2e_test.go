//go:build e2e

package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// keyName is the name of the stand-in repository's key.
const keyName = "stand-in.rsa.pub"

// standIn makes what tests have in Alpine's place: packages that a key of its own
// has signed, in Alpine's format, and a minirootfs whose apk is testdata's.
type standIn struct {
	dir string // a mirror
	key *rsa.PrivateKey
}

func newStandIn(t testing.TB) standIn {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return standIn{t.TempDir(), key}
}

// apkFile is a package.
type apkFile struct {
	name, version string
	needs         []string
	provides      []string
	files         func(*tar.Writer) error
	script        string // .post-install; "" for none
}

// text are files of root's for a package: by path, folders where they end in /.
func text(files map[string]string) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		for path, content := range files {
			h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}
			if strings.HasSuffix(path, "/") {
				h.Typeflag, h.Mode = tar.TypeDir, 0o755
			}
			if target, ok := strings.CutPrefix(content, "-> "); ok {
				h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
			}
			if strings.HasPrefix(content, "#!") {
				h.Mode = 0o755
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.WriteString(w, content); err != nil {
				return err
			}
		}
		return nil
	}
}

// segment is one gzip member of Alpine's format; only the last one's archive has an end.
func segment(t testing.TB, last bool, files func(*tar.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	w := tar.NewWriter(z)
	err := files(w)
	if err == nil && last {
		err = w.Close()
	} else if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// summed gives each file its checksum, as apk wants it in a package's data.
func summed(files func(*tar.Writer) error) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		var b bytes.Buffer
		if err := files(tar.NewWriter(&b)); err != nil {
			return err
		}
		for r := tar.NewReader(&b); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // it has no end
				return nil
			}
			if err != nil {
				return err
			}
			content, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			sum := sha1.Sum(content)
			if h.Typeflag == tar.TypeSymlink {
				sum = sha1.Sum([]byte(h.Linkname))
			}
			if h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeLink {
				h.PAXRecords, h.Format = map[string]string{"APK-TOOLS.checksum.SHA1": hex.EncodeToString(sum[:])}, tar.FormatPAX
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := w.Write(content); err != nil {
				return err
			}
		}
	}
}

// signed is a segment after its signature.
func (s standIn) signed(t testing.TB, content []byte) []byte {
	t.Helper()
	digest := sha1.Sum(content)
	proof, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA1, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(segment(t, false, text(map[string]string{".SIGN.RSA." + keyName: string(proof)})), content...)
}

// repository makes a repository of the packages in the mirror.
func (s standIn) repository(t testing.TB, name string, packages ...apkFile) {
	t.Helper()
	dir := filepath.Join(s.dir, name, "x86_64")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var index strings.Builder
	for _, p := range packages {
		data := segment(t, true, summed(p.files))
		info := fmt.Sprintf("pkgname = %s\npkgver = %s\narch = x86_64\nsize = 1\n", p.name, p.version)
		for _, d := range p.needs {
			info += "depend = " + d + "\n"
		}
		for _, d := range p.provides {
			info += "provides = " + d + "\n"
		}
		info += fmt.Sprintf("datahash = %x\n", sha256.Sum256(data))
		control := segment(t, false, func(w *tar.Writer) error {
			if err := text(map[string]string{".PKGINFO": info})(w); err != nil || p.script == "" {
				return err
			}
			return text(map[string]string{".post-install": p.script})(w)
		})
		whole := append(s.signed(t, control), data...)
		if err := os.WriteFile(filepath.Join(dir, p.name+"-"+p.version+".apk"), whole, 0o644); err != nil {
			t.Fatal(err)
		}
		id := sha1.Sum(control)
		fmt.Fprintf(&index, "C:Q1%s\nP:%s\nV:%s\nA:x86_64\nS:%d\nI:4096\nT:a stand-in\nU:x\nL:x\n", base64.StdEncoding.EncodeToString(id[:]), p.name, p.version, len(whole))
		if p.needs != nil {
			fmt.Fprintf(&index, "D:%s\n", strings.Join(p.needs, " "))
		}
		if p.provides != nil {
			fmt.Fprintf(&index, "p:%s\n", strings.Join(p.provides, " "))
		}
		index.WriteString("\n")
	}
	list := segment(t, true, text(map[string]string{"DESCRIPTION": "stand-in", "APKINDEX": index.String()}))
	if err := os.WriteFile(filepath.Join(dir, "APKINDEX.tar.gz"), s.signed(t, list), 0o644); err != nil {
		t.Fatal(err)
	}
}

// publicKey is the key's file, as apk reads it.
func (s standIn) publicKey(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// standInMinirootfs holds testdata's apk, a static program, and nothing else.
var standInMinirootfs = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "apk-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/sbin/apk", "./testdata/alpine-stand-in/apk")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return exec.Command("tar", "--create", "--gzip", "--directory", dir, "sbin").Output()
})

// minirootfs puts the stand-in's minirootfs into the mirror. Who has a real one
// names it in LABCTL_TEST_MINIROOTFS: its apk is run.
func (s standIn) minirootfs(t testing.TB) Minirootfs {
	t.Helper()
	archive, err := standInMinirootfs()
	if path := os.Getenv("LABCTL_TEST_MINIROOTFS"); path != "" {
		archive, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := Minirootfs{From: "minirootfs.tar.gz", SHA256: fmt.Sprintf("%x", sha256.Sum256(archive))}
	if err := os.WriteFile(filepath.Join(s.dir, m.From), archive, 0o644); err != nil {
		t.Fatal(err)
	}
	return m
}

// recipe is one of the stand-in's packages.
func (s standIn) recipe(t testing.TB, packages ...string) Recipe {
	t.Helper()
	r := Recipe{Name: "stand-in", System: GuestAlpine, Release: "v0", Packages: packages}
	r.Minirootfs = s.minirootfs(t)
	r.trusted = map[string][]byte{keyName: []byte(s.publicKey(t))}
	return r
}
