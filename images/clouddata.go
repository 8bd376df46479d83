package images

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"

	"gopkg.in/yaml.v3"

	"github.com/mami-project/labctl/topology"
)

// cloudConfig is cloud-init's user data. Each key is known to cloud-init from 18 on.
// Source: cloud-init, doc/rtd/reference/modules.rst.
type cloudConfig struct {
	// who logs in, and how: the keys are among the files
	Users          []string `yaml:"users"` // none beside root
	DisableRoot    bool     `yaml:"disable_root"`
	PasswordLogins bool     `yaml:"ssh_pwauth"`
	DeleteHostKeys bool     `yaml:"ssh_deletekeys"`
	HostKeyTypes   []string `yaml:"ssh_genkeytypes"` // made unless they are there

	// the names are among the files
	KeepHostname bool `yaml:"preserve_hostname"`
	WriteHosts   bool `yaml:"manage_etc_hosts"`

	// the root file system fills the disk
	Grow   growpart `yaml:"growpart"`
	Resize bool     `yaml:"resize_rootfs"`

	Locale string `yaml:"locale"` // "false": as the image has it

	// a node does not talk to the outside on its own
	Update  bool `yaml:"package_update"`
	Upgrade bool `yaml:"package_upgrade"`

	Before [][]string  `yaml:"bootcmd"` // the files are written
	Files  []cloudFile `yaml:"write_files"`
	After  [][]string  `yaml:"runcmd"` // all else of the first boot is done
}

type growpart struct {
	Mode    string   `yaml:"mode"`
	Devices []string `yaml:"devices,flow"`
}

type cloudFile struct {
	Path     string `yaml:"path"`
	Mode     string `yaml:"permissions"`
	Owner    string `yaml:"owner"`
	Encoding string `yaml:"encoding"`
	Content  string `yaml:"content"`
}

// cloudInitOff is the file that keeps cloud-init from running.
const cloudInitOff = "/etc/cloud/cloud-init.disabled"

// unlinkScript makes way for files where an image has links: cloud-init follows them.
const unlinkScript = `for f; do [ ! -L "$f" ] || rm "$f"; done`

// linkScript makes symbolic links; its arguments are where each leads and where it is.
const linkScript = `while [ $# -gt 1 ]; do
	[ -d "${2%/*}" ] || mkdir -p "${2%/*}"
	ln -sfn "$1" "$2"
	shift 2
done
`

// userData has cloud-init write the files at the first boot, then apply them, then
// see to the guest agent, which resolvers help to install.
func userData(files []File, resolvers []netip.Addr) ([]byte, error) {
	c := cloudConfig{
		Users:        []string{},
		HostKeyTypes: []string{"ed25519"},
		KeepHostname: true,
		Grow:         growpart{Mode: "auto", Devices: []string{"/"}},
		Resize:       true,
		Locale:       "false",
	}
	unlink, link := []string{"sh", "-c", unlinkScript, "unlink"}, []string{"sh", "-c", linkScript, "link"}
	var last [][]string
	for _, f := range files {
		switch {
		case f.Link != "": // cloud-init writes regular files only
			link = append(link, f.Link, f.Path)
		case f.Path == cloudInitOff: // not before the end of this boot's part
			last = [][]string{{"touch", f.Path}}
		default:
			unlink = append(unlink, f.Path)
			c.Files = append(c.Files, cloudFile{
				Path: f.Path, Mode: fmt.Sprintf("%04o", f.Mode.Perm()), Owner: "root:root",
				Encoding: "b64", Content: base64.StdEncoding.EncodeToString(f.Data),
			})
		}
	}
	agent := []string{"sh", "-c", agentScript, "agent"}
	for _, r := range resolvers {
		agent = append(agent, r.String())
	}
	c.Before = [][]string{unlink}
	c.After = append(c.After, link, append([]string{"sh", "-c", ApplyScript, "apply"}, ApplyArguments(files)...), agent)
	c.After = append(c.After, last...)
	return cloudYAML("#cloud-config\n", c)
}

// link is one of cloud-init's network configuration, version 2.
type link struct {
	Match struct {
		MAC string `yaml:"macaddress"`
	} `yaml:"match"`
	DHCP4     bool     `yaml:"dhcp4"`
	DHCP6     bool     `yaml:"dhcp6"`
	RA        bool     `yaml:"accept-ra"`
	LinkLocal []string `yaml:"link-local,flow"`
	Optional  bool     `yaml:"optional,omitempty"`
	MTU       int      `yaml:"mtu"`
	Addresses []string `yaml:"addresses,omitempty,flow"`
	Routes    []route  `yaml:"routes,omitempty"`
}

type route struct {
	To  string `yaml:"to"`
	Via string `yaml:"via"`
}

// networkConfig keeps the first boot from asking for addresses, on networks that
// are measured and where nobody answers, until the node's own files do the rest.
// The links' names go before those by which images ask on any: networkd takes the first.
func networkConfig(n topology.Node) ([]byte, error) {
	links := &yaml.Node{Kind: yaml.MappingNode}
	for i, c := range n.NICs {
		l := link{MTU: c.MTU, LinkLocal: []string{}}
		l.Match.MAC = c.MAC.String()
		if c.Mirror != "" {
			l.Optional = true
		} else {
			l.Addresses = []string{c.Address.String()}
		}
		if c.Gateway.IsValid() {
			l.Routes = []route{{"0.0.0.0/0", c.Gateway.String()}}
		}
		var value yaml.Node
		if err := value.Encode(l); err != nil {
			return nil, err
		}
		links.Content = append(links.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprintf("00-nic%d", i)}, &value)
	}
	return cloudYAML("", struct {
		Version   int        `yaml:"version"`
		Ethernets *yaml.Node `yaml:"ethernets"`
	}{2, links})
}

func cloudYAML(first string, v any) ([]byte, error) {
	b := bytes.NewBufferString(first)
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	err := errors.Join(e.Encode(v), e.Close())
	return b.Bytes(), err
}
