package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// sided is a lab of two nodes on one side of a network and one on the other.
func sided(t *testing.T) Build {
	t.Helper()
	return Build{Lab: decided(t, `
name: sided
networks: {control: {subnet: 10.9.1.0/24}, test: {sides: [left, right], subnet: 10.9.2.0/24}}
nodes:
  a: {nics: [{network: control}, {network: test, side: left, address: 10.9.2.10}]}
  b: {nics: [{network: control}, {network: test, side: left, address: 10.9.2.11}]}
  c: {nics: [{network: control}, {network: test, side: right, address: 10.9.2.12}]}
  d: {nics: [{network: control}]}
`)}
}

func TestEndsOfARun(t *testing.T) {
	for _, test := range []struct {
		lab            topology.Lab
		client, server string
		want           string // or what the error says
	}{
		{sided(t).Lab, "", "", "a 10.9.2.10, c 10.9.2.12"},
		{sided(t).Lab, "b", "", "b 10.9.2.11, c 10.9.2.12"},
		{sided(t).Lab, "c", "", "c 10.9.2.12, a 10.9.2.10"},
		{sided(t).Lab, "", "b", "c 10.9.2.12, b 10.9.2.11"},
		{sided(t).Lab, "c", "b", "c 10.9.2.12, b 10.9.2.11"},
		{sided(t).Lab, "a", "b", "between a and b: flows need a client and a server on different sides of one, or beyond nodes that forward; it has a on test/left, b on test/left, c on test/right"},
		{sided(t).Lab, "c", "c", "between c and c"},
		{sided(t).Lab, "d", "", "between d and any other node"},
		{sided(t).Lab, "", "d", "between d and any other node"},
		{sided(t).Lab, "x", "", `lab sided has no node "x"; it has a, b, c, d`},
		{decided(t, plainLab), "", "", "between any two nodes: flows need a client and a server on different sides of one, or beyond nodes that forward; it has no node on a network with sides"},

		{decided(t, sidesLab), "", "", "a 10.9.2.1, x 10.9.2.4"},
		{decided(t, sidesLab), "y", "c", "y 10.9.2.5, c 10.9.2.3"},

		{decided(t, routedLab), "", "", "client 10.9.2.1, server 10.9.3.2"},
		{decided(t, routedLab), "server", "", "server 10.9.3.2, client 10.9.2.1"},
		{decided(t, routedLab), "client", "mid", "between client and mid"},
		{decided(t, routedLab), "mid", "", "between mid and any other node"},

		{decided(t, chainedLab), "", "", "first 10.9.11.1, last 10.9.13.2"},
		{decided(t, chainedLab), "first", "mute", "first 10.9.11.1, mute 10.9.13.3"},
		{decided(t, chainedLab), "last", "", "last 10.9.13.2, first 10.9.11.1"},
		{decided(t, chainedLab), "hop1", "last", "hop1 10.9.12.1, last 10.9.13.2"},
		{decided(t, chainedLab), "first", "hop1", "first 10.9.11.1, hop1 10.9.11.2"},
		{decided(t, chainedLab), "first", "far", "between first and far"},
		{decided(t, chainedLab), "far", "", "far 10.9.14.2, mute 10.9.14.1"},
	} {
		from, to, err := Build{Lab: test.lab}.ends(test.client, test.server)
		got := ""
		if err == nil {
			got = from.node.Name + " " + from.address.String() + ", " + to.node.Name + " " + to.address.String()
		} else if strings.Contains(err.Error(), test.want) {
			got = test.want
		}
		if got != test.want {
			t.Errorf("%s, from %q to %q: %s, %v; want %s", test.lab.Name, test.client, test.server, got, err, test.want)
		}
	}
}

func TestFlowsThatLeadElsewhere(t *testing.T) {
	b := sided(t)
	server, _ := b.Lab.Node("c")
	flow := func(to string) flows.Flow {
		f := flows.Flow{Label: "x", File: "x.yaml", Line: 3}
		f.Client.ServerAddress = to
		return f
	}
	to := end{server, netip.MustParseAddr("10.9.2.12")}
	must(t, b.leadTo([]flows.Flow{flow(""), flow("c"), flow("10.9.2.12")}, to))
	err := b.leadTo([]flows.Flow{flow("c"), flow("a"), flow("10.9.1.4")}, to)
	if !errors.As(err, new(topology.Problems)) || strings.Count(err.Error(), "x.yaml:3: flow x: server-address is") != 2 || !strings.Contains(err.Error(), "the server is c (10.9.2.12)") {
		t.Errorf("%v", err)
	}
}

// Two runs of one second do not meet.
func TestFoldersOfRuns(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []string{"sided-20261124T201500Z", "sided-20261124T201500Z.2"} {
		r := &running{Build: sided(t), RunWanted: RunWanted{Dir: dir, Texts: map[string][]byte{"x.yaml": []byte("label: x\n")}}}
		r.run.Manifest.Began = time.Date(2026, 11, 24, 20, 15, 0, 0, time.UTC)
		must(t, r.folder())
		if r.run.Manifest.ID != want || r.run.Dir != filepath.Join(dir, want) {
			t.Errorf("it is %s in %s", r.run.Manifest.ID, r.run.Dir)
		}
		if text, err := os.ReadFile(filepath.Join(r.run.Dir, "flows", "x.yaml")); string(text) != "label: x\n" {
			t.Errorf("its flow file holds %q, %v", text, err)
		}
	}
}

func TestJudgeOfARun(t *testing.T) {
	whole := flows.Account{Node: "tap", Mirrored: flows.Frames{Frames: 10_000}, Written: flows.Frames{Frames: 9_995}, Drops: flows.Drops{Kernel: 5}}
	lossy := whole
	lossy.Written.Frames, lossy.Drops.Kernel = 9_900, 100
	broken := flows.Account{Node: "tap", Failed: "the disk is full"}
	good, bad := flows.Result{Label: "x"}, flows.Result{Label: "y", Failed: "busy"}
	far := []flows.Offset{{Node: "a"}, {Node: "b", Milli: 5, Uncertainty: 0.1}}
	for name, test := range map[string]struct {
		err      error
		captures []flows.Account
		results  []flows.Result
		offsets  []flows.Offset
		state    string
		trusted  bool
		wrong    string
	}{
		"all is well":     {nil, []flows.Account{whole}, []flows.Result{good}, nil, flows.Done, true, ""},
		"no capture":      {nil, nil, []flows.Result{good}, nil, flows.Done, true, ""},
		"a flow failed":   {nil, nil, []flows.Result{good, bad}, nil, flows.Failed, false, "1 of 2 starts of flows failed"},
		"frames missing":  {nil, []flows.Account{lossy}, []flows.Result{good}, nil, flows.Done, false, "lacks 100 of 10000 frames, more than 0.1 %: 100 dropped by its kernel"},
		"capture broken":  {nil, []flows.Account{broken}, []flows.Result{good}, nil, flows.Failed, false, "the disk is full"},
		"it broke off":    {errors.New("lost"), nil, []flows.Result{good}, nil, flows.Failed, false, ""},
		"clocks are told": {nil, nil, []flows.Result{good}, far, flows.Done, true, "more than 1 ms"},
	} {
		r := &running{RunWanted: RunWanted{Most: 0.001}}
		m := &r.run.Manifest
		m.Captures, m.After, r.run.Results = test.captures, test.offsets, test.results
		m.State = r.state(t.Context(), test.err)
		r.judge()
		if m.State != test.state || m.Trusted != test.trusted || !strings.Contains(strings.Join(m.Wrong, "\n"), test.wrong) || (test.wrong == "") != (len(m.Wrong) == 0) {
			t.Errorf("%s: %s, trusted %v: %q", name, m.State, m.Trusted, m.Wrong)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s := (&running{}).state(ctx, context.Canceled); s != flows.Interrupted {
		t.Errorf("an interrupted run is %s", s)
	}
}

func TestAccountOfACapture(t *testing.T) {
	both := func(frames, bytes, failed uint64) networks.Copied {
		return networks.Copied{Frames: frames, Bytes: bytes, Failed: failed}
	}
	c := runCapture{before: counted{
		source: flows.Frames{Frames: 100, Bytes: 1000}, received: flows.Frames{Frames: 50, Bytes: 500}, dropped: 1,
		mirror: networks.Counters{Sent: both(1<<32-1, 10, 0), Received: both(5, 20, 0), Dropped: 3},
	}}
	c.account(counted{
		source: flows.Frames{Frames: 130, Bytes: 4000}, received: flows.Frames{Frames: 70, Bytes: 1500}, dropped: 3,
		mirror: networks.Counters{Sent: both(9, 110, 7), Received: both(25, 1020, 0), Dropped: 8},
	})
	want := flows.Account{
		AtNIC: flows.Frames{Frames: 30, Bytes: 3000}, Mirrored: flows.Frames{Frames: 30, Bytes: 1100}, Received: flows.Frames{Frames: 20, Bytes: 1000},
		Drops: flows.Drops{Mirror: 2, Tap: 5, NIC: 2},
	}
	if d := cmp.Diff(want, c.Account); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
