package images

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// dualLab has IPv6 on one network without sides and on one whose sides a node joins; a
// node captures there, and one has IPv4 alone.
const dualLab = `
name: dual
networks:
  control: {subnet: 10.9.1.0/24, subnet6: "fd00:9:1::/64"}
  plain: {subnet: 10.9.4.0/24, uplink: none}
  test:
    sides: [client, server]
    under-test: node:mid
    subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}
    subnets6: {client: "fd00:9:2::/64", server: "fd00:9:3::/64"}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  mid: {nics: [{network: control}, {network: test, side: client}, {network: test, side: server}]}
  server: {nics: [{network: plain}, {network: test, side: server}]}
  capture: {nics: [{network: control}, {mirror: client}]}
  old: {nics: [{network: plain}]}
`

func dual(t *testing.T) topology.Lab {
	t.Helper()
	f, err := topology.Load("dual.yaml", []byte(dualLab), topology.Known{Recipes: []string{"debian"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNetworkFilesOfBothKinds(t *testing.T) {
	l := dual(t)
	var all strings.Builder
	for _, n := range l.Nodes {
		all.WriteString("== " + n.Name + "\n" + string(networkFile(l, n)))
	}
	golden(t, filepath.Join("testdata", "dual.network.golden"), []byte(all.String()))
}

// Nothing of IPv6 is in what a node without it is given, nor on a capture NIC: frames
// of it would stand among those that are measured.
func TestIPv6IsOnlyWhereItIsAskedFor(t *testing.T) {
	l := dual(t)
	for _, n := range l.Nodes {
		files := plainFiles(l, n, GuestDebian)
		for _, f := range files {
			six := f.Path == "/etc/gai.conf" || f.Path == "/etc/labctl/network" && strings.Contains(string(f.Data), "ipv6")
			if six && !n.HasIPv6() {
				t.Errorf("%s has no IPv6, and a file %s:\n%s", n.Name, f.Path, f.Data)
			}
		}
		if c, ok := n.Capture(); ok {
			for line := range strings.Lines(string(networkFile(l, n))) {
				if strings.HasPrefix(line, c.MAC.String()) && (strings.Contains(line, "ipv6") || strings.Contains(line, " address ")) {
					t.Errorf("the capture NIC speaks: %s", line)
				}
			}
		}
	}
	if old, _ := l.Node("old"); old.HasIPv6() {
		t.Error("old has IPv6: this test shows nothing")
	}
	for guest, want := range map[string]bool{GuestDebian: true, GuestCloudInit: true, GuestAlpine: false} {
		if got := len(preferIPv4(l.Nodes[0], guest)) == 1; got != want {
			t.Errorf("%s has its gai.conf: %v", guest, got)
		}
	}
}
