package images

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/crypto/ssh"

	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestPlainFilesOfBuiltInLab(t *testing.T) {
	l := builtInLab(t)
	for _, n := range l.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			golden(t, filepath.Join("testdata", n.Name+".golden"), show(plainFiles(l, n, GuestDebian)))
		})
	}
}

// routedLab has a node between the sides of one network, and one that forwards from there to a second.
const routedLab = `
name: routed
networks:
  control: {subnet: 10.9.1.0/24}
  test: {sides: [client, server], under-test: "node:router", subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}}
  beyond: {sides: [near, far], subnet: 10.9.4.0/24, mtu: 1400}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  router: {nics: [{network: control}, {network: test, side: client}, {network: test, side: server}]}
  hop: {forward: true, nics: [{network: test, side: server}, {network: beyond, side: near}, {network: control}]}
  server: {nics: [{network: beyond, side: far}, {network: control}]}
  tap: {nics: [{network: control}, {mirror: {from: router, side: server}}]}
`

func TestPlainFilesAcrossNodes(t *testing.T) {
	l := decided(t, "routed.yaml", []byte(routedLab))
	for _, n := range l.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			var files []File
			for _, f := range plainFiles(l, n, GuestDebian) {
				if f.Path == "/etc/hosts" || f.Path == "/etc/labctl/network" {
					files = append(files, f)
				}
			}
			golden(t, filepath.Join("testdata", "routed."+n.Name+".golden"), show(files))
		})
	}
}

// Who captures knows each node by every name that it has there.
func TestKnownByEveryName(t *testing.T) {
	l := decided(t, "routed.yaml", []byte(routedLab))
	known, err := madeKeys(t, l).knownHosts(func(topology.Node) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(known)) {
		names, _, _ := strings.Cut(line, " ")
		all = append(all, strings.Split(names, ",")...)
	}
	for _, n := range l.Nodes {
		for _, e := range l.Hosts(n)[2:] {
			for _, name := range append(e.Names, e.Address.String()) {
				if !slices.Contains(all, name) {
					t.Errorf("%s resolves %s, and it is not known", n.Name, name)
				}
			}
		}
	}
	if !slices.Contains(all, "router.test.server") {
		t.Errorf("known are %q", all)
	}
}

// On Alpine a node differs by what its service manager reads, and by nothing else.
func TestPlainFilesOfAlpine(t *testing.T) {
	l := builtInLab(t)
	for _, n := range l.Nodes {
		var want []File
		for _, f := range plainFiles(l, n, GuestDebian) {
			if f.Link == "" && f.Path != "/etc/machine-id" && f.Path != "/etc/systemd/system/labctl-clock.service" {
				want = append(want, f)
			}
		}
		want = append(want, File{Path: "/etc/init.d/labctl-clock", Mode: 0o755, Data: clockService})
		for _, s := range append([]string{"labctl-clock"}, n.Services...) {
			want = append(want, File{Path: "/etc/runlevels/default/" + s, Link: "/etc/init.d/" + s})
		}
		byPath := cmpopts.SortSlices(func(a, b File) bool { return a.Path < b.Path })
		if diff := cmp.Diff(want, plainFiles(l, n, GuestAlpine), byPath); diff != "" {
			t.Errorf("%s: %s", n.Name, diff)
		}
	}
}

func show(files []File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		if f.Link != "" {
			fmt.Fprintf(&b, "== %s -> %s\n", f.Path, f.Link)
			continue
		}
		fmt.Fprintf(&b, "== %s %o\n%s", f.Path, f.Mode, f.Data)
	}
	return b.Bytes()
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestGuestFilesHoldTheNodesKeys(t *testing.T) {
	l := builtInLab(t)
	k := madeKeys(t, l)
	for _, n := range l.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			files, err := GuestFiles(l, n, k, GuestDebian)
			if err != nil {
				t.Fatal(err)
			}
			byPath := make(map[string]File)
			for _, f := range files {
				byPath[f.Path] = f
			}
			isKey(t, byPath["/etc/ssh/ssh_host_ed25519_key"], k.hostKey(n.Name))
			if f := byPath["/root/.ssh/authorized_keys"]; f.Mode != 0o600 || len(f.Data) == 0 {
				t.Errorf("authorized_keys: mode %o, %d bytes", f.Mode, len(f.Data))
			}
			if n.Name != "tshark" {
				if f, ok := byPath["/root/.ssh/id_ed25519"]; ok {
					t.Errorf("it got the key %s", f.Path)
				}
				return
			}
			isKey(t, byPath["/root/.ssh/id_ed25519"], k.nodeKey(n.Name))
			config := byPath["/etc/ssh/ssh_config.d/labctl.conf"].Data
			if !bytes.Contains(config, []byte("\nStrictHostKeyChecking yes\n")) {
				t.Errorf("ssh's configuration is %q", config)
			}
			known := byPath["/etc/ssh/ssh_known_hosts"].Data
			for _, to := range n.Reaches {
				if !bytes.Contains(known, []byte(to+","+to+".control,")) {
					t.Errorf("%s is not known", to)
				}
			}
			if bytes.Contains(known, []byte("influxdb")) {
				t.Error("a node it does not reach is known")
			}
		})
	}
}

// isKey says whether f holds the private key in the file path, for root alone.
func isKey(t *testing.T, f File, path string) {
	t.Helper()
	want, err := publicKey(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ssh.ParsePrivateKey(f.Data)
	if err != nil {
		t.Fatalf("%s: %v", f.Path, err)
	}
	if !bytes.Equal(want.Marshal(), got.PublicKey().Marshal()) || f.Mode != 0o600 {
		t.Errorf("%s holds another key, or has mode %o", f.Path, f.Mode)
	}
}
