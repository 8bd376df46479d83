package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// files are those that make a base image into the node, whichever way they reach it.
func (b Build) files(n topology.Node) func() ([]images.File, error) { return b.filesWith(b.keys(), n) }

func (b Build) filesWith(keys images.Keys, n topology.Node) func() ([]images.File, error) {
	base := b.Bases[n.Name]
	return func() ([]images.File, error) {
		files, err := images.GuestFiles(b.Lab, n, keys, base.Guest)
		if err != nil || base.System != "" { // a recipe's base has the rest already
			return files, err
		}
		lacking, err := images.ReadyFiles(base.Guest)
		return append(lacking, files...), err
	}
}

// seeds are what cloud-init reads in the nodes that it configures.
func (b Build) seeds() []images.Seed {
	var seeds []images.Seed
	for _, n := range b.Lab.Nodes {
		if s := b.seed(n); b.seeded(n) {
			seeds = append(seeds, s)
		}
	}
	return seeds
}

func (b Build) seed(n topology.Node) images.Seed {
	return images.Seed{Node: n, Path: b.dir(n.Name + ".iso"), Files: b.files(n), Resolvers: resolvers}
}

// seeded says whether a node is configured by a seed: its base says so, and where
// that is not known, the lab's file, or that there is something of one.
func (b Build) seeded(n topology.Node) bool {
	if base, ok := b.Bases[n.Name]; ok {
		return base.Configure == images.ConfigureSeed
	}
	if own, ok := b.Lab.OwnImage(n.Image); ok && own.Guest == topology.GuestCloudInit {
		return true
	}
	s, err := b.seed(n).State(context.Background())
	return s != host.Absent || err != nil
}

// guest is what the node's base says that it is; "" where neither that nor a disk is there.
func (b Build) guest(n topology.Node) string {
	base, ok := b.Bases[n.Name]
	if !ok {
		base, _ = images.BaseOf(b.diskPath(n))
	}
	return base.Guest
}

// deliver is what the guest agent brings into a node; nil where its base is
// configured otherwise.
func (b Build) deliver(n topology.Node) func() (domains.Delivery, error) {
	if b.Bases[n.Name].Configure != images.ConfigureAgent {
		return nil
	}
	return func() (domains.Delivery, error) {
		files, err := b.files(n)()
		if err != nil {
			return domains.Delivery{}, err
		}
		d := domains.Delivery{Apply: images.ApplyScript, Arguments: images.ApplyArguments(files)}
		for _, f := range files {
			d.Files = append(d.Files, domains.File(f))
		}
		return d, nil
	}
}

// programs are those that an image must have which no recipe made.
func (b Build) programs(n topology.Node) []string {
	base, ok := b.Bases[n.Name]
	if !ok || base.System != "" {
		return nil
	}
	programs := []string{"bash", "ip", "tar"}
	if base.Guest == images.GuestDebian {
		programs = append(programs, "systemctl")
	}
	if slices.ContainsFunc(n.NICs, func(c topology.NIC) bool { return !c.Offloads }) {
		programs = append(programs, "ethtool")
	}
	sends, sees := partIn(flowsOf(b.Lab), n)
	if sends || images.ServesHTTPS(n) {
		programs = append(programs, "socat")
	}
	if sees {
		programs = append(programs, "dumpcap")
	}
	return programs
}

// partIn says whether a node has a part in the proof of the flows.
func partIn(flows []flow, n topology.Node) (sends, sees bool) {
	for _, f := range flows {
		sends = sends || f.from.Name == n.Name
		sees = sees || slices.ContainsFunc(n.NICs, func(c topology.NIC) bool {
			at := cmp.Or(c.Mirror, n.Name)
			return c.Network == f.network.Name && (f.from.Name == at || f.to.Name == at)
		})
	}
	return sends, sees
}

// Where the host's name servers stand; systemd-resolved keeps its own in the first.
var resolvConfs = []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"}

// resolvers are the host's name servers that a node behind it can ask.
func resolvers() []netip.Addr {
	for _, path := range resolvConfs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if found := nameservers(text); len(found) > 0 {
			return found
		}
	}
	return nil
}

// nameservers are those of a resolv.conf that are of IPv4 and not the host itself.
func nameservers(text []byte) []netip.Addr {
	var found []netip.Addr
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && a.Is4() && !a.IsLoopback() {
			found = append(found, a)
		}
	}
	return found
}

// trust are the authorities by which the node's https is trusted; nil where it serves none.
func (b Build) trust(n topology.Node) func() (*x509.CertPool, error) {
	if !images.ServesHTTPS(n) {
		return nil
	}
	return b.keys().Trusted
}

// Authority is the path of the certificate by which the https of the lab's nodes is
// trusted; "" where none serves it.
func (b Build) Authority() string {
	if !slices.ContainsFunc(b.Lab.Nodes, images.ServesHTTPS) {
		return ""
	}
	return b.keys().Authority()
}
