package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

func defaultBuild(t *testing.T) lab.Build {
	t.Helper()
	f, err := load(topology.Default())
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return lab.Build{On: &host.Host{Dir: "/dir"}, Lab: l, Accel: topology.AccelTCG}
}

func TestScpArguments(t *testing.T) {
	for name, test := range map[string]struct {
		paths []string
		want  []string // behind the options; nil where it is a mistake
	}{
		"to a node":            {[]string{"a", "b", "tshark:/tmp"}, []string{"a", "b", "root@10.7.1.42:/tmp"}},
		"from a node":          {[]string{"tshark:a", "tshark:b", "."}, []string{"root@10.7.1.42:a", "root@10.7.1.42:b", "."}},
		"a file with a colon":  {[]string{"./a:b", "tshark:c:d"}, []string{"./a:b", "root@10.7.1.42:c:d"}},
		"between nodes":        {[]string{"tshark:a", "influxdb:b"}, nil},
		"in no node":           {[]string{"a", "b"}, nil},
		"in a node not there":  {[]string{"a", "nope:b"}, nil},
		"a name like a flag's": {[]string{"-r", "tshark:a"}, []string{"-r", "root@10.7.1.42:a"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := scpArguments(defaultBuild(t), test.paths)
			if (err != nil) != (test.want == nil) {
				t.Fatalf("%v", err)
			}
			if err != nil {
				return
			}
			options, paths, found := cutAt(got, "--")
			if !found || !strings.Contains(strings.Join(options, " "), "HostKeyAlias=tshark") {
				t.Errorf("options %q", options)
			}
			if d := cmp.Diff(test.want, paths); d != "" {
				t.Errorf("(-want got)\n%s", d)
			}
		})
	}
}

func cutAt(all []string, at string) (before, after []string, found bool) {
	for i, s := range all {
		if s == at {
			return all[:i], all[i+1:], true
		}
	}
	return all, nil, false
}

func TestIsFile(t *testing.T) {
	for argument, want := range map[string]bool{"trafic": false, "lab.yaml": true, "./trafic": true, "a/b": true, "yaml": false, "x.yml": false} {
		if got := isFile(argument); got != want {
			t.Errorf("%s: %v", argument, got)
		}
	}
}

func TestPrintReach(t *testing.T) {
	var b strings.Builder
	if err := printReach(&b, defaultBuild(t), lab.Proof{}); err != nil {
		t.Fatal(err)
	}
	const want = `lab trafic is ready (tcg): no network with sides has a node on both: no data path to prove

iperf-client  control 10.7.1.40  test/client 10.7.2.40
iperf-server  control 10.7.1.41  test/server 10.7.2.41
tshark        control 10.7.1.42  copy of iperf-client on test
influxdb      control 10.7.1.43

labctl ssh iperf-client
port 2222/tcp of this host leads to tshark's 22
port 8086/tcp of this host leads to influxdb's 8086
labctl down trafic
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want got)\n%s", d)
	}
}

// routed is the build of a lab of two networks with sides: one whose sides a node joins, and one with a wire.
func routed(t *testing.T) lab.Build {
	t.Helper()
	f, err := load("routed.yaml", []byte(`
name: routed
networks:
  control: {subnet: 10.9.1.0/24}
  test: {sides: [client, server], under-test: "node:router", subnets: {client: 10.9.2.0/24, server: 10.9.3.0/24}}
  beyond: {sides: [near, far], subnet: 10.9.4.0/24}
nodes:
  client: {nics: [{network: control}, {network: test, side: client}]}
  router: {nics: [{network: test, side: client}, {network: test, side: server}]}
  hop: {forward: true, nics: [{network: test, side: server}, {network: beyond, side: near}]}
  server: {nics: [{network: beyond, side: far}]}
  tap: {nics: [{network: control}, {mirror: {from: router, side: server}}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return lab.Build{On: &host.Host{Dir: "/dir"}, Lab: l, Accel: topology.AccelTCG}
}

// Where sides are not as one network, it is told what is on each and between them.
func TestPrintReachOfRouted(t *testing.T) {
	var b strings.Builder
	if err := printReach(&b, routed(t), lab.Proof{}); err != nil {
		t.Fatal(err)
	}
	const want = `lab routed is ready (tcg): no network with sides has a node on both: no data path to prove

client  control 10.9.1.2      test/client 10.9.2.1
router  test/client 10.9.2.2  test/server 10.9.3.1
hop     test/server 10.9.3.2  beyond/near 10.9.4.1
server  beyond/far 10.9.4.2
tap     control 10.9.1.3  copy of router on test/server

test: client 10.9.2.0/24, server 10.9.3.0/24, joined by node router

labctl ssh client
labctl down routed
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want got)\n%s", d)
	}
}

func TestPrintStatus(t *testing.T) {
	var b strings.Builder
	err := printStatus(&b, routed(t).Lab.Networks, lab.Status{
		Name: "demo", State: lab.Part, Provenance: lab.Provenance{Accelerator: "tcg"},
		Nodes: []lab.NodeStatus{
			{Name: "one", State: "present", Ready: true, NICs: []lab.NICStatus{
				{Network: "control", Address: "10.9.1.2/24"}, {Network: "test", Side: "a", Address: "10.9.2.2/24", Kind: "virtio"},
			}},
			{Name: "tap", State: "absent", NICs: []lab.NICStatus{{Network: "test", Mirror: "one"}}},
		},
		Mirror:    []lab.MirrorStatus{{From: "one", Network: "test", Side: "a", To: "tap", State: "absent"}},
		Resources: []lab.ResourceState{{Resource: "machine/one", State: "present"}, {Resource: "machine/tap", State: "absent"}},
		Strays:    []string{"machine/old"},
	})
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"lab demo is partial (tcg)", "one present ready control 10.9.1.2/24, test/a 10.9.2.2/24 (virtio)", "tap absent not ready copy of one on test",
		"network test client 10.9.2.0/24, server 10.9.3.0/24, joined by node router", "network beyond near and far 10.9.4.0/24, joined by a wire",
		"mirror absent one's test/a to tap", "machine/tap absent", "machine/old bears the lab's mark",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "machine/one") {
		t.Errorf("what is there is listed:\n%s", b.String())
	}
}
