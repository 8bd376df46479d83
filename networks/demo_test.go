package networks

import (
	"context"
	"net/netip"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// demo is a lab with a network of every kind: control (nat), inner (none) and
// test (two sides). Its subnets begin with the prefix, as in "10.7".
func demo(lab, prefix string) topology.Lab {
	control := network(lab, "control", prefix+".1.0/24", topology.UplinkNAT)
	inner := network(lab, "inner", prefix+".3.0/24", topology.UplinkNone)
	test := topology.Network{Lab: lab, Name: "test", Under: topology.UnderWire, MTU: 1500, Wire: &topology.Wire{Network: "test"}}
	for i, side := range []string{"client", "server"} {
		s := segment(lab, "test", prefix+".2.0/24", side)
		test.Segments = append(test.Segments, s)
		test.Wire.Ends[i] = topology.WireEnd{
			Side: side, Bridge: s.Bridge,
			Link: topology.LinkName("wire", lab, "test", side), MAC: topology.MAC("wire", lab, "test", side),
		}
	}
	nic := func(n topology.Network, address string) []topology.NIC {
		return []topology.NIC{{Network: n.Name, Address: netip.MustParsePrefix(address), Gateway: n.Gateway, Bridge: n.Segments[0].Bridge}}
	}
	return topology.Lab{
		Name:     lab,
		Networks: []topology.Network{control, inner, test},
		Nodes: []topology.Node{
			{Lab: lab, Name: "tshark", NICs: nic(control, prefix+".1.42/24"), Publish: []topology.Publish{
				{HostPort: 2222, Port: 22, Protocol: "tcp"},
				{HostPort: 5555, Port: 55, Protocol: "udp"},
			}},
			{Lab: lab, Name: "influxdb", NICs: nic(control, prefix+".1.43/24"), Publish: []topology.Publish{
				{HostAddress: netip.MustParseAddr("192.0.2.1"), HostPort: 8086, Port: 8086, Protocol: "tcp"},
			}},
			{Lab: lab, Name: "store", NICs: nic(inner, prefix+".3.44/24")},
		},
	}
}

// ovsDemo is the demo with Open vSwitch's bridges on the sides of its test network.
func ovsDemo() topology.Lab {
	l := demo("trafic", "10.7")
	test := l.Networks[2]
	for i := range test.Segments {
		test.Segments[i].OVS, test.Wire.Ends[i].OVS = true, true
	}
	return l
}

func network(lab, name, subnet, uplink string) topology.Network {
	p := netip.MustParsePrefix(subnet)
	return topology.Network{
		Lab: lab, Name: name, Gateway: p.Addr().Next(), Uplink: uplink, MTU: 1500,
		Segments: []topology.Segment{segment(lab, name, subnet)},
	}
}

func segment(lab, network, subnet string, side ...string) topology.Segment {
	names := append([]string{network}, side...)
	s := topology.Segment{
		Network: network, Subnet: netip.MustParsePrefix(subnet),
		Object: topology.ObjectName(lab, names...), UUID: topology.UUID("network", lab, names...),
		Bridge: topology.LinkName("bridge", lab, names...), MAC: topology.MAC("bridge", lab, names...), MTU: 1500,
	}
	if len(side) > 0 {
		s.Side = side[0]
	}
	return s
}

// segments are the lab's segments as resources.
func segments(h *host.Host, l topology.Lab, tag host.Tag) []Segment {
	var all []Segment
	for _, n := range l.Networks {
		for _, s := range n.Segments {
			all = append(all, Segment{On: h, Network: n, Segment: s, Tag: tag})
		}
	}
	return all
}

func tagOf(lab string) host.Tag {
	return host.Tag{Lab: lab, Format: host.Format, File: "name: " + lab + "\n"}
}

type resource interface {
	String() string
	State(context.Context) (host.State, error)
	Create(context.Context) error
	Destroy(context.Context) error
}

// contract is what every resource promises.
func contract(t *testing.T, r resource) {
	t.Helper()
	is(t, r, host.Absent)
	must(t, r.Destroy(t.Context())) // nothing there: fine
	is(t, r, host.Absent)
	must(t, r.Create(t.Context()))
	is(t, r, host.Present)
	must(t, r.Create(t.Context())) // already there: fine
	is(t, r, host.Present)
	must(t, r.Destroy(t.Context()))
	is(t, r, host.Absent)
	must(t, r.Destroy(t.Context()))
}

// heals checks that a resource which is there in part is completed.
func heals(t *testing.T, r resource) {
	t.Helper()
	is(t, r, host.Partial)
	must(t, r.Create(t.Context()))
	is(t, r, host.Present)
}

func is(t *testing.T, r resource, want host.State) {
	t.Helper()
	got, err := r.State(t.Context())
	must(t, err)
	if got != want {
		t.Fatalf("%s is %s, want %s", r, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
