package graph

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/gonum/graph/formats/dot"
	"gonum.org/v1/gonum/graph/formats/dot/ast"

	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

// labs are those drawn in golden files.
var labs = map[string]string{
	"default": "",
	"router": `
name: router
networks:
  control: {subnet: 10.9.1.0/24}
  test:
    sides: [client, server]
    under-test: "node:mid"
    subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}
    impair: {client->server: {delay: 20ms, loss: 1%}}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  mid: {nics: [{network: control}, {network: test, side: server}, {network: test, side: client}]}
  server: {nics: [{network: control}, {network: test, side: server}]}
  capture: {nics: [{network: control}, {mirror: {from: mid, side: client}}]}
  idle: {nics: [{network: control}]}
`,
	"chain": `
name: chain
networks:
  control: {subnet: 10.9.1.0/24}
  one: {sides: [a, b], subnet: 10.9.11.0/24}
  two: {sides: [a, b], subnet: 10.9.12.0/24}
  three: {sides: [a, b], subnet: 10.9.13.0/24}
  aside: {sides: [a, b], subnet: 10.9.14.0/24}
nodes:
  first: {nics: [{network: control}, {network: one, side: a}]}
  hop1: {forward: true, nics: [{network: control}, {network: one, side: b}, {network: two, side: a}]}
  hop2: {forward: true, nics: [{network: control}, {network: two, side: b}, {network: three, side: a}]}
  last: {nics: [{network: three, side: b}, {network: control}]}
  mute: {nics: [{network: one, side: b}, {network: aside, side: a}]}
  far: {nics: [{network: aside, side: b}]}
  capture: {nics: [{network: control}, {mirror: {from: hop1, network: two}}]}
`,
	"site": `
name: site
networks:
  site: {uplink: "bridge:br0", subnet: 192.0.2.0/24, gateway: 192.0.2.254}
  open: {subnet: 10.9.8.0/24}
  alone: {uplink: none, subnet: 10.9.9.0/24, mtu: 9000}
  test: {sides: [a, b], subnet: 10.9.1.0/24, under-test: external, uplinks: {a: "bridge:br1", b: eth7}}
nodes:
  one: {nics: [{network: site, address: 192.0.2.10}, {network: test, side: a}]}
  two: {nics: [{network: site, address: 192.0.2.1}, {network: test, side: b}, {network: open}], publish: ["127.0.0.1:5201:5201/udp"]}
`,
	"passthrough": `
name: passthrough
networks:
  control: {subnet: 10.9.1.0/24}
  test:
    sides: [left, right]
    subnet: 10.9.2.0/24
    uplinks: {left: eth1}
    impair:
      left->right: {profile: transcontinental-up, jitter: 2ms, aqm: fq_codel}
      right->left: {delay: 76ms, loss: 0.025%, loss-burst: "5"}
  second: {sides: [left, right], subnet: 10.9.3.0/24, uplinks: {left: eth2}}
nodes:
  sink: {nics: [{network: control}, {mirror: {from: client, network: test, port: eth9}}]}
  client:
    nics:
      - {network: control}
      - {network: test, side: left, passthrough: "0000:3b:00.0"}
      - {network: second, side: left, passthrough: {pf: eth0, vlan: 42}}
  peer: {nics: [{network: second, side: right, passthrough: {macvtap: eth5}}, {network: control}]}
  server: {nics: [{network: control}, {network: test, side: right}]}
`,
}

// decided is a lab as its file alone decides it.
func decided(tb testing.TB, src string) topology.Lab {
	tb.Helper()
	name, text := "lab.yaml", []byte(src)
	if src == "" {
		name, text = topology.Default()
	}
	f, err := topology.Load(name, text, topology.Known{})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// golden compares a drawing with its file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: go test -update writes it anew (-want +got)\n%s", file, d)
	}
}

func TestText(t *testing.T) {
	for name, src := range labs {
		t.Run(name, func(t *testing.T) { golden(t, name+".txt", Of(decided(t, src), "lab.yaml", nil).Text(80, true)) })
	}
}

func TestSVG(t *testing.T) {
	for name, src := range labs {
		t.Run(name, func(t *testing.T) { golden(t, name+".svg", Of(decided(t, src), "lab.yaml", nil).SVG()) })
	}
}

func TestDOT(t *testing.T) {
	for name, src := range labs {
		t.Run(name, func(t *testing.T) { golden(t, name+".dot", Of(decided(t, src), "lab.yaml", nil).DOT()) })
	}
}

func TestMermaid(t *testing.T) {
	for name, src := range labs {
		t.Run(name, func(t *testing.T) { golden(t, name+".mmd", Of(decided(t, src), "lab.yaml", nil).Mermaid()) })
	}
}

// hostile are texts that mean something to some reader of a drawing.
var hostile = []string{
	`"`, `\`, `\"`, `\N`, "]", `"]`, `"]; n0 -- n0; x["`, "end", "a\nb", "a\r\nb", "\x1b]0;x\x07", "\u009b31m", "\u202e", "\x00", "\xff",
	"</text><script>alert(1)</script>", "]]>", "<!--", "-->", "&lt;", "&", "#quot;", "#34;", "%%{init: {}}%%", "click n0 href", "|", "`", "{{.}}", "javascript:alert(1)",
	"</style>", "</title>", "'onload='alert(1)", strings.Repeat("a ", 300), strings.Repeat("a", 300), "長い", "│└",
}

// labWith is a lab all of whose texts are one, live and with all there can be.
func labWith(text string) Lab {
	nic := func(network, side string, copied bool) NIC {
		return NIC{Network: network, Side: side, Lines: []string{text, text}, Copy: copied}
	}
	return Lab{
		Name: text, From: text, State: text,
		Nodes: []Node{
			{Name: text, Role: text, State: text, Lines: []string{text}, NICs: []NIC{nic("p"+text, "", false), nic("t"+text, "a"+text, false)}},
			{Name: "2" + text, Role: text, State: text, Lines: []string{text}, NICs: []NIC{nic("t"+text, "b"+text, false), nic("t"+text, "a"+text, true)}},
		},
		Networks: []Network{
			{Name: "p" + text, Segments: []Segment{{Text: text, Host: text}}},
			{Name: "t" + text, Under: topology.UnderWire, Lines: []string{text, text}, Segments: []Segment{{Side: "a" + text, Text: text}, {Side: "b" + text, Text: text}}},
		},
		Copies: []Copy{{From: text, To: "2" + text, Network: "t" + text, Side: "a" + text, Lines: []string{text}}},
		Ports:  []Port{{text, text}},
	}
}

// TestHostileTexts: whatever stands in a lab's texts, a drawing has the same parts as of plain ones.
func TestHostileTexts(t *testing.T) {
	for name, parts := range map[string]func(*testing.T, Lab) string{"svg": svgParts, "dot": dotParts, "mermaid": mermaidParts} {
		want := parts(t, labWith("plain"))
		for _, text := range hostile {
			t.Run(fmt.Sprintf("%s %.20q", name, text), func(t *testing.T) {
				if d := cmp.Diff(want, parts(t, labWith(text))); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
			})
		}
	}
}

// svgParts are the elements of an SVG with the names of their attributes; titles of texts that were cut do not count.
func svgParts(t *testing.T, l Lab) string {
	t.Helper()
	var b strings.Builder
	depth := 0
	for d := xml.NewDecoder(strings.NewReader(l.SVG())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth++; depth > 2 && token.Name.Local == "title" {
				continue
			}
			b.WriteString("<" + token.Name.Local)
			for _, a := range token.Attr {
				b.WriteString(" " + a.Name.Local)
			}
			b.WriteString(">")
		case xml.EndElement:
			depth--
		case xml.Comment, xml.Directive:
			t.Errorf("there is %q", token)
		}
	}
}

// dotParts are the statements of a text in Graphviz's language, each with its things and attributes.
func dotParts(t *testing.T, l Lab) string {
	t.Helper()
	f, err := dot.ParseString(l.DOT())
	if err != nil {
		t.Fatalf("%v in\n%s", err, l.DOT())
	}
	var b strings.Builder
	for _, g := range f.Graphs {
		for _, s := range g.Stmts {
			switch s := s.(type) {
			case *ast.NodeStmt:
				fmt.Fprintf(&b, "%s %d\n", s.Node.ID, len(s.Attrs))
			case *ast.EdgeStmt:
				fmt.Fprintf(&b, "%s %s %d\n", s.From, s.To.Vertex, len(s.Attrs))
			default:
				fmt.Fprintf(&b, "%T\n", s)
			}
		}
	}
	return b.String()
}

// A line of a flowchart: its head, a thing, or what joins two.
var mermaidLine = regexp.MustCompile(`^(?:flowchart TB|  accTitle: TEXT|  (\w+)(?:\["TEXT"\]|\(\["TEXT"\]\))|  (\w+) (?:---|===|-\.->)\|"TEXT"\| (\w+))$`)

// mermaidParts are the lines of a flowchart without their texts.
func mermaidParts(t *testing.T, l Lab) string {
	t.Helper()
	const text = `(?:[a-zA-Z0-9 .,:/-]|#[0-9]+;|<br/>)*`
	line := regexp.MustCompile(strings.ReplaceAll(mermaidLine.String(), "TEXT", text))
	out := regexp.MustCompile(`"[^"]*"|: .*`)
	var b strings.Builder
	for _, s := range strings.Split(strings.TrimSuffix(l.Mermaid(), "\n"), "\n") {
		if !line.MatchString(s) {
			t.Errorf("the line %q", s)
		}
		b.WriteString(out.ReplaceAllString(s, "") + "\n")
	}
	return b.String()
}

// TestHostileTextOnATerminal: nothing orders it, and without UTF-8 all is ASCII.
func TestHostileTextOnATerminal(t *testing.T) {
	for _, text := range hostile {
		for _, unicode := range []bool{true, false} {
			for _, r := range labWith(text).Text(80, unicode) {
				if r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || !unicode && r >= 0x80) {
					t.Errorf("%.20q: %q reaches the terminal", text, r)
				}
			}
		}
	}
}

// TestTextFits: a lab is no wider than the terminal as long as there is room for words.
func TestTextFits(t *testing.T) {
	for name, src := range labs {
		for _, width := range []int{56, 64, 72, 80, 200} {
			for _, unicode := range []bool{true, false} {
				for _, line := range strings.Split(Of(decided(t, src), "lab.yaml", nil).Text(width, unicode), "\n") {
					if n := utf8.RuneCountInString(line); n > width {
						t.Errorf("%s on %d columns has a line of %d: %s", name, width, n, line)
					}
				}
			}
		}
	}
}

// TestASCII: what passes a line is told from what joins it.
func TestASCII(t *testing.T) {
	golden(t, "default-ascii.txt", Of(decided(t, ""), "lab.yaml", nil).Text(80, false))
}

// up is what may be seen of the built-in lab when that is up.
var up = &Live{
	State: "partial",
	Nodes: map[string]string{"iperf-client": "ready", "iperf-server": "off", "tshark": "not ready"},
	NICs: map[Place]NICLive{
		{Node: "iperf-client", Network: "test", Side: "client"}: {State: "up", Counted: true, Sent: 12, Received: 34},
		{Node: "iperf-server", Network: "test", Side: "server"}: {State: "absent"},
		{Node: "tshark", Network: "test", Copy: true}:           {State: "up", Counted: true, Received: 46},
	},
	Segments: map[Place]string{{Network: "test", Side: "server"}: "absent"},
	Mirrors:  map[string]Mirrored{"iperf-client": {Counted: true, Copied: 46, Dropped: 1}},

	Impairments: map[string]string{"test/client->server": "rate 2mbit, queue 32.0KiB fifo"},
}

func TestLive(t *testing.T) {
	l := Of(decided(t, ""), "lab.yaml", up)
	golden(t, "live.txt", l.Text(80, true))
	golden(t, "live.svg", l.SVG())
	for _, want := range []string{"lab trafic is partial", "iperf-server (off)", "12 frames sent", "46 frames copied, 1 dropped", "10.7.2.0/24, absent", "client: none", "rate 2mbit, queue 32.0KiB fifo"} {
		for name, drawing := range map[string]string{"SVG": l.SVG(), "DOT": l.DOT()} {
			if !strings.Contains(drawing, want) {
				t.Errorf("no %q in %s", want, name)
			}
		}
	}
}

// TestInline: a drawing in a page names nothing elsewhere, and has ids of its own.
func TestInline(t *testing.T) {
	page := string(Of(decided(t, ""), "lab.yaml", nil).Inline("lab-7"))
	if strings.Contains(page, "http") || strings.Contains(page, "<?xml") || !strings.HasPrefix(page, "<svg ") {
		t.Errorf("%.200s", page)
	}
	for _, id := range regexp.MustCompile(`(?: id="|aria-labelledby="|url\(#)([^")]*)`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(id[1], "lab-7-") {
			t.Errorf("the id %q", id[1])
		}
	}
}
