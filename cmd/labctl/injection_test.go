package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// anyLab is a lab file in which what stands between two @ may be anything.
const anyLab = `
name: @trafic@
image: @debian@
accel: @tcg@
images:
  @mine@: {path: @./base.qcow2@, guest: @alpine@, configure: @agent@}
  @built@: {recipe: @./recipe.yaml@}
networks:
  @control@: {subnet: @10.7.1.0/24@, uplink: @nat@}
  @test@: {sides: [@left@, @right@], under-test: @wire@, uplinks: {@left@: @eno1@, @right@: @eno2@}}
nodes:
  @one@:
    memory: @512MiB@
    disk: @5GiB@
    nics: [{network: @control@, address: @10.7.1.40@}, {network: @test@, side: @left@, passthrough: {pf: @eno3@}}]
    publish: [@127.0.0.1:2222:22@]
    services: [@influxdb@]
  @two@:
    image: @mine@
    nics: [{network: @control@}, {network: @test@, side: @left@, passthrough: {macvtap: @eno4@}}]
  @three@: {nics: [{network: @control@}, {network: @test@, side: @right@, passthrough: @0000:3b:00.0@}]}
  @four@: {nics: [{network: @control@}, {mirror: {from: @one@, port: @eno5@}}]}
`

var anything = regexp.MustCompile(`@([^@]*)@`)

// words are what stands in anyLab where anything may, each once.
func words() []string {
	var all []string
	for _, m := range anything.FindAllStringSubmatch(anyLab, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// labWith is anyLab with text in the place of a word, wherever that stands.
func labWith(word, text string) []byte {
	return []byte(anything.ReplaceAllStringFunc(anyLab, func(m string) string {
		m = strings.Trim(m, "@")
		if m == word {
			m = text
		}
		quoted, _ := json.Marshal(m) // which is YAML too
		return string(quoted)
	}))
}

// hostile are texts that mean something to some reader of what derives from a lab's file.
var hostile = []string{
	"", ".", "..", "../../etc", "a/b", "/etc/passwd", "-rf", "a b", "a\tb", "a\nb", "a\r\nb", "a\x00b", "a'b", `a"b`, "a`id`", "$(id)", "${HOME}",
	"a;id", "a|id", "a&b", "a<b", "a>b", "a#b", "a,b", "a,,file=/etc/shadow", "a%h", "%d", `a\nb`, "a=b", "a:b", "A", "a_b", "a.b", "é", "a\u202eb", "a\u009b",
	"\x1b]0;x\x07", "]]>", "<!--", "--><interface/>", "'/><interface type='network'/>", "127.0.0.1 localhost", "a\n127.0.0.1 evil", "accept; drop",
	"node:a", "bridge:br0", "bridge:../x", "localhost", strings.Repeat("a", 33), strings.Repeat("a", 4096), "\ufeffa", "~root", "!!str a", "*a", "&a",
}

// TestInjection puts each hostile text in the place of each name, address and path.
func TestInjection(t *testing.T) {
	i := newInjection(t)
	for _, word := range i.words {
		for _, text := range hostile {
			t.Run(fmt.Sprintf("%s %.20q", word, text), func(t *testing.T) { i.check(t, word, text) })
		}
	}
}

// FuzzInjection puts any text there.
func FuzzInjection(f *testing.F) {
	i := newInjection(f)
	for at, text := range hostile {
		f.Add(uint8(at), text)
	}
	f.Fuzz(func(t *testing.T, at uint8, text string) { i.check(t, i.words[int(at)%len(i.words)], text) })
}

// injection is what texts in the place of words are judged by.
type injection struct {
	words []string
	dir   string // labctl's folder
	key   []byte // a private key for every purpose: to make one takes longer than all else
	plain []map[string]int
}

func newInjection(tb testing.TB) injection {
	tb.Helper()
	dir := tb.TempDir()
	b, err := buildOf(dir, labWith("", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return injection{words(), dir, oneKey(tb, dir), shapes(tb, b)}
}

// check requires that a text is refused at its line, or that all that derives from
// it is as well formed and as confined as what derives from a plain word.
func (i injection) check(t *testing.T, word, text string) {
	b, err := buildOf(i.dir, labWith(word, text))
	if err != nil {
		refused(t, err)
		return
	}
	confined(t, b)
	wellFormed(t, b, i.key)
	got := shapes(t, b)
	if word == "nat" || strings.HasPrefix(text, topology.UplinkBridge+":") { // a network without uplink is another network, and so is a bridge of the host
		return
	}
	if d := cmp.Diff(i.plain, got); d != "" {
		t.Errorf("%q for %s makes other things (-plain +this):\n%s", text, word, d)
	}
}

// buildOf is the lab that a file makes, on images of each kind.
func buildOf(dir string, src []byte) (lab.Build, error) {
	f, err := topology.Load("lab.yaml", src, topology.Known{Recipes: images.Recipes()})
	if err != nil {
		return lab.Build{}, err
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		return lab.Build{}, err
	}
	b := lab.Build{
		On: &host.Host{Dir: dir}, Lab: l, Accel: topology.AccelTCG,
		Tag:   host.Tag{Lab: l.Name, Format: host.Format, From: "lab.yaml", Dir: dir, File: string(src)},
		Bases: map[string]images.Base{},
	}
	kinds := []images.Manifest{
		{System: "Debian", Guest: images.GuestDebian},
		{Guest: images.GuestAlpine, Boot: images.BootBIOS, Configure: images.ConfigureAgent},
		{Guest: images.GuestCloudInit, Boot: images.BootBIOS, Configure: images.ConfigureSeed},
	}
	for i, n := range l.Nodes {
		b.Bases[n.Name] = images.Base{Dir: dir, Manifest: kinds[i%len(kinds)]}
	}
	return b, nil
}

// refused checks that an error is Problems, each at its line.
func refused(t *testing.T, err error) {
	t.Helper()
	var problems topology.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("not Problems: %v", err)
	}
	for _, p := range problems {
		if p.File != "lab.yaml" || p.Line < 1 {
			t.Errorf("a problem with no place: %s", p)
		}
	}
}

var (
	objectName = regexp.MustCompile(`^labctl(\.[a-z0-9-]+){2,3}$`)
	hostName   = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)?$`)
	deviceName = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,15}$`)
	guestLine  = regexp.MustCompile(`^[A-Za-z0-9:./ _-]+$`)
)

// confined checks the names and paths of what the lab makes.
func confined(t *testing.T, b lab.Build) {
	t.Helper()
	own := b.On.LabDir(b.Lab.Name)
	inside := func(p string) {
		if p != "" && (filepath.Dir(p) != own || filepath.Clean(p) != p) {
			t.Errorf("%q is not in the lab's folder", p)
		}
	}
	if filepath.Dir(own) != filepath.Join(b.On.Dir, "labs") || filepath.Base(own) != b.Lab.Name {
		t.Errorf("the lab's folder is %q", own)
	}
	if table := topology.TableName(b.Lab.Name); table != "labctl-"+b.Lab.Name || !hostName.MatchString(table) {
		t.Errorf("its table is %q", table)
	}
	for _, r := range slices.Concat(b.Resources()...) {
		switch r := r.(type) {
		case images.Keys:
			inside(r.Dir)
		case images.Disk:
			inside(r.Path)
		case images.Seed:
			inside(r.Path)
		case domains.Machine:
			inside(r.Boot.Disk)
			inside(r.Boot.Seed)
			inside(r.Boot.Console)
			inside(r.Boot.NVRAM)
			if !objectName.MatchString(r.Node.Object) {
				t.Errorf("domain %q", r.Node.Object)
			}
			for _, c := range r.Node.NICs {
				for _, link := range []string{c.Link, c.Bridge, c.Host.Macvtap, c.Point.Link} {
					if link != "" && (!deviceName.MatchString(link) || link == "." || link == "..") {
						t.Errorf("link %q", link)
					}
				}
			}
		case networks.Segment:
			if !objectName.MatchString(r.Segment.Object) || !deviceName.MatchString(r.Segment.Bridge) {
				t.Errorf("network %q on bridge %q", r.Segment.Object, r.Segment.Bridge)
			}
			if up := r.Segment.Uplink; up != "" && (!deviceName.MatchString(up) || up == "." || up == "..") {
				t.Errorf("uplink %q", up)
			}
		}
	}
}

// oneKey makes a private key.
func oneKey(tb testing.TB, dir string) []byte {
	tb.Helper()
	k := images.Keys{Dir: filepath.Join(dir, "keys"), Lab: topology.Lab{Name: "one"}}
	if err := k.Create(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(k.Identity())
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// wellFormed checks the files that nodes get.
func wellFormed(t *testing.T, b lab.Build, key []byte) {
	t.Helper()
	keys := images.Keys{Dir: t.TempDir(), Lab: b.Lab}
	for _, n := range b.Lab.Nodes {
		for _, name := range []string{"id_ed25519", "host-" + n.Name, "node-" + n.Name, "https-" + n.Name + ".crt", "https-" + n.Name + ".key"} {
			if err := os.WriteFile(filepath.Join(keys.Dir, name), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range b.Lab.Nodes {
		files, err := images.GuestFiles(b.Lab, n, keys, b.Bases[n.Name].Guest)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || !guestLine.MatchString(f.Path) {
				t.Errorf("a file of the node's is %q", f.Path)
			}
			if err := wellFormedFile(b, n, f); err != nil {
				t.Errorf("%s of %s: %v\n%q", f.Path, n.Name, err, f.Data)
			}
		}
	}
}

func wellFormedFile(b lab.Build, n topology.Node, f images.File) error {
	lines := strings.Split(strings.TrimSuffix(string(f.Data), "\n"), "\n")
	switch f.Path {
	case "/etc/hostname":
		if !slices.Equal(lines, []string{n.Name}) || !hostName.MatchString(n.Name) {
			return errors.New("no host name")
		}
	case "/etc/hosts":
		if len(lines) != len(b.Lab.Hosts(n)) {
			return fmt.Errorf("%d lines of %d entries", len(lines), len(b.Lab.Hosts(n)))
		}
		for _, line := range lines {
			words := strings.Split(line, " ")
			if _, err := netip.ParseAddr(words[0]); err != nil || len(words) < 2 || len(words) > 3 {
				return fmt.Errorf("the line %q", line)
			}
			if i := slices.IndexFunc(words[1:], func(w string) bool { return !hostName.MatchString(w) }); i >= 0 {
				return fmt.Errorf("the name %q", words[1+i])
			}
		}
	case "/etc/labctl/network":
		for _, line := range lines {
			if !guestLine.MatchString(line) {
				return fmt.Errorf("the line %q", line)
			}
		}
	case "/etc/ssh/ssh_known_hosts", "/root/.ssh/authorized_keys":
		for rest := f.Data; len(rest) > 0; {
			var err error
			if f.Path == "/root/.ssh/authorized_keys" {
				_, _, _, rest, err = ssh.ParseAuthorizedKey(rest)
			} else {
				_, _, _, _, rest, err = ssh.ParseKnownHosts(rest)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// shapes are the elements, each with how often it is there, of what libvirt is told.
func shapes(tb testing.TB, b lab.Build) []map[string]int {
	tb.Helper()
	var all []map[string]int
	add := func(x interface{ Marshal() (string, error) }, err error) {
		if err != nil {
			tb.Fatal(err)
		}
		text, err := x.Marshal()
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, elements(tb, text, b.Tag))
	}
	for _, r := range slices.Concat(b.Resources()...) {
		switch r := r.(type) {
		case domains.Machine:
			x, err := domains.Render(r.Node, r.Boot, r.Tag)
			add(x, err)
		case networks.Segment:
			x, err := networks.Render(r.Network, r.Segment, r.Tag)
			add(x, err)
		}
	}
	return all
}

// elements counts the elements of XML by their paths; the mark in it must be the tag.
func elements(tb testing.TB, text string, tag host.Tag) map[string]int {
	tb.Helper()
	counts := map[string]int{}
	var at []string
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatalf("%v in:\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			at = append(at, token.Name.Local)
			counts[strings.Join(at, "/")]++
		case xml.EndElement:
			at = at[:len(at)-1]
		}
	}
	_, metadata, _ := strings.Cut(text, "<metadata>")
	metadata, _, _ = strings.Cut(metadata, "</metadata>")
	got, marked, err := host.ReadTag(metadata)
	if err != nil || !marked || !got.Equal(tag) {
		tb.Errorf("the mark reads back as %+v, %v, %v; want %+v", got, marked, err, tag)
	}
	return counts
}
