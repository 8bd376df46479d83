// Stands in for Alpine's apk in tests: what labctl asks of it, in apk's manner.
// It checks signatures, and it goes on after a package that it cannot install.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

var (
	target, keys, arch string
	tags               = map[string]string{} // of repositories, by their places
	order              []string              // the repositories
)

// pkg is what an index says of a package.
type pkg struct {
	from    string // its repository
	text    string // its stanza
	fields  map[string]string
	visited bool
}

func main() {
	wanted := options(os.Args[1:])
	failed := 0
	complain := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "ERROR: "+format+"\n", args...)
		failed++
	}
	for _, dir := range []string{"etc/apk", "lib/apk/db", "tmp", "proc", "dev"} {
		must(os.MkdirAll(filepath.Join(target, dir), 0o755))
	}
	var all []*pkg
	for _, repository := range order {
		ps, err := index(repository)
		if err != nil {
			fmt.Fprintf(os.Stderr, "WARNING: opening %s: %v\n", repository, err)
			continue
		}
		all = append(all, ps...)
	}
	var plan []*pkg
	var visit func(dependency, by string)
	visit = func(dependency, by string) {
		p := find(all, dependency)
		if p == nil {
			complain("unable to select packages:\n  %s (no such package):\n    required by: %s[%s]", dependency, by, dependency)
			return
		}
		if p.visited {
			return
		}
		p.visited = true
		for _, d := range strings.Fields(p.fields["D"]) {
			visit(d, p.fields["P"])
		}
		plan = append(plan, p)
	}
	for _, w := range wanted {
		visit(w, "world")
	}
	if failed > 0 {
		os.Exit(failed)
	}
	var db strings.Builder
	var scripts []func() error
	for i, p := range plan {
		name := p.fields["P"] + "-" + p.fields["V"]
		fmt.Printf("(%d/%d) Installing %s\n", i+1, len(plan), name)
		script, err := p.install(name)
		if err != nil {
			complain("%s: %v", name, err)
			continue
		}
		db.WriteString(p.text + "\n\n")
		if script != nil {
			scripts = append(scripts, func() error { return run(script, name) })
		}
	}
	must(os.WriteFile(filepath.Join(target, "lib/apk/db/installed"), []byte(db.String()), 0o644))
	for _, s := range scripts {
		if err := s(); err != nil {
			complain("%v", err)
		}
	}
	os.Exit(failed)
}

// options reads the command line and the list of repositories.
func options(args []string) (wanted []string) {
	list := ""
	values := map[string]*string{"--root": &target, "--keys-dir": &keys, "--repositories-file": &list, "--arch": &arch}
	for ; len(args) > 0 && args[0] != "add"; args = args[1:] {
		if to := values[args[0]]; to != nil {
			*to, args = args[1], args[1:]
		} else if !slices.Contains([]string{"--initdb", "--no-cache", "--no-progress"}, args[0]) {
			must(fmt.Errorf("unrecognized option: %s", args[0]))
		}
	}
	text, err := os.ReadFile(list)
	must(err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		tag := ""
		if len(f) == 2 {
			tag, f = f[0], f[1:]
		}
		tags[f[0]] = tag
		order = append(order, f[0])
	}
	return args[1:]
}

// get reads a file of a repository.
func get(repository, file string) ([]byte, error) {
	at := repository + "/" + arch + "/" + file
	if !strings.Contains(at, "://") {
		return os.ReadFile(at)
	}
	answer, err := http.Get(at)
	if err != nil {
		return nil, errors.New("could not connect to server")
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// index reads a repository's index.
func index(repository string) ([]*pkg, error) {
	text, err := get(repository, "APKINDEX.tar.gz")
	if err != nil {
		return nil, err
	}
	signature, rest, err := member(text)
	if err != nil {
		return nil, err
	}
	if err := verify(signature, rest); err != nil {
		return nil, err
	}
	content, _, err := member(rest)
	if err != nil {
		return nil, err
	}
	list, err := file(content, "APKINDEX")
	if err != nil {
		return nil, err
	}
	var ps []*pkg
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(list)), "\n\n") {
		p := &pkg{from: repository, text: stanza, fields: map[string]string{}}
		for line := range strings.Lines(stanza) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			p.fields[k] = v
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// find is the package that a dependency names, or that provides it: NAME[@TAG][=VERSION].
func find(all []*pkg, dependency string) *pkg {
	dependency, version, _ := strings.Cut(dependency, "=")
	name, tag, _ := strings.Cut(dependency, "@")
	if tag != "" {
		tag = "@" + tag
	}
	for _, p := range all {
		provides := slices.ContainsFunc(strings.Fields(p.fields["p"]), func(p string) bool { return p == name || strings.HasPrefix(p, name+"=") })
		if (p.fields["P"] == name || provides) && (version == "" || version == p.fields["V"]) && (tags[p.from] == tag || tags[p.from] == "") {
			return p
		}
	}
	return nil
}

// install checks and unpacks the package, and returns its script.
func (p *pkg) install(name string) (script []byte, err error) {
	text, err := get(p.from, name+".apk")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("package mentioned in index not found (try 'apk update')")
	}
	if err != nil {
		return nil, errors.New("network error (check Internet connection and firewall)")
	}
	signature, rest, err := member(text)
	if err != nil {
		return nil, errors.New("IO ERROR")
	}
	control, data, err := member(rest)
	if err != nil {
		return nil, errors.New("IO ERROR")
	}
	segment := rest[:len(rest)-len(data)]
	id := sha1.Sum(segment)
	if p.fields["C"] != "Q1"+base64.StdEncoding.EncodeToString(id[:]) || verify(signature, segment) != nil {
		return nil, errors.New("BAD signature")
	}
	info, err := file(control, ".PKGINFO")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(info), fmt.Sprintf("datahash = %x\n", sha256.Sum256(data))) {
		return nil, errors.New("BAD archive")
	}
	files, _, err := member(data)
	if err != nil {
		return nil, errors.New("IO ERROR")
	}
	script, _ = file(control, ".post-install") // most have none
	return script, unpack(files)
}

// member unpacks the first of several gzip members, and returns what follows it.
func member(text []byte) (content, rest []byte, err error) {
	r := bufio.NewReader(bytes.NewReader(text))
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	z.Multistream(false)
	if content, err = io.ReadAll(z); err != nil {
		return nil, nil, err
	}
	rest, err = io.ReadAll(r)
	return content, rest, err
}

// file is a file in an archive.
func file(archive []byte, name string) ([]byte, error) {
	t := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := t.Next()
		if err != nil {
			return nil, err
		}
		if h.Name == name {
			return io.ReadAll(t)
		}
	}
}

// verify checks a signature of what it signs by the key that it names.
func verify(signature, signed []byte) error {
	t := tar.NewReader(bytes.NewReader(signature))
	h, err := t.Next()
	if err != nil {
		return err
	}
	bad := errors.New("UNTRUSTED signature")
	name, ok := strings.CutPrefix(h.Name, ".SIGN.RSA.")
	if !ok {
		return bad
	}
	text, err := os.ReadFile(filepath.Join(keys, filepath.Base(name)))
	if err != nil {
		return bad
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	proof, err := io.ReadAll(t)
	if err != nil {
		return err
	}
	digest := sha1.Sum(signed)
	if rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA1, digest[:], proof) != nil {
		return errors.New("BAD signature")
	}
	return nil
}

func unpack(archive []byte) error {
	t := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at := filepath.Join(target, h.Name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(at, 0o755)
		case tar.TypeSymlink:
			_ = os.Remove(at)
			err = os.Symlink(h.Linkname, at)
		case tar.TypeLink:
			_ = os.Remove(at)
			err = os.Link(filepath.Join(target, h.Linkname), at)
		default:
			_ = os.Remove(at)
			var f *os.File
			if f, err = os.Create(at); err == nil {
				_, err = io.Copy(f, t)
				err = errors.Join(err, f.Close())
			}
		}
		if err == nil && h.Typeflag != tar.TypeSymlink && h.Typeflag != tar.TypeLink {
			err = errors.Join(os.Lchown(at, h.Uid, h.Gid), os.Chmod(at, h.FileInfo().Mode()))
		}
		if err != nil {
			return err
		}
	}
}

// run runs a package's script in the target.
func run(script []byte, name string) error {
	at := filepath.Join(target, "lib/apk", name)
	must(os.WriteFile(at, script, 0o755))
	defer os.Remove(at)
	c := exec.Command("/lib/apk/" + name)
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: target}
	c.Dir = "/"
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s.post-install: script exited with error: %w", name, err)
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR: %v\n", err)
		os.Exit(99)
	}
}
