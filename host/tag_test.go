package host_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// awkward are texts that XML is known to bend.
var awkward = map[string]string{
	"plain":        "name: demo\n",
	"lines":        "\n\nname: demo\n\n  nodes:\n\n",
	"quotes":       `a: "b" # 'c' "`,
	"markup":       "<metadata>&amp; </file> <![CDATA[ ]]> <!-- -->",
	"tabs and CRs": "a:\tb\r\n\tc\rd\r\n",
	"unicode":      "a: äöü — 試験 🧪\u2028\u0085\ufeff",
	"spaces":       "   a   b   ",
	"long":         strings.Repeat("nodes: {a: 1} # <&>\n", 20_000),
	"none":         "",
}

func tagged(file string) host.Tag {
	return host.Tag{
		Lab: "demo", Format: host.Format, From: `/tmp/my "lab" <1>.yaml`, File: file,
		Chosen: []host.Chosen{
			{Network: "control", Subnet: netip.MustParsePrefix("10.200.1.0/24")},
			{Network: "test", Subnet: netip.MustParsePrefix("10.200.2.0/23")},
		},
		Devices: []host.Found{
			{Node: "client", Network: "test", Address: "0000:3b:00.0", MAC: "52:54:00:00:00:01"},
			{Node: "server", Network: "test", Address: "0000:3b:10.2", PF: "eth0", VF: true, Representor: "eth0_1"},
		},
		Borrowed: []host.Borrowed{
			{PCI: "0000:3b:00.0", Boot: "b", Driver: "igc", Override: "igc", Link: "eth1", Up: true, MTU: 9000, Promisc: true, Addresses: []host.BorrowedAddress{
				{Prefix: "192.0.2.7/24", Broadcast: "192.0.2.255", Label: "eth1:lab", Scope: 1, Flags: 2, Valid: 60, Preferred: 30},
				{Prefix: "192.0.2.8/32", Peer: "192.0.2.9/32"},
			}, Offloads: []string{"rx-gro", "tx-tcp-segmentation"}},
			{Boot: "b", Link: "eth2", MAC: "52:54:00:00:00:02", Quiet: true},
		},
	}
}

func text(t *testing.T, tag host.Tag) string {
	t.Helper()
	x, err := tag.XML()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func sameTag(t *testing.T, want host.Tag, metadata string) {
	t.Helper()
	got, marked, err := host.ReadTag(metadata)
	if err != nil || !marked {
		t.Fatalf("marked %v, %v", marked, err)
	}
	want.XMLName = got.XMLName
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if !got.Equal(want) {
		t.Error("the same mark is not Equal")
	}
}

func TestTagRoundTrip(t *testing.T) {
	const before, after = `<app:x xmlns:app="urn:other"><lab>1</lab></app:x>`, `<y xmlns="urn:third" a="&lt;"/>`
	for name, file := range awkward {
		t.Run(name, func(t *testing.T) {
			tag := tagged(file)
			sameTag(t, tag, before+"\n  "+text(t, tag)+after)
		})
	}
}

func TestTagRoundTripsAnyText(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		// what XML cannot hold, no lab file can hold either
		file := strings.Map(func(c rune) rune {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c >= 0xfffe && c <= 0xffff || c >= 0xd800 && c < 0xe000 {
				return -1
			}
			return c
		}, rapid.String().Draw(r, "file"))
		x, err := host.Tag{Lab: "demo", File: file}.XML()
		if err != nil {
			r.Fatal(err)
		}
		if got, marked, err := host.ReadTag(x); err != nil || !marked || got.File != file {
			r.Fatalf("%q came back as %q (%v, %v)", file, got.File, marked, err)
		}
	})
}

func TestTagThroughLibvirt(t *testing.T) {
	for name, file := range awkward {
		t.Run(name, func(t *testing.T) {
			h, tag := hosttest.New(t), tagged(file)
			d, err := h.DomainDefineXML(domainXML("d", text(t, tag)))
			if err != nil {
				t.Fatal(err)
			}
			domain, err := d.GetXMLDesc(0)
			if err != nil {
				t.Fatal(err)
			}
			sameTag(t, tag, metadata(t, domain))
			n, err := h.NetworkDefineXML(`<network><name>n</name><metadata>` + text(t, tag) + `</metadata><bridge name="b0"/></network>`)
			if err != nil {
				t.Fatal(err)
			}
			network, err := n.GetXMLDesc(0)
			if err != nil {
				t.Fatal(err)
			}
			sameTag(t, tag, metadata(t, network))
		})
	}
}

func domainXML(name, metadata string) string {
	return `<domain type="test"><name>` + name + `</name><metadata>` + metadata +
		`</metadata><memory>1024</memory><os><type>hvm</type></os></domain>`
}

func metadata(t *testing.T, description string) string {
	t.Helper()
	_, rest, ok := strings.Cut(description, "<metadata>")
	inside, _, closed := strings.Cut(rest, "</metadata>")
	if !ok || !closed {
		t.Fatalf("no metadata in\n%s", description)
	}
	return inside
}

func TestReadTagOfOthers(t *testing.T) {
	for name, test := range map[string]struct {
		metadata string
		marked   bool
		wrong    bool
	}{
		"nothing":                 {metadata: ""},
		"text":                    {metadata: "just words"},
		"another program's":       {metadata: `<lab xmlns="urn:other" name="demo"/>`},
		"ours inside another's":   {metadata: `<x xmlns="urn:other"><lab xmlns="urn:labctl:lab:1" name="demo"/></x>`},
		"another element of ours": {metadata: `<other xmlns="urn:labctl:lab:1" name="demo"/>`},
		"cut short inside ours":   {metadata: `<lab xmlns="urn:labctl:lab:1" name="demo"><file>x`, marked: true, wrong: true},
		"cut short in another's":  {metadata: `<x xmlns="urn:other">`, wrong: true},
		"no number":               {metadata: `<lab xmlns="urn:labctl:lab:1" format="two"/>`, marked: true, wrong: true},
		"no subnet":               {metadata: `<lab xmlns="urn:labctl:lab:1" format="1"><chosen subnet="ten"/></lab>`, marked: true, wrong: true},
		"what is not yet known":   {metadata: `<lab xmlns="urn:labctl:lab:1" format="9" name="demo" new="1"><also/></lab>`, marked: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, marked, err := host.ReadTag(test.metadata)
			if marked != test.marked || (err != nil) != test.wrong {
				t.Errorf("marked %v, %v; want %v, an error %v", marked, err, test.marked, test.wrong)
			}
		})
	}
}

func TestTagEqual(t *testing.T) {
	a := tagged("x")
	for name, change := range map[string]func(*host.Tag){
		"lab":    func(t *host.Tag) { t.Lab = "other" },
		"format": func(t *host.Tag) { t.Format++ },
		"file":   func(t *host.Tag) { t.File = "y" },
		"chosen": func(t *host.Tag) { t.Chosen = t.Chosen[:1] },
	} {
		b := tagged("x")
		if change(&b); a.Equal(b) {
			t.Errorf("Equal with another %s", name)
		}
	}
	b := tagged("x")
	if b.From = "elsewhere"; !a.Equal(b) {
		t.Error("where a file came from makes another lab of it")
	}
	if got := a.Subnets()["test"]; got != a.Chosen[1].Subnet {
		t.Errorf("chosen for test: %s", got)
	}
}

// libvirt's own errors, as its test driver gives them.
func TestErrorCodes(t *testing.T) {
	h := hosttest.New(t)
	_, noDomain := h.LookupDomainByName("d")
	_, noNetwork := h.LookupNetworkByName("n")
	_, noInterface := h.LookupInterfaceByName("i")
	for name, err := range map[string]error{"domain": noDomain, "network": noNetwork, "interface": noInterface} {
		if err == nil || !host.Missing(err) || host.Gone(err) != nil || host.Stopped(err) != nil {
			t.Errorf("no %s: %v is not Missing", name, err)
		}
	}
	d, err := h.DomainDefineXML(domainXML("d", ""))
	if err != nil {
		t.Fatal(err)
	}
	off := d.Destroy()
	if off == nil || host.Missing(off) || host.Gone(off) == nil || host.Stopped(off) != nil {
		t.Errorf("stopping what is off: %v is not Stopped alone", off)
	}
	_, bad := h.DomainDefineXML("<domain/>")
	if bad == nil || host.Missing(bad) || host.Gone(bad) == nil || host.Stopped(bad) == nil {
		t.Errorf("another mistake, %v, counts as missing or stopped", bad)
	}
	if host.Missing(nil) || host.Gone(nil) != nil || host.Stopped(nil) != nil {
		t.Error("no error counts as one")
	}
	if err := d.Undefine(); err != nil {
		t.Fatal(err)
	}
	if err := d.Undefine(); !host.Missing(err) {
		t.Errorf("undefining what is gone: %v", err)
	}
}

func TestConnectSaysWhatToDo(t *testing.T) {
	_, err := host.Connect("test:///no/such/node.xml", t.TempDir())
	var unfit host.Unfit
	if !errors.As(err, &unfit) || unfit.Fix == "" || !strings.Contains(err.Error(), "test:///no/such/node.xml") {
		t.Errorf("%T %v", err, err)
	}
}
