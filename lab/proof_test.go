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

// viewTexts are the points of an experiment: each NIC, the longest frame on it and the frames of each flow there.
func viewTexts(points []point) []string {
	var all []string
	for _, p := range points {
		for _, v := range p.views {
			frames := map[int]int{}
			for _, m := range v.want {
				frames[m.flow]++
			}
			all = append(all, fmt.Sprintf("%d %s ≤ %d: %v", v.nic, v.named, v.most, frames))
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
			"0 iperf-client's NIC 1 (control) ≤ 1514: map[]",
			"1 iperf-client's NIC 2 (test/client) ≤ 1514: map[0:5 1:5]",
			"0 iperf-server's NIC 1 (control) ≤ 1514: map[]",
			"1 iperf-server's NIC 2 (test/server) ≤ 1514: map[0:5 1:5]",
			"0 tshark's NIC 1 (control) ≤ 1514: map[]",
			"1 tshark's NIC 2 (copy of iperf-client's on test) ≤ 1514: map[0:5 1:5]",
		}},
		"several nodes a side": {decided(t, sidesLab), []string{
			"0 a's NIC 1 (control) ≤ 1514: map[]",
			"1 a's NIC 2 (test/left) ≤ 614: map[0:4 1:4]",
			"2 a's NIC 3 (spare/left) ≤ 1514: map[]",
			"0 b's NIC 1 (test/left) ≤ 614: map[2:4 3:4]",
			"0 c's NIC 1 (test/left) ≤ 614: map[4:4 5:4]",
			"0 x's NIC 1 (test/right) ≤ 614: map[0:4 1:4 4:4 5:4]",
			"0 y's NIC 1 (test/right) ≤ 614: map[2:4 3:4]",
			"0 tap's NIC 1 (control) ≤ 1514: map[]",
			"1 tap's NIC 2 (copy of b's on test) ≤ 614: map[2:4 3:4]",
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
		golden(t, p.node.Name+".send.sh", e.send(p.node))
	}
	golden(t, "gather.sh", gather(arriveTime))
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

// The frames that the script sends are as long as they are said to be, and bear their marks.
func TestSentFrames(t *testing.T) {
	e := testExperiment(loadDefault(t))
	script := e.send(e.flows[0].from)
	// what is sent is printed in the place of sending it
	script = strings.Replace(script, "cd "+captureDir, "cd "+t.TempDir(), 1)
	script = strings.ReplaceAll(script, "socat ", "send ")
	out, err := exec.CommandContext(t.Context(), "bash", "-c",
		"send() { for last; do :; done; echo \"$last\" $(wc -c <frame) $(head -c 33 frame); }\n"+script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := ""
	for i, size := range []int{64, 576, 1200, 1500, 64} {
		want += fmt.Sprintf("UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 %d labctl-proof %s 0 %d\n", size-28, testNonce, i)
	}
	if d := cmp.Diff(want, string(out)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// The shortest datagram must hold its whole mark, in any lab that can be.
func TestMarksFitTheShortestFrame(t *testing.T) {
	if n := len(mark{99, 9}.text(testNonce)); n > packetSizes[0]-ipUDPHeaders {
		t.Errorf("a mark of %d bytes in a datagram of %d", n, packetSizes[0]-ipUDPHeaders)
	}
}

func TestProveWithoutSides(t *testing.T) {
	p, err := Build{Lab: decided(t, plainLab)}.Prove(t.Context(), func(e Event) { t.Errorf("told %v", e) })
	if err != nil || p != (Proof{}) || !strings.Contains(p.String(), "no data path to prove") {
		t.Errorf("%v, %v", p, err)
	}
}
