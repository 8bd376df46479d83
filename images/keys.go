package images

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Keys are a lab's keys, files in Dir that only root reads: for ssh the lab's own,
// which logs into every node, a host key a node, and a key for each node that
// logs into others; for https a certificate and its key for each node that serves
// it. They are made once and stay for the lab's life.
type Keys struct {
	Dir  string
	Lab  topology.Lab
	From string // a folder with keys of the lab of before, which Create takes as far as they fit; "": none
}

const knownHostsFile = "known_hosts"

func (k Keys) String() string { return "keys/" + k.Lab.Name }

// Identity is the path of the private key that logs into every node as root.
func (k Keys) Identity() string { return filepath.Join(k.Dir, "id_ed25519") }

// KnownHosts is the path of the nodes' public host keys, by name and by address.
func (k Keys) KnownHosts() string { return filepath.Join(k.Dir, knownHostsFile) }

func (k Keys) hostKey(node string) string { return filepath.Join(k.Dir, "host-"+node) }
func (k Keys) nodeKey(node string) string { return filepath.Join(k.Dir, "node-"+node) }

// private are the paths of all private keys.
func (k Keys) private() []string {
	paths := []string{k.Identity()}
	for _, n := range k.Lab.Nodes {
		paths = append(paths, k.hostKey(n.Name))
		if len(n.Reaches) > 0 {
			paths = append(paths, k.nodeKey(n.Name))
		}
	}
	return paths
}

// State is Present where every key is there.
func (k Keys) State(context.Context) (host.State, error) {
	if _, err := os.Stat(k.Dir); errors.Is(err, fs.ErrNotExist) {
		return host.Absent, nil
	}
	for _, p := range slices.Concat(k.private(), k.certified(), []string{k.KnownHosts()}) {
		_, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return host.Partial, nil
		}
		if err != nil {
			return host.Partial, err
		}
	}
	return host.Present, nil
}

// Create makes the keys that are not there.
func (k Keys) Create(context.Context) error {
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return err
	}
	if err := k.take(); err != nil {
		return err
	}
	for _, p := range k.private() {
		if err := makeKey(p, "labctl."+k.Lab.Name+"."+filepath.Base(p)); err != nil {
			return err
		}
	}
	if err := k.certify(); err != nil {
		return err
	}
	known, err := k.knownHosts(func(topology.Node) bool { return true })
	if err != nil {
		return err
	}
	return host.WriteFile(k.KnownHosts(), known, 0o600)
}

// Destroy removes the keys and their folder.
func (k Keys) Destroy(context.Context) error { return os.RemoveAll(k.Dir) }

// knownHosts are lines for OpenSSH's known_hosts: the nodes which, by each name that
// topology.Lab.Hosts gives them and by address.
func (k Keys) knownHosts(which func(topology.Node) bool) ([]byte, error) {
	var b bytes.Buffer
	for _, n := range k.Lab.Nodes {
		if !which(n) {
			continue
		}
		key, err := publicKey(k.hostKey(n.Name))
		if err != nil {
			return nil, err
		}
		names := []string{n.Name}
		for _, e := range k.Lab.Hosts(n) {
			if strings.HasPrefix(e.Names[0], n.Name+".") {
				if e.Address.Is4() { // IPv6 has the same names
					names = append(names, e.Names...)
				}
				names = append(names, e.Address.String())
			}
		}
		fmt.Fprintf(&b, "%s %s", strings.Join(names, ","), ssh.MarshalAuthorizedKey(key))
	}
	return b.Bytes(), nil
}

// authorized are lines for OpenSSH's authorized_keys on a node: the lab's own
// key and those of the nodes that log into it.
func (k Keys) authorized(n topology.Node) ([]byte, error) {
	paths := []string{k.Identity()}
	for _, from := range k.Lab.Nodes {
		if slices.Contains(from.Reaches, n.Name) {
			paths = append(paths, k.nodeKey(from.Name))
		}
	}
	var b bytes.Buffer
	for _, p := range paths {
		key, err := publicKey(p)
		if err != nil {
			return nil, err
		}
		b.Write(ssh.MarshalAuthorizedKey(key))
	}
	return b.Bytes(), nil
}

// makeKey writes a new private key in OpenSSH's format, unless there is one.
func makeKey(path, comment string) error {
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return err
	}
	return host.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// publicKey is the public part of the private key in a file.
func publicKey(path string) (ssh.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s.PublicKey(), nil
}

// remove removes a file; none there is fine.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
