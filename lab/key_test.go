package lab

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab/kept"
	"github.com/mami-project/labctl/topology"
)

// What a ready state depends on gives another key, and by its own name; nothing else does.
func TestInputs(t *testing.T) {
	const of = "iperf-client"
	for name, test := range map[string]struct {
		change func(t *testing.T, b *Build, n *topology.Node)
		want   []string // inputs that differ
	}{
		"nothing":    {func(*testing.T, *Build, *topology.Node) {}, nil},
		"where from": {func(_ *testing.T, b *Build, _ *topology.Node) { b.From, b.Tag.From, b.Tag.File = "x", "x", "# x" }, nil},
		"memory":     {func(_ *testing.T, _ *Build, n *topology.Node) { n.MemoryMiB++ }, []string{"the machine of " + of}},
		"the disk":   {func(_ *testing.T, _ *Build, n *topology.Node) { n.DiskBytes++ }, []string{"the machine of " + of}},
		"a service":  {func(_ *testing.T, _ *Build, n *topology.Node) { n.Services = []string{"nginx"} }, []string{"the files of " + of}},
		"the MAC": {func(_ *testing.T, _ *Build, n *topology.Node) {
			n.NICs = slices.Clone(n.NICs)
			n.NICs[1].MAC = slices.Clone(n.NICs[1].MAC)
			n.NICs[1].MAC[5]++
		}, []string{"the files of " + of, "the machine of " + of}},
		"the emulation": {func(_ *testing.T, b *Build, _ *topology.Node) { b.Accel = topology.AccelKVM }, []string{"accelerator", "the machine of influxdb", "the machine of " + of, "the machine of iperf-server", "the machine of tshark"}},
		"the image": {func(_ *testing.T, b *Build, _ *topology.Node) {
			base := b.Bases[of]
			base.Digest = "other"
			b.Bases[of] = base
		}, []string{"the image of " + of}},
		"the keys": {func(t *testing.T, b *Build, _ *topology.Node) {
			must(t, os.Remove(b.keys().Dir+"/host-"+of))
			must(t, b.keys().Create(t.Context()))
		}, []string{"the files of " + of, "the files of tshark"}}, // which knows the keys of those that it logs into
	} {
		t.Run(name, func(t *testing.T) {
			b := configuredBy(t, images.ConfigureDisk)
			b.Accel = topology.AccelTCG
			was, err := b.inputs(b.keys())
			must(t, err)
			b.Lab.Nodes = slices.Clone(b.Lab.Nodes)
			b.Bases = maps.Clone(b.Bases)
			for _, name := range []string{"format", "libvirt", "QEMU", "the host's processor"} {
				if was[name] == "" {
					t.Errorf("the ready state does not depend on %s", name)
				}
			}
			test.change(t, &b, &b.Lab.Nodes[0])
			is, err := b.inputs(b.keys())
			must(t, err)
			var differ []string
			for _, name := range slices.Sorted(maps.Keys(is)) {
				if was[name] != is[name] {
					differ = append(differ, name)
				}
			}
			if !slices.Equal(differ, test.want) {
				t.Errorf("%q differ, want %q", differ, test.want)
			}
			if same := keyOf(was) == keyOf(is); same != (len(test.want) == 0) {
				t.Errorf("the same key: %v", same)
			}
		})
	}
}

func TestSumOf(t *testing.T) {
	if sumOf("ab", "c") == sumOf("a", "bc") || sumOf("a") == sumOf("a", "") {
		t.Error("texts that are cut otherwise have one sum")
	}
}

// Only nodes that are all made from nothing go on from what is kept.
func TestFresh(t *testing.T) {
	b := configuredBy(t, images.ConfigureDisk)
	steps := func(disk, machine host.State) Plan {
		p := Plan{Stages: [][]Step{nil, nil, nil}}
		for i, n := range b.Lab.Nodes {
			d, m := host.Absent, host.Absent
			if i == 2 {
				d, m = disk, machine
			}
			p.Stages[1] = append(p.Stages[1], Step{images.Disk{Node: n.Name}, d})
			p.Stages[2] = append(p.Stages[2], Step{domains.Machine{Node: n}, m})
		}
		return p
	}
	for _, test := range []struct {
		disk, machine host.State
		want          bool
	}{
		{host.Absent, host.Absent, true},
		{host.Present, host.Absent, false},
		{host.Present, host.Partial, false},
		{host.Present, host.Present, false},
	} {
		if got := b.fresh(steps(test.disk, test.machine)); got != test.want {
			t.Errorf("a node's disk %v and machine %v: %v", test.disk, test.machine, got)
		}
	}
}

func TestGoingBack(t *testing.T) {
	b := configuredBy(t, images.ConfigureDisk)
	for _, test := range []struct {
		nodes, keep []string
		want        string
		err         string
	}{
		{nil, nil, "iperf-client iperf-server tshark influxdb", ""},
		{nil, []string{"influxdb"}, "iperf-client iperf-server tshark", ""},
		{[]string{"tshark", "iperf-client"}, []string{"tshark"}, "iperf-client", ""},
		{[]string{"tshark"}, []string{"tshark"}, "", "no node is left"},
		{[]string{"thsark"}, nil, "", `no node "thsark"`},
		{nil, []string{"thsark"}, "", `no node "thsark"`},
	} {
		nodes, err := b.goingBack(ResetWanted{Nodes: test.nodes, Keep: test.keep})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
		} else if err != nil || strings.Join(nodeNames(nodes), " ") != test.want {
			t.Errorf("%v but %v: %q, %v", test.nodes, test.keep, nodeNames(nodes), err)
		}
	}
}

// keepOne keeps a state of a lab's that is of one node, with so much memory (bytes).
func keepOne(t *testing.T, b Build, lab, node string, memory int) kept.State {
	t.Helper()
	d, err := b.kept().Begin(lab, "k", nil)
	must(t, err)
	must(t, os.WriteFile(d.Memory(node), make([]byte, memory), 0o600))
	must(t, os.WriteFile(d.Disk(node), nil, 0o600))
	d.Saved(node)
	must(t, d.Sum(t.Context()))
	state, err := d.Keep()
	must(t, err)
	return state
}

// Who interrupts the reading of a ready state is not told that it is spoilt, nor do nodes boot then.
func TestGoesBackIsInterrupted(t *testing.T) {
	b := configuredBy(t, images.ConfigureDisk)
	node := b.Lab.Nodes[0]
	b.Made.Start = &Start{State: keepOne(t, b, b.Lab.Name, node.Name, 5).Key}
	must(t, b.goesBack(t.Context(), []topology.Node{node}, false, deaf))
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted)
	for _, boot := range []bool{false, true} {
		if err := b.goesBack(ctx, []topology.Node{node}, boot, deaf); !errors.Is(err, interrupted) || errors.As(err, new(NotKept)) {
			t.Errorf("boot %v: %v", boot, err)
		}
	}
}

// What is kept of labs that are on the host stays, and what another labctl works on.
func TestPruneStates(t *testing.T) {
	b := configuredBy(t, images.ConfigureDisk)
	held, err := lock(t.Context(), "busy", "test", deaf)
	must(t, err)
	defer held()
	for _, name := range []string{b.Lab.Name, "busy", "gone"} {
		keepOne(t, b, name, "n", 5)
	}
	removed, err := PruneStates(t.Context(), b.On.Dir)
	must(t, err)
	if len(removed) != 1 || removed["gone"] < 5 {
		t.Errorf("removed: %v", removed)
	}
	left, err := b.kept().Labs()
	must(t, err)
	if len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// States that were not used for longest make room, but for those of labs on the host.
func TestMakeRoom(t *testing.T) {
	b := configuredBy(t, images.ConfigureDisk)
	must(t, os.MkdirAll(b.On.LabDir("up"), 0o711))
	for _, name := range []string{"up", "old", "young", b.Lab.Name} {
		if state := keepOne(t, b, name, "n", 1<<20); name == b.Lab.Name {
			b.State = state
		}
	}
	is := func(want ...string) {
		t.Helper()
		labs, err := b.kept().Labs()
		must(t, err)
		if got := slices.Sorted(maps.Keys(labs)); !slices.Equal(got, want) {
			t.Errorf("kept is of %q, want %q", got, want)
		}
	}
	must(t, b.makeRoom(t.Context(), 5<<20, deaf))
	is("old", b.Lab.Name, "up", "young")
	must(t, b.makeRoom(t.Context(), 4<<20, deaf)) // manifests take a little, too
	is(b.Lab.Name, "up", "young")
	if err := b.makeRoom(t.Context(), 2<<20, deaf); err == nil || !strings.Contains(err.Error(), "--state-limit") {
		t.Error(err)
	}
	is(b.Lab.Name, "up")
}
