package images

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/mami-project/labctl/host"
)

// A lab's keys outlive it where its ready state is kept: they are in the memory of its nodes.

// take copies from the keys of before those that the lab is to have and that are not
// there, certificates only where they are all for the names and addresses of now.
func (k Keys) take() error {
	if k.From == "" {
		return nil
	}
	before := Keys{Dir: k.From, Lab: k.Lab}
	if err := k.takeFrom(k.private()); err != nil || !before.certificatesFit() {
		return err
	}
	return k.takeFrom(k.certified())
}

func (k Keys) takeFrom(paths []string) error {
	for _, p := range paths {
		_, err := os.Stat(p)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		text, err := os.ReadFile(filepath.Join(k.From, filepath.Base(p)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := host.WriteFile(p, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certificatesFit says whether each node's certificate is there and for its names and addresses.
func (k Keys) certificatesFit() bool {
	for _, n := range k.Lab.Nodes {
		if !ServesHTTPS(n) {
			continue
		}
		path, _ := k.certificate(n.Name)
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return false
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return false
		}
		names, addresses, err := namesOf(n)
		if err != nil || !slices.Equal(c.DNSNames, names) || !slices.EqualFunc(c.IPAddresses, addresses, net.IP.Equal) {
			return false
		}
	}
	return true
}

// KeepIn copies the keys into a folder, where they outlive the lab.
func (k Keys) KeepIn(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range slices.Concat(k.private(), k.certified(), []string{k.KnownHosts()}) {
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.Base(p))
		if was, err := os.ReadFile(to); err == nil && bytes.Equal(was, text) {
			continue
		}
		if err := host.WriteFile(to, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
