package graph

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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
