package domains

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/topology"
)

func TestAssigned(t *testing.T) {
	for _, n := range passed(t) {
		x, err := Render(n, Boot{}, demoTag())
		must(t, err)
		var want []string
		if pci := n.NICs[0].Host.PCI; pci != "" {
			want = append(want, pci)
		}
		if got := slices.Sorted(maps.Keys(assigned(*x))); !slices.Equal(got, want) {
			t.Errorf("with a %s: %q, want %q", n.NICs[0].Kind, got, want)
		}
	}
	if got := assigned(libvirtxml.Domain{}); len(got) > 0 {
		t.Errorf("of none: %v", got)
	}
}

// A machine that was killed between its restore and its devices is completed with them.
func TestMachineWithoutItsDevice(t *testing.T) {
	for _, n := range passed(t) {
		m := Machine{On: hosttest.New(t), Node: n, Tag: demoTag(), Boot: Boot{Disk: "/d", Console: "/c"}}
		m.Tag.Lab = n.Lab
		pci := n.NICs[0].Host.PCI
		if pci == "" {
			continue
		}
		without := m
		without.Node.NICs = nil
		must(t, without.Create(t.Context()))
		state(t, m, host.Present)
		x, err := Render(n, m.Boot, m.Tag)
		must(t, err)
		text, err := x.Marshal()
		must(t, err)
		if _, err := m.On.DomainDefineXML(text); err != nil { // what runs stays as it is
			t.Fatal(err)
		}
		state(t, m, host.Partial)
		says(t, m.Create(t.Context()), "plug "+pci+" in: ") // the test driver plugs nothing in
	}
}

func TestAreGone(t *testing.T) {
	left := []string{"0000:3b:00.0", "0000:3b:10.2"}
	must(t, areGone(t.Context(), time.Hour, func() ([]string, error) {
		left = left[1:]
		return left, nil
	}))
	stays := func() ([]string, error) { return []string{"0000:3b:00.0"}, nil }
	err := areGone(t.Context(), time.Millisecond, stays)
	var held Held
	if !errors.As(err, &held) || !slices.Equal(held.Devices, []string{"0000:3b:00.0"}) {
		t.Errorf("one that stays: %v", err)
	}
	says(t, err, "has not let go of 0000:3b:00.0 in 30s")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := areGone(ctx, time.Hour, stays); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &held) {
		t.Errorf("when there is no more time: %v", err)
	}
	broken := errors.New("broken")
	if err := areGone(t.Context(), time.Hour, func() ([]string, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestArePassed(t *testing.T) {
	for _, n := range passed(t) {
		c := n.NICs[0]
		bare := Link{Name: "eth1", MAC: c.MAC.String()}
		good := bare
		must(t, json.Unmarshal(fmt.Appendf(nil, `[{"ip-address": %q, "prefix": %d}]`, c.Address.Addr(), c.Address.Bits()), &good.Addresses))
		device := c.Kind != topology.KindMacvtap
		for _, test := range []struct {
			links []Link
			want  bool
		}{{[]Link{good}, true}, {[]Link{bare}, !device}, {nil, !device}} {
			if got := (Machine{Node: n}).arePassed(test.links); got != test.want {
				t.Errorf("with a %s and %+v: %v", c.Kind, test.links, got)
			}
		}
	}
}
