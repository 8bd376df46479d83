package images

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// InfluxDB 1.x has one endpoint, which speaks http or https. http is kept, as trafic's
// tools expect it; socat, which is in every image, speaks TLS before it on a port of its own.

//go:embed https.service
var httpsUnit []byte

//go:embed https.initd
var httpsService []byte

const httpsName = "labctl-influxdb-https"

// Where a node has its certificate and the key to it.
const (
	httpsCertificate = "/etc/labctl/https.crt"
	httpsKey         = "/etc/labctl/https.key"
)

// authorityLife is how long certificates are good for: longer than any lab.
const authorityLife = 10 * 365 * 24 * time.Hour

// Authority is the path of the certificate of the lab's own authority, by which those
// that its nodes show are trusted.
func (k Keys) Authority() string { return filepath.Join(k.Dir, "authority.crt") }

// certificate is the paths of a node's certificate and its key.
func (k Keys) certificate(node string) (crt, key string) {
	return filepath.Join(k.Dir, "https-"+node+".crt"), filepath.Join(k.Dir, "https-"+node+".key")
}

// ServesHTTPS says whether a node has a service that is reached by https.
func ServesHTTPS(n topology.Node) bool { return slices.Contains(n.Services, topology.ServiceInfluxDB) }

// certified are the paths of all certificates and of the keys to them.
func (k Keys) certified() []string {
	var paths []string
	for _, n := range k.Lab.Nodes {
		if ServesHTTPS(n) {
			crt, key := k.certificate(n.Name)
			paths = append(paths, crt, key)
		}
	}
	if len(paths) > 0 {
		paths = append(paths, k.Authority())
	}
	return paths
}

// certify makes the certificates, all at once unless all are there: the authority's key
// signs them and is forgotten, so that nobody can have it sign others.
func (k Keys) certify() error {
	paths := k.certified()
	missing := false
	for _, p := range paths {
		_, err := os.Stat(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = missing || err != nil
	}
	if !missing {
		return nil
	}
	authority, key, err := newAuthority(k.Lab.Name)
	if err != nil {
		return err
	}
	for _, n := range k.Lab.Nodes {
		if !ServesHTTPS(n) {
			continue
		}
		names, addresses, err := namesOf(n)
		if err != nil {
			return err
		}
		crt, private, err := sign(authority, key, n.Name, names, addresses)
		if err != nil {
			return err
		}
		at, keyAt := k.certificate(n.Name)
		if err := errors.Join(host.WriteFile(keyAt, private, 0o600), host.WriteFile(at, crt, 0o600)); err != nil {
			return err
		}
	}
	return host.WriteFile(k.Authority(), encode("CERTIFICATE", authority.Raw), 0o600)
}

// newAuthority is a certificate that may sign those of nodes, and its key.
func newAuthority(lab string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := template("labctl lab " + lab)
	c.IsCA, c.BasicConstraintsValid, c.MaxPathLenZero = true, true, true
	c.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	c, err = x509.ParseCertificate(der)
	return c, key, err
}

// sign makes a node's certificate and its key, both as PEM.
func sign(authority *x509.Certificate, by *ecdsa.PrivateKey, node string, names []string, addresses []net.IP) (crt, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := template(node)
	c.DNSNames, c.IPAddresses = names, addresses
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, c, authority, private.Public(), by)
	if err != nil {
		return nil, nil, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", text), err
}

// template is what certificates of both kinds have; it is good for a day before now,
// since clocks differ.
func template(name string) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(authorityLife),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// namesOf are what a node is called by those who reach it: its own names and addresses,
// and where it publishes ports, those of the host.
func namesOf(n topology.Node) (names []string, addresses []net.IP, err error) {
	names, addresses = []string{n.Name, "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, c := range n.NICs {
		for i, a := range c.Addresses() {
			if i == 0 {
				names = append(names, n.Name+"."+c.Network)
			}
			addresses = append(addresses, net.IP(a.Addr().AsSlice()))
		}
	}
	if len(n.Publish) == 0 {
		return names, addresses, nil
	}
	if hostname, err := os.Hostname(); err == nil && validHost(hostname) {
		names = append(names, hostname)
	}
	for _, p := range n.Publish {
		if p.HostAddress.IsValid() {
			addresses = append(addresses, net.IP(p.HostAddress.AsSlice()))
		}
	}
	if slices.ContainsFunc(n.Publish, func(p topology.Publish) bool { return !p.HostAddress.IsValid() }) {
		all, err := hostAddresses(slices.ContainsFunc(n.NICs, func(c topology.NIC) bool { return c.Address6.IsValid() }))
		if err != nil {
			return nil, nil, err
		}
		addresses = append(addresses, all...)
	}
	return names, addresses, nil
}

// validHost says whether a name of the host may stand in a certificate.
func validHost(name string) bool {
	return name != "" && len(name) <= 253 && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// labBridges is how the names of labs' bridges begin: see topology.LinkName.
const labBridges = "lcb"

// hostAddresses are the host's addresses by which it is reached, of IPv6 too if these
// lead to the node, bridges of labs aside.
func hostAddresses(six bool) ([]net.IP, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []net.IP
	for _, l := range links {
		if strings.HasPrefix(l.Name, labBridges) || l.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			prefix, ok := a.(*net.IPNet)
			if !ok || prefix.IP.IsLinkLocalUnicast() {
				continue
			}
			if four := prefix.IP.To4(); four != nil {
				all = append(all, four)
			} else if six {
				all = append(all, prefix.IP)
			}
		}
	}
	return all, nil
}

// Trusted are the authorities that a node's https is trusted by: the lab's own alone.
func (k Keys) Trusted() (*x509.CertPool, error) {
	text, err := os.ReadFile(k.Authority())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", k.Authority())
	}
	return pool, nil
}

// httpsFiles start what speaks https before a node's services; its key comes with GuestFiles.
func httpsFiles(n topology.Node, guest string) []File {
	if !ServesHTTPS(n) {
		return nil
	}
	var files []File
	if guest != GuestDebian {
		const script = "/etc/init.d/" + httpsName
		files = append(files, File{Path: script, Mode: 0o755, Data: httpsService}, File{Path: "/etc/runlevels/default/" + httpsName, Link: script})
	}
	if guest != GuestAlpine {
		const units, unit = "/etc/systemd/system/", httpsName + ".service"
		files = append(files, File{Path: units + unit, Mode: 0o644, Data: httpsUnit}, File{Path: units + "multi-user.target.wants/" + unit, Link: units + unit})
	}
	return files
}
