package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

// demoSeed is a node's whose files are those without keys.
func demoSeed(t *testing.T, name string) Seed {
	t.Helper()
	l := builtInLab(t)
	n := node(t, l, name)
	return Seed{
		Node: n, Path: filepath.Join(t.TempDir(), name+".iso"),
		Files: func() ([]File, error) {
			return append(plainFiles(l, n, GuestCloudInit), plainText(cloudInitOff, ""), File{Path: "/etc/systemd/system/networking.service", Link: nowhere}), nil
		},
		Resolvers: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.53")} },
	}
}

func TestSeedTexts(t *testing.T) {
	for _, name := range []string{"tshark", "influxdb"} {
		texts, err := demoSeed(t, name).texts()
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, f := range []string{"meta-data", "network-config", "user-data"} {
			all.WriteString("== " + f + "\n" + string(texts[f]))
		}
		golden(t, filepath.Join("testdata", name+".seed.golden"), []byte(all.String()))
	}
}

func TestSeedContract(t *testing.T) {
	s := demoSeed(t, "tshark")
	is := func(want host.State) {
		t.Helper()
		if got, err := s.State(t.Context()); got != want || err != nil {
			t.Fatalf("state %s, %v; want %s", got, err, want)
		}
	}
	do := func(what func(context.Context) error) {
		t.Helper()
		if err := what(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	is(host.Absent)
	do(s.Destroy)
	// what a run that was cut short leaves
	if err := errors.Join(os.Mkdir(s.scratch(), 0o700), os.WriteFile(s.part(), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	is(host.Partial)
	do(s.Create)
	is(host.Present)
	before, err := os.Stat(s.Path)
	if err != nil || before.Mode() != 0o600 {
		t.Errorf("private keys for others to read: %v, %v", before.Mode(), err)
	}
	do(s.Create)
	if after, err := os.Stat(s.Path); err != nil || !os.SameFile(before, after) {
		t.Error("it was made again")
	}
	if left, _ := filepath.Glob(s.Path + "*"); len(left) != 1 {
		t.Errorf("beside it there is %v", left)
	}
	do(s.Destroy)
	is(host.Absent)

	broken := errors.New("no key")
	s.Files = func() ([]File, error) { return nil, broken }
	if err := s.Create(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	is(host.Absent)
}

// Linux and cloud-init find the seed by its label and the files by these names.
func TestSeedReadsBack(t *testing.T) {
	s := demoSeed(t, "tshark")
	if err := s.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, err := s.texts()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := iso9660.Read(file.New(f, true), 0, 0, isoSector)
	if err != nil {
		t.Fatal(err)
	}
	if label := strings.TrimRight(image.Label(), " \x00"); label != "cidata" {
		t.Errorf("the label is %q", label)
	}
	entries, err := image.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, e := range entries {
		in, err := image.OpenFile("/"+e.Name(), os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		if got[e.Name()], err = io.ReadAll(in.(io.Reader)); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSeedIsReproducible(t *testing.T) {
	var images [2]string
	for i := range images {
		s := demoSeed(t, "iperf-client")
		if err := s.Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		images[i] = string(b)
	}
	if images[0] != images[1] {
		for i := range images[0] {
			if images[0][i] != images[1][i] {
				t.Fatalf("they differ at %d: %q, %q", i, images[0][i-16:i+16], images[1][i-16:i+16])
			}
		}
	}
}

func TestSeedWithoutItsFolder(t *testing.T) {
	s := demoSeed(t, "tshark")
	s.Path = filepath.Join(t.TempDir(), "none", "tshark.iso")
	if err := s.Create(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestApplyArguments(t *testing.T) {
	got := ApplyArguments([]File{
		{Path: "/etc/systemd/system/multi-user.target.wants/influxdb.service", Link: "/usr/lib/systemd/system/influxdb.service"},
		{Path: "/etc/systemd/system/systemd-networkd.socket", Link: nowhere},
		{Path: "/etc/systemd/network/99-default.link", Link: nowhere},
		{Path: "/etc/runlevels/default/iperf3", Link: "/etc/init.d/iperf3"},
		{Path: "/etc/ssh/sshd_config", Data: []byte("x")},
		{Path: "/root/.profile", Link: "/etc/profile"},
	})
	if diff := cmp.Diff([]string{"influxdb.service", "-systemd-networkd.socket", "iperf3"}, got); diff != "" {
		t.Error(diff)
	}
}
