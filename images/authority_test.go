package images

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// storing is the built-in lab, whose node influxdb publishes its https on one address.
func storing(t *testing.T) topology.Lab {
	t.Helper()
	l := builtInLab(t)
	for i := range l.Nodes {
		if l.Nodes[i].Name == "influxdb" {
			l.Nodes[i].Publish = []topology.Publish{{HostAddress: netip.MustParseAddr("192.0.2.5"), HostPort: 8087, Port: 8087, Protocol: "tcp"}}
		}
	}
	return l
}

// A node's certificate is the lab's own authority's, for the names and addresses by which
// it is reached, and for no others.
func TestCertificates(t *testing.T) {
	l := storing(t)
	k := madeKeys(t, l)
	trusted, err := k.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	crt, key := k.certificate("influxdb")
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(name string, by *x509.CertPool) error {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: by})
		return err
	}
	for _, name := range []string{"influxdb", "influxdb.control", "localhost", "10.7.1.43", "127.0.0.1", "192.0.2.5"} {
		if err := verify(name, trusted); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	for _, name := range []string{"tshark", "10.7.1.42", "192.0.2.1", "example.org"} {
		if verify(name, trusted) == nil {
			t.Errorf("it passes for %s", name)
		}
	}
	other := madeKeys(t, l)
	if foreign, err := other.Trusted(); err != nil || verify("influxdb", foreign) == nil {
		t.Errorf("another lab's authority vouches for it: %v", err)
	}
	if pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Error("a node could sign certificates")
	}
	if own, err := x509.ParseCertificate(pair.Certificate[0]); err != nil || own.CheckSignatureFrom(own) == nil {
		t.Error("it is signed by itself")
	}
}

// Where ports are published on all addresses, the certificate is for those that the host has.
func TestNamesOfTheHost(t *testing.T) {
	n := node(t, builtInLab(t), "influxdb")
	names, addresses, err := namesOf(n)
	if err != nil {
		t.Fatal(err)
	}
	if hostname, err := os.Hostname(); err != nil || validHost(hostname) && !strings.Contains(strings.Join(names, " "), hostname) {
		t.Errorf("%s is not among %v: %v", hostname, names, err)
	}
	all, err := hostAddresses(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if !a.IsGlobalUnicast() && !a.IsPrivate() || a.To4() == nil {
			t.Errorf("the host is reached by %s", a)
		}
	}
	if len(addresses) != 2+len(all) {
		t.Errorf("%v are not its own two and the host's %v", addresses, all)
	}
	n.NICs[0].Address6 = netip.MustParsePrefix("fd00:7:1::43/64")
	if six, err := hostAddresses(true); err != nil || len(six) < len(all) {
		t.Errorf("with IPv6 the host has %v, without %v: %v", six, all, err)
	} else if _, addresses, err = namesOf(n); err != nil || len(addresses) != 3+len(six) || !addresses[2].Equal(net.ParseIP("fd00:7:1::43")) {
		t.Errorf("with IPv6 it is for %v: %v", addresses, err)
	}
	n.NICs[0].Address6 = netip.Prefix{}
	n.Publish = nil
	if _, addresses, err = namesOf(n); err != nil || len(addresses) != 2 || !addresses[1].Equal(net.IPv4(10, 7, 1, 43)) {
		t.Errorf("of a node that publishes nothing: %v, %v", addresses, err)
	}
	for name, want := range map[string]bool{"host": true, "host-1.example.org": true, "": false, "a b": false, "a\x00": false, "*": false} {
		if validHost(name) != want {
			t.Errorf("%q is a name: %v", name, !want)
		}
	}
}

// They are made once; the authority's key is nowhere, so where one is missing all are made anew.
func TestCertificatesStay(t *testing.T) {
	k := madeKeys(t, storing(t))
	read := func() map[string][]byte {
		all := map[string][]byte{}
		for _, p := range k.certified() {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if i, err := os.Stat(p); err != nil || i.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %s", p, i.Mode())
			}
			all[p] = text
		}
		return all
	}
	first := read()
	if err := k.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p, text := range read() {
		if !bytes.Equal(text, first[p]) {
			t.Errorf("%s is another now", p)
		}
	}
	keys, err := filepath.Glob(k.Dir + "/*.key")
	if err != nil || len(keys) != 1 {
		t.Errorf("there are the keys %v, want that of the one node: %v", keys, err)
	}
	if err := os.Remove(k.Authority()); err != nil {
		t.Fatal(err)
	}
	if err := k.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p, text := range read() {
		if bytes.Equal(text, first[p]) {
			t.Errorf("%s is as before, and who has signed it is gone", p)
		}
	}
}

// Only a node that stores gets a certificate, and its key for root alone.
func TestGuestFilesHoldTheCertificate(t *testing.T) {
	l := storing(t)
	k := madeKeys(t, l)
	for _, n := range l.Nodes {
		for guest, service := range map[string]string{GuestDebian: "/etc/systemd/system/labctl-influxdb-https.service", GuestAlpine: "/etc/init.d/labctl-influxdb-https"} {
			files, err := GuestFiles(l, n, k, guest)
			if err != nil {
				t.Fatal(err)
			}
			has := map[string]File{}
			for _, f := range files {
				has[f.Path] = f
			}
			_, crt := has[httpsCertificate]
			if _, starts := has[service]; starts != (n.Name == "influxdb") || crt != starts {
				t.Errorf("%s on %s: has a certificate: %v, is started: %v", n.Name, guest, crt, starts)
			}
			if !crt {
				continue
			}
			if _, err := tls.X509KeyPair(has[httpsCertificate].Data, has[httpsKey].Data); err != nil || has[httpsKey].Mode != 0o600 {
				t.Errorf("mode %o, %v", has[httpsKey].Mode, err)
			}
		}
	}
}
