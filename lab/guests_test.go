package lab

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
)

// configuredBy is the built-in lab with its folder and keys, all nodes of which
// are configured that way.
func configuredBy(t *testing.T, way string) Build {
	t.Helper()
	b := Build{On: newHost(t), Lab: loadDefault(t), Bases: map[string]images.Base{}}
	b.Tag = host.Tag{Lab: b.Lab.Name}
	for _, n := range b.Lab.Nodes {
		b.Bases[n.Name] = images.Base{Manifest: images.Manifest{Configure: way, Guest: images.GuestDebian}}
	}
	must(t, b.folder().Create(t.Context()))
	must(t, images.Keys{Dir: b.keys().Dir, Lab: b.Lab}.Create(t.Context()))
	return b
}

// TestTheSameFilesEachWay compares what reaches a node by its disk, by a seed and
// by the guest agent.
func TestTheSameFilesEachWay(t *testing.T) {
	b := configuredBy(t, images.ConfigureSeed)
	for _, n := range b.Lab.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			byDisk, err := b.disk(n).Files()
			must(t, err)
			want := described(byDisk)
			if len(want) < 6 {
				t.Errorf("only %d files: %v", len(want), want)
			}

			must(t, b.seed(n).Create(t.Context()))
			if d := cmp.Diff(want, described(inSeed(t, b.seed(n).Path))); d != "" {
				t.Errorf("by seed (-want +got)\n%s", d)
			}

			agents := b
			agents.Bases = map[string]images.Base{n.Name: {Manifest: images.Manifest{Configure: images.ConfigureAgent, Guest: b.Bases[n.Name].Guest}}}
			d, err := agents.machine(n).Deliver()
			must(t, err)
			var byAgent []images.File
			for _, f := range d.Files {
				byAgent = append(byAgent, images.File(f))
			}
			if d := cmp.Diff(want, described(byAgent)); d != "" {
				t.Errorf("by the agent (-want +got)\n%s", d)
			}
			for _, service := range n.Services {
				if !slices.Contains(d.Arguments, service+".service") {
					t.Errorf("%s is not among what is started: %q", service, d.Arguments)
				}
			}
		})
	}
}

func described(files []images.File) []string {
	var all []string
	for _, f := range files {
		if f.Link != "" {
			f.Mode = 0
		}
		all = append(all, fmt.Sprintf("%s %o %q %q", f.Path, f.Mode, f.Link, f.Data))
	}
	slices.Sort(all)
	return all
}

// inSeed are the files that cloud-init makes of a seed.
func inSeed(t *testing.T, path string) []images.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	image, err := iso9660.Read(file.New(f, true), 0, 0, 2048)
	must(t, err)
	in, err := image.OpenFile("/user-data", os.O_RDONLY)
	must(t, err)
	text, err := io.ReadAll(in)
	must(t, err)
	var user struct {
		Files []struct{ Path, Permissions, Owner, Encoding, Content string } `yaml:"write_files"`
		Run   [][]string                                                     `yaml:"runcmd"`
	}
	must(t, yaml.Unmarshal(text, &user))
	var files []images.File
	for _, f := range user.Files {
		if f.Owner != "root:root" || f.Encoding != "b64" {
			t.Errorf("%s is of %s, in %s", f.Path, f.Owner, f.Encoding)
		}
		mode, err := strconv.ParseUint(f.Permissions, 8, 32)
		must(t, err)
		data, err := base64.StdEncoding.DecodeString(f.Content)
		must(t, err)
		files = append(files, images.File{Path: f.Path, Mode: fs.FileMode(mode), Data: data})
	}
	for _, c := range user.Run {
		if c[0] == "touch" {
			files = append(files, images.File{Path: c[1], Mode: 0o644})
		}
		if len(c) > 4 && c[3] == "link" {
			for pair := range slices.Chunk(c[4:], 2) {
				files = append(files, images.File{Path: pair[1], Link: pair[0]})
			}
		}
	}
	return files
}

// A seed is one of the lab's things where its node's base asks for one, and down
// finds it by itself.
func TestSeedsAreOfTheLab(t *testing.T) {
	b := configuredBy(t, images.ConfigureSeed)
	listed := func(b Build) string {
		var seeds []string
		for _, name := range namesOf(b.Resources()) {
			if strings.HasPrefix(name, "seed/") {
				seeds = append(seeds, name)
			}
		}
		return strings.Join(seeds, " ")
	}
	if got, want := listed(b), "seed/iperf-client seed/iperf-server seed/tshark seed/influxdb"; got != want {
		t.Errorf("by their bases: %q", got)
	}
	if got := listed(configuredBy(t, images.ConfigureDisk)); got != "" {
		t.Errorf("configured by their disks: %q", got)
	}
	if b.machine(b.Lab.Nodes[0]).Boot.Seed != filepath.Join(b.dir(), "iperf-client.iso") {
		t.Error("the machine has no seed")
	}

	n := mustNode(t, b.Lab, "tshark")
	must(t, b.seed(n).Create(t.Context()))
	looked := b
	looked.Bases = nil // as for who looks or removes
	if got := listed(looked); got != "seed/tshark" {
		t.Errorf("by what is there: %q", got)
	}
}

func namesOf(stages [][]Resource) []string {
	var all []string
	for _, stage := range stages {
		for _, r := range stage {
			all = append(all, r.String())
		}
	}
	return all
}

func TestDownRemovesSeeds(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	put(t, b)
	must(t, os.WriteFile(b.seed(b.Lab.Nodes[0]).Path, []byte("a seed"), 0o600))
	if got, want := found(t, h, "plain"), "folder/plain | network/control seed/one | machine/one machine/two"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	if !needed(b.seed(b.Lab.Nodes[0]), map[string]bool{"machine/one": true}) {
		t.Error("the seed of a machine that is still there would be removed")
	}
	_, err := Down(t.Context(), h, "plain", deaf)
	must(t, err)
	clean(t, h)
}

func TestProgramsOfAnImage(t *testing.T) {
	b := configuredBy(t, images.ConfigureSeed)
	for name, want := range map[string]string{
		"iperf-client": "bash ip tar systemctl ethtool socat dumpcap",
		"tshark":       "bash ip tar systemctl ethtool dumpcap",
		"influxdb":     "bash ip tar systemctl socat",
	} {
		if got := strings.Join(b.programs(mustNode(t, b.Lab, name)), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	b.Bases["tshark"] = images.Base{Manifest: images.Manifest{System: images.GuestDebian}}
	if got := b.programs(mustNode(t, b.Lab, "tshark")); got != nil {
		t.Errorf("of a recipe's own image: %v", got)
	}
}

func TestNameservers(t *testing.T) {
	got := nameservers([]byte("# nameserver 192.0.2.1\nsearch x\nnameserver 127.0.0.53\nnameserver\nnameserver fe80::1%eth0\nnameserver 192.0.2.2 # two\nnameserver x\n"))
	if d := cmp.Diff([]netip.Addr{netip.MustParseAddr("192.0.2.2")}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}
