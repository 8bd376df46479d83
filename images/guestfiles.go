package images

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/mami-project/labctl/topology"
)

// File is a file of root's on a node's disk: a regular one, or a symbolic link
// to something that the image must have.
type File struct {
	Path string      // absolute
	Mode fs.FileMode // permissions of a regular file
	Data []byte
	Link string // where a symbolic link leads, absolute; "" for a regular file
}

// GuestFiles are the files that make the image into the node: names, addresses,
// keys and services; guest is the image's, as GuestAlpine. The lab's keys must be there.
func GuestFiles(l topology.Lab, n topology.Node, k Keys, guest string) ([]File, error) {
	hostKey, err := os.ReadFile(k.hostKey(n.Name))
	if err != nil {
		return nil, err
	}
	authorized, err := k.authorized(n)
	if err != nil {
		return nil, err
	}
	files := append(plainFiles(l, n, guest),
		File{Path: "/etc/ssh/ssh_host_ed25519_key", Mode: 0o600, Data: hostKey},
		File{Path: "/root/.ssh/authorized_keys", Mode: 0o600, Data: authorized},
	)
	if ServesHTTPS(n) {
		crt, key := k.certificate(n.Name)
		certificate, cerr := os.ReadFile(crt)
		private, kerr := os.ReadFile(key)
		if err := errors.Join(cerr, kerr); err != nil {
			return nil, err
		}
		files = append(files,
			File{Path: httpsCertificate, Mode: 0o644, Data: certificate},
			File{Path: httpsKey, Mode: 0o600, Data: private},
		)
	}
	if len(n.Reaches) == 0 {
		return files, nil
	}
	own, err := os.ReadFile(k.nodeKey(n.Name))
	if err != nil {
		return nil, err
	}
	known, err := k.knownHosts(func(to topology.Node) bool { return slices.Contains(n.Reaches, to.Name) })
	if err != nil {
		return nil, err
	}
	return append(files,
		File{Path: "/root/.ssh/id_ed25519", Mode: 0o600, Data: own},
		File{Path: "/etc/ssh/ssh_known_hosts", Mode: 0o644, Data: known},
		File{Path: "/etc/ssh/ssh_config.d/labctl.conf", Mode: 0o644, Data: []byte("# the lab's nodes are known beforehand: no prompt, no trust on first use\nStrictHostKeyChecking yes\n")},
	), nil
}

// plainFiles are those of the files that hold no key, a pure function of the lab.
func plainFiles(l topology.Lab, n topology.Node, guest string) []File {
	files := []File{
		{Path: "/etc/hostname", Mode: 0o644, Data: []byte(n.Name + "\n")},
		{Path: "/etc/hosts", Mode: 0o644, Data: []byte(HostsFile(l, n))},
		{Path: "/etc/labctl/network", Mode: 0o644, Data: networkFile(l, n)},
	}
	if guest != GuestDebian {
		files = append(files, enabled(n.Services, "/etc/runlevels/default/", "/etc/init.d/", "")...)
	}
	files = append(files, clockFiles(l, n, guest)...)
	files = append(files, httpsFiles(n, guest)...)
	files = append(files, preferIPv4(n, guest)...)
	if guest == GuestAlpine { // has no machine-id
		return files
	}
	files = append(files, File{Path: "/etc/machine-id", Mode: 0o444, Data: []byte(strings.ReplaceAll(n.UUID, "-", "") + "\n")})
	return append(files, enabled(n.Services, "/etc/systemd/system/multi-user.target.wants/", "/usr/lib/systemd/system/", ".service")...)
}

// enabled are the links in a folder of the service manager's that make services start at boot.
func enabled(services []string, in, from, ext string) []File {
	var links []File
	for _, s := range services {
		links = append(links, File{Path: in + s + ext, Link: from + s + ext})
	}
	return links
}

// HostsFile is a node's /etc/hosts.
func HostsFile(l topology.Lab, n topology.Node) string {
	var b strings.Builder
	for _, e := range l.Hosts(n) {
		fmt.Fprintf(&b, "%s %s\n", e.Address, strings.Join(e.Names, " "))
	}
	return b.String()
}

// lastResort is the metric of routes that any other goes before.
const lastResort = 1 << 16

// networkFile is what the guest's network script reads: see guest/common/usr/lib/labctl/network.
func networkFile(l topology.Lab, n topology.Node) []byte {
	var b bytes.Buffer
	for _, c := range n.NICs {
		if !c.Offloads {
			// or frames in captures are longer than on the wire
			fmt.Fprintf(&b, "%s ethtool -K LINK gro off gso off tso off sg off tx off rx off\n", c.MAC)
		}
		if c.Mirror != "" {
			fmt.Fprintf(&b, "%s ip link set dev LINK mtu %d arp off promisc on up\n", c.MAC, c.MTU)
			continue
		}
		fmt.Fprintf(&b, "%s ip link set dev LINK mtu %d up\n", c.MAC, c.MTU)
		fmt.Fprintf(&b, "%s ip address replace %s dev LINK\n", c.MAC, c.Address)
		addIPv6(&b, c)
		if c.Gateway.IsValid() {
			fmt.Fprintf(&b, "%s ip route replace default via %s dev LINK\n", c.MAC, c.Gateway)
		}
		for _, r := range c.Routes {
			fmt.Fprintf(&b, "%s ip route replace %s via %s dev LINK\n", c.MAC, r.To, r.Via)
		}
		if n.Forward && c.Side != "" {
			fmt.Fprintf(&b, "%s sysctl net/ipv4/conf/LINK/forwarding 1\n", c.MAC)
		}
	}
	for _, net := range l.Networks {
		if !net.Sided() {
			continue
		}
		for _, s := range net.Subnets() { // measured traffic never takes another way
			fmt.Fprintf(&b, "- ip route replace unreachable %s metric %d\n", s, lastResort)
		}
	}
	if n.HasIPv6() {
		finishIPv6(&b, l, n)
	}
	return b.Bytes()
}
