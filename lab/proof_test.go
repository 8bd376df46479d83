package lab

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sidesLab has three nodes on one side and two on the other, and a capture of one of them.
const sidesLab = `
name: sides
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  test: {sides: [left, right], subnet: 10.9.2.0/24, mtu: 600}
  spare: {sides: [left, right], subnet: 10.9.3.0/24}
nodes:
  a: {nics: [{network: control}, {network: test, side: left}, {network: spare, side: left}]}
  b: {nics: [{network: test, side: left}]}
  c: {nics: [{network: test, side: left}]}
  x: {nics: [{network: test, side: right}]}
  y: {nics: [{network: test, side: right}]}
  tap: {nics: [{network: control}, {mirror: b}]}
  idle: {nics: [{network: control}]}
`

func flowTexts(flows []flow) []string {
	var all []string
	for _, f := range flows {
		all = append(all, fmt.Sprintf("%s: %s %s → %s %s %v", f.network.Name, f.from.Name, f.src, f.to.Name, f.dst, f.sizes))
	}
	return all
}

func TestFlowsOf(t *testing.T) {
	for name, test := range map[string]struct {
		lab  topology.Lab
		want []string
	}{
		"the built-in lab": {loadDefault(t), []string{
			"test: iperf-client 10.7.2.40 → iperf-server 10.7.2.41 [64 576 1200 1500 64]",
			"test: iperf-server 10.7.2.41 → iperf-client 10.7.2.40 [64 576 1200 1500 64]",
		}},
		"every node has a part, a side without nodes none": {decided(t, sidesLab), []string{
			"test: a 10.9.2.1 → x 10.9.2.4 [64 576 600 64]",
			"test: x 10.9.2.4 → a 10.9.2.1 [64 576 600 64]",
			"test: b 10.9.2.2 → y 10.9.2.5 [64 576 600 64]",
			"test: y 10.9.2.5 → b 10.9.2.2 [64 576 600 64]",
			"test: c 10.9.2.3 → x 10.9.2.4 [64 576 600 64]",
			"test: x 10.9.2.4 → c 10.9.2.3 [64 576 600 64]",
		}},
		"no sides": {decided(t, plainLab), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, flowTexts(flowsOf(test.lab))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func testExperiment(l topology.Lab) experiment {
	return experiment{Build: Build{Lab: l}, flows: flowsOf(l), nonce: testNonce}
}

// viewTexts are the points of an experiment: each NIC and how many frames of each flow come there.
func viewTexts(points []point) []string {
	var all []string
	for _, p := range points {
		for _, v := range p.views {
			frames := map[int]int{}
			for _, m := range v.want {
				frames[m.flow]++
			}
			all = append(all, fmt.Sprintf("%d %s: %v", v.nic, v.named, frames))
		}
	}
	return all
}

func TestPoints(t *testing.T) {
	for name, test := range map[string]struct {
		lab  topology.Lab
		want []string
	}{
		"the built-in lab": {loadDefault(t), []string{
			"0 iperf-client's NIC 1 (control): map[]",
			"1 iperf-client's NIC 2 (test/client): map[0:5 1:5]",
			"0 iperf-server's NIC 1 (control): map[]",
			"1 iperf-server's NIC 2 (test/server): map[0:5 1:5]",
			"0 tshark's NIC 1 (control): map[]",
			"1 tshark's NIC 2 (copy of iperf-client's on test): map[0:5 1:5]",
		}},
		"several nodes a side": {decided(t, sidesLab), []string{
			"0 a's NIC 1 (control): map[]",
			"1 a's NIC 2 (test/left): map[0:4 1:4]",
			"2 a's NIC 3 (spare/left): map[]",
			"0 b's NIC 1 (test/left): map[2:4 3:4]",
			"0 c's NIC 1 (test/left): map[4:4 5:4]",
			"0 x's NIC 1 (test/right): map[0:4 1:4 4:4 5:4]",
			"0 y's NIC 1 (test/right): map[2:4 3:4]",
			"0 tap's NIC 1 (control): map[]",
			"1 tap's NIC 2 (copy of b's on test): map[2:4 3:4]",
		}},
		"no sides": {decided(t, plainLab), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, viewTexts(testExperiment(test.lab).points())); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// What the nodes' shells are given to run.
func TestScripts(t *testing.T) {
	e := testExperiment(loadDefault(t))
	for _, p := range e.points() {
		golden(t, p.node.Name+".listen.sh", e.listen(p))
	}
	for _, f := range e.flows {
		golden(t, f.from.Name+".send.sh", e.sending(f.from, linksIn(f.from)))
	}
}

func golden(t *testing.T, name, script string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		path := filepath.Join("testdata", name)
		if *update {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(path, []byte(script), 0o644))
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if d := cmp.Diff(string(want), script); d != "" {
			t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, d)
		}
		isShell(t, script)
	})
}

func isShell(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("no bash script: %v: %s\n%s", err, out, script)
	}
}

// The shortest datagram must hold its whole mark, in any lab that can be.
func TestMarksFitTheShortestFrame(t *testing.T) {
	if n := len(mark{1295, 99}.text(testNonce)); n > packetSizes[0]-ipUDPHeaders {
		t.Errorf("a mark of %d bytes in a datagram of %d", n, packetSizes[0]-ipUDPHeaders)
	}
}

func TestProveWithoutSides(t *testing.T) {
	p, err := Build{Lab: decided(t, plainLab)}.Prove(t.Context(), func(e Event) { t.Errorf("told %v", e) })
	if err != nil || p != (Proof{}) || !strings.Contains(p.String(), "no data path to prove") {
		t.Errorf("%v, %v", p, err)
	}
}
