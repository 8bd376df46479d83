package topology

import (
	"slices"
	"testing"
)

// addressOf is what a name resolves to on a node.
func addressOf(l Lab, node, name string) string {
	n, _ := l.Node(node)
	for _, e := range l.Hosts(n) {
		if slices.Contains(e.Names, name) {
			return e.Address.String()
		}
	}
	return ""
}

func TestHosts(t *testing.T) {
	l := decided(t, `
name: hosts
networks:
  control: {subnet: 10.1.0.0/24}
  far: {subnet: 10.2.0.0/24}
  second: {sides: [a, b], subnet: 10.3.0.0/24}
  third: {sides: [a, b], subnet: 10.4.0.0/24}
nodes:
  client:
    nics:
      - {network: third, side: a, address: 10.4.0.10}
      - {network: control, address: 10.1.0.10}
      - {network: second, side: a, address: 10.3.0.10}
  server:
    nics:
      - {network: third, side: b, address: 10.4.0.11}
      - {network: second, side: b, address: 10.3.0.11}
      - {network: control, address: 10.1.0.11}
  store: {nics: [{network: far, address: 10.2.0.12}, {network: control, address: 10.1.0.12}]}
  island: {nics: [{network: far, address: 10.2.0.13}]}
  capture: {nics: [{network: control, address: 10.1.0.14}, {mirror: only}]}
  only: {nics: [{network: third, side: b, address: 10.4.0.15}]}
`)
	for _, c := range []struct{ on, name, want, why string }{
		{"client", "localhost", "127.0.0.1", "loopback"},
		{"client", "client", "127.0.1.1", "its own name"},
		{"client", "client.second", "10.3.0.10", "its own address on a network"},
		{"client", "client.control", "10.1.0.10", "its own address on a network"},
		{"client", "server", "10.3.0.11", "the first network with sides in the file's order"},
		{"server", "client", "10.3.0.10", "the first network with sides in the file's order"},
		{"client", "server.third", "10.4.0.11", "that network"},
		{"client", "server.control", "10.1.0.11", "that network"},
		{"client", "only", "10.4.0.15", "a network with sides which both are on"},
		{"client", "store", "10.1.0.12", "a plain network which both are on"},
		{"store", "client", "10.1.0.10", "a plain network which both are on"},
		{"store", "island", "10.2.0.13", "a plain network which both are on"},
		{"client", "island", "10.2.0.13", "its first address: they share no network"},
		{"capture", "only", "10.4.0.15", "its first address: a capture NIC is on no network"},
		{"client", "capture", "10.1.0.14", "a plain network which both are on"},
		{"client", "capture.third", "", "a capture NIC has no address"},
	} {
		if got := addressOf(l, c.on, c.name); got != c.want {
			t.Errorf("%s on %s: got %s, want %s: %s", c.name, c.on, got, c.want, c.why)
		}
	}
	for _, n := range l.Nodes {
		var names []string
		for _, e := range l.Hosts(n) {
			names = append(names, e.Names...)
		}
		slices.Sort(names)
		if len(names) != len(slices.Compact(slices.Clone(names))) {
			t.Errorf("%s resolves a name twice: %v", n.Name, names)
		}
		for _, other := range l.Nodes {
			if !slices.Contains(names, other.Name) {
				t.Errorf("%s does not resolve %s", n.Name, other.Name)
			}
		}
	}
}
