package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/topology"
)

// testdata/hosts holds a host for every format of marks there has been, as the
// labctl of that format left it with a lab of every kind of thing on it:
//
//	node.xml   libvirt's domains and networks, for its test driver
//	mark.xml   the mark in the lab's folder
//	names.txt  what can bear no mark, and all other names that were computed
//
// Whoever has such a lab on a host must be able to list it and to take it down
// with any later labctl. So these files are never made again: -update writes those
// of today's format, and only while they are not there. Where one of these tests
// fails, the code has to go on knowing the old names and marks; a change that
// cannot be told from an old mark raises host.Format, which makes a new folder here.
const hostsDir = "testdata/hosts"

// dirMark stands in golden files for labctl's folder.
const dirMark = "@LABCTL@"

func TestFormats(t *testing.T) {
	today := filepath.Join(hostsDir, fmt.Sprintf("format-%d", host.Format))
	if _, err := os.Stat(today); *update && errors.Is(err, fs.ErrNotExist) {
		writeHost(t, today)
	}
	formats, err := filepath.Glob(filepath.Join(hostsDir, "format-*"))
	must(t, err)
	if !slices.Contains(formats, today) {
		t.Errorf("%s is not there: go test ./lab -run TestFormats -update makes it", today)
	}
	for _, dir := range formats {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			h := goldenHost(t, dir)
			names, err := os.ReadFile(filepath.Join(dir, "names.txt"))
			must(t, err)
			plant(t, h, string(names))
			b, err := Open(h, "every-kind")
			must(t, err)
			if d := cmp.Diff(string(names), strings.Join(computed(b), "")); d != "" {
				t.Errorf("other names are computed than the lab was made with (-made +now)\n%s", d)
			}
			all, err := List(t.Context(), h)
			must(t, err)
			want := []Listed{{
				Name: "every-kind", State: Part, Nodes: 7, From: "every-kind.yaml",
				MadeAt: madeThen, Owner: "alice", ExpiresAt: madeThen.Add(2 * time.Hour),
			}}
			marks, err := FindMarks(h)
			must(t, err)
			if n := len(marks.Of("every-kind").Tags()); n != 1 {
				t.Errorf("its marks say %d different things", n)
			}
			if d := cmp.Diff(want, all); d != "" {
				t.Errorf("listed (-want +got)\n%s", d)
			}
			if n, err := Down(t.Context(), h, "every-kind", deaf); n < 20 || err != nil {
				t.Errorf("%d things removed, %v", n, err)
			}
			clean(t, h)
			for line := range strings.Lines(string(names)) {
				if w := strings.Fields(line); w[0] == "wire" || w[0] == "table" {
					if there(t, w) {
						t.Errorf("left: %s", line)
					}
				}
			}
		})
	}
}

// goldenHost is the host of a folder of golden files, as far as libvirt's test driver can hold it.
func goldenHost(t *testing.T, dir string) *host.Host {
	t.Helper()
	before := host.LockDir
	host.LockDir = filepath.Join(t.TempDir(), "locks")
	t.Cleanup(func() { host.LockDir = before })
	here := t.TempDir()
	folder := filepath.Join(here, "labctl")
	put := func(golden, path string) {
		text, err := os.ReadFile(filepath.Join(dir, golden))
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte(dirMark), []byte(folder)), 0o600))
	}
	node := filepath.Join(here, "node.xml")
	put("node.xml", node)
	put("mark.xml", filepath.Join(folder, "labs", "every-kind", "mark.xml"))
	h, err := host.Connect("test://"+node, folder)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

// plant puts on the host what libvirt's test driver cannot hold: the lab's files,
// its wires and its firewall table.
func plant(t *testing.T, h *host.Host, names string) {
	t.Helper()
	for line := range strings.Lines(names) {
		switch w := strings.Fields(line); w[0] {
		case "file":
			path := filepath.Join(h.LabDir("every-kind"), w[1])
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, nil, 0o600))
		case "wire":
			var macs [2]net.HardwareAddr
			for i := range macs {
				mac, err := net.ParseMAC(w[3+2*i])
				must(t, err)
				macs[i] = mac
			}
			pair := netlink.NewVeth(netlink.LinkAttrs{Name: w[2], HardwareAddr: macs[0]})
			pair.PeerName, pair.PeerHardwareAddr = w[4], macs[1]
			must(t, netlink.LinkAdd(pair))
			t.Cleanup(func() { _ = netlink.LinkDel(pair) })
		case "table":
			c := new(nftables.Conn)
			table := c.AddTable(&nftables.Table{Name: w[1], Family: nftables.TableFamilyIPv4})
			must(t, c.Flush())
			t.Cleanup(func() { c.DelTable(table); _ = c.Flush() })
		}
	}
}

// there says whether the wire or the table of a line of names is on the host.
func there(t *testing.T, line []string) bool {
	t.Helper()
	if line[0] == "wire" {
		_, err := netlink.LinkByName(line[2])
		return err == nil
	}
	tables, err := new(nftables.Conn).ListTables()
	must(t, err)
	return slices.ContainsFunc(tables, func(n *nftables.Table) bool { return n.Name == line[1] })
}

// computed are all the names that a lab has on its host, a line each.
func computed(b Build) []string {
	var lines []string
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)+"\n") }
	file := func(path string) {
		path, _ = filepath.Rel(b.dir(), path)
		add("file %s", path)
	}
	for _, n := range b.Lab.Networks {
		for _, s := range n.Segments {
			add("network %s %s %s %s", s.Object, s.UUID, s.Bridge, s.MAC)
		}
		if n.Wire != nil {
			a, z := n.Wire.Ends[0], n.Wire.Ends[1]
			add("wire %s %s %s %s %s", n.Name, a.Link, a.MAC, z.Link, z.MAC)
		}
	}
	keys := images.Keys{Dir: b.keys().Dir, Lab: b.Lab}
	file(keys.Identity())
	file(keys.KnownHosts())
	for _, n := range b.Lab.Nodes {
		add("domain %s %s", n.Object, n.UUID)
		for _, c := range n.NICs {
			address := "-"
			if c.Address.IsValid() {
				address = c.Address.String()
			}
			add("nic %s %s %s %s %s", c.Network, c.MAC, c.Kind, c.Link+c.Host.PCI, address)
		}
		file(b.diskPath(n))
		file(b.boot(n).Console)
		if b.seeded(n) {
			file(b.seed(n).Path)
		}
	}
	for _, m := range b.Mirrors() {
		add("mirror %s %s %s %s", m.Node, m.From.Kind, m.From.Link, m.To)
	}
	add("table %s", topology.TableName(b.Lab.Name))
	return lines
}
