package lab

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

func named(text, name string) string {
	return strings.Replace(text, "\nname: ", "\nname: "+name+" # ", 1)
}

func TestOpen(t *testing.T) {
	h := newHost(t)
	var unknown Unknown
	if _, err := Open(h, "plain"); !errors.As(err, &unknown) || len(unknown.Others) > 0 || !strings.Contains(err.Error(), "nor is any other") {
		t.Errorf("%v before there is a lab", err)
	}
	if _, err := Only(h); !errors.As(err, new(None)) {
		t.Errorf("%v before there is a lab", err)
	}
	b := prepare(t, h, plainLab)
	put(t, b)
	got, err := Open(h, "plain")
	must(t, err)
	if d := topology.Differences(b.Lab, got.Lab); len(d) > 0 || !got.Tag.Equal(b.Tag) || got.Accel != b.Accel {
		t.Errorf("another lab was opened: %v, %+v", d, got)
	}
	if name, err := Only(h); name != "plain" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	must(t, os.MkdirAll(h.LabDir("cut-short"), 0o711))
	var several Several
	if _, err := Only(h); !errors.As(err, &several) || strings.Join(several.Labs, " ") != "cut-short plain" {
		t.Errorf("%v", err)
	}
	if _, err := Open(h, "other"); !errors.As(err, &unknown) || err.Error() != "lab other is not on this host; there are: cut-short, plain" {
		t.Errorf("%v", err)
	}
}

// How a lab runs is what its machines say, not what the host could do now.
func TestOpenAsItRuns(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	b.Accel = topology.AccelKVM
	put(t, b)
	if got, err := Open(h, "plain"); err != nil || got.Accel != topology.AccelKVM {
		t.Errorf("%s, %v", got.Accel, err)
	}
}

func TestOpenOfANewerLabctl(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	b.Tag.Format = host.Format + 1
	put(t, b)
	if _, err := Open(h, "plain"); err == nil || !strings.Contains(err.Error(), "newer labctl (format 2, this one knows 1)") {
		t.Errorf("%v", err)
	}
}

func TestMachineOfThatName(t *testing.T) {
	b := Build{On: newHost(t), Lab: loadDefault(t)}
	m, err := b.Machine("tshark")
	if err != nil || m.Node.Name != "tshark" || !strings.Contains(m.Hosts(), "127.0.1.1 tshark") {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := b.Machine("thsark"); err == nil || !strings.Contains(err.Error(), "iperf-client, iperf-server, tshark, influxdb") {
		t.Errorf("%v does not name the nodes", err)
	}
}

func TestLook(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	put(t, b)
	stray := Build{On: h, Lab: decided(t, strings.Replace(plainLab, "  two:", "  three:", 1)), Tag: b.Tag}
	must(t, stray.Machines()[1].Create(t.Context()))
	must(t, b.Machines()[1].Destroy(t.Context()))
	s, err := b.Look(t.Context())
	must(t, err)
	if s.Name != "plain" || s.State != Part || cmp.Diff([]string{"machine/three"}, s.Strays) != "" {
		t.Errorf("%s is %s, with strays %v", s.Name, s.State, s.Strays)
	}
	one, two := s.Nodes[0], s.Nodes[1]
	if one.Domain != "labctl.plain.one" || one.State != "present" || one.Ready || one.Accelerator != topology.AccelTCG || two.State != "absent" {
		t.Errorf("%+v\n%+v", one, two)
	}
	if d := cmp.Diff([]NICStatus{{
		Network: "control", MAC: b.Lab.Nodes[0].NICs[0].MAC.String(), Address: "10.9.1.10/24", Link: b.Lab.Nodes[0].NICs[0].Link,
		Kind: "virtio", Offloads: true, MTU: 1500, HostState: "absent",
	}}, one.NICs); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	n := s.Networks[0]
	if n.Subnet != "10.9.1.0/24" || n.Gateway != "10.9.1.1" || n.Segments[0].Object != "labctl.plain.control" || n.Segments[0].State != "present" {
		t.Errorf("%+v", n)
	}
	p := s.Provenance
	if p.File != "lab.yaml" || p.HostKernel == "" || p.Libvirt == "" || p.Labctl == "" || p.Images == nil {
		t.Errorf("%+v", p)
	}
	gone, err := Build{On: newHost(t), Lab: b.Lab, Tag: b.Tag}.Look(t.Context())
	if err != nil || gone.State != Nought {
		t.Errorf("%s, %v on an empty host", gone.State, err)
	}
}

func TestDotted(t *testing.T) {
	if got := dotted(9_001_022); got != "9.1.22" {
		t.Error(got)
	}
}
