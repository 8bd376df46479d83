//go:build bench

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

// BenchmarkStates times a lab of so many nodes from nothing, back to its ready state and
// from that state, and until nothing of it is left, beside the same machines restored from the same
// files, and ended, by hand.
func BenchmarkStates(b *testing.B) {
	b.Setenv(stateLimit, "100GiB")
	for _, nodes := range []int{2, 4, 8, 16} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			f := measure(b)
			name := fmt.Sprintf("ready%d", nodes) // the states of others are kept too
			file := write(b, "many.yaml", labOf(name, nodes))
			most, mostReset := "", ""
			if nodes == 4 {
				most, mostReset = "≤ 5", "≤ 3"
			}
			for b.Loop() {
				cold := labctlRun(b, "up", "--cold", "--events", file)
				from, _ := cold.span("save", "machine/")
				to, _ := cold.span("prove", "")
				f.add("cold-s", "", cold.took().Seconds())
				f.add("cold-saved-and-restored-s", "", to.Sub(from).Seconds())
				reset := labctlRun(b, "reset", "--events")
				f.add("reset-s", mostReset, reset.took().Seconds())
				f.add("reset-proof-s", "", reset.proof().Seconds())
				destroyed, bare := byHand(b, name)
				f.add("virsh-restore-s", "", bare.Seconds())
				f.add("reset/virsh-restore", "", reset.took().Seconds()/bare.Seconds())
				down := labctlRun(b, "down")
				f.add("down-s", "", down.took().Seconds())
				f.add("virsh-destroy-s", "", destroyed.Seconds())
				f.add("down/virsh-destroy", "", down.took().Seconds()/destroyed.Seconds())
				warm := labctlRun(b, "up", "--events", file)
				f.add("warm-s", most, warm.took().Seconds())
				f.add("warm-proof-s", "", warm.proof().Seconds())
				f.add("warm/virsh-restore", "", warm.took().Seconds()/bare.Seconds())
				f.add("warm/cold", "", warm.took().Seconds()/cold.took().Seconds())
				labctlRun(b, "down")
			}
			f.report()
		})
	}
}

// labOf is a lab of so many small nodes, half on either side, the last of which captures
// what the first sends.
func labOf(name string, nodes int) string {
	var text strings.Builder
	text.WriteString("name: " + name + "\nimage: debian-slim\nnetworks: {control: {}, test: {sides: [client, server]}}\nnodes:\n")
	for i := range nodes {
		mirror := ""
		if i == nodes-1 {
			mirror = ", {mirror: node0}"
		}
		fmt.Fprintf(&text, "  node%d: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: test, side: %s}%s]}\n", i, [...]string{"client", "server"}[i%2], mirror)
	}
	return text.String()
}

// byHand is how long it takes to end all machines of a lab that is up, and then until their agents
// answer when they are restored from the files that labctl kept, by hand and all at once.
func byHand(b *testing.B, name string) (destroyed, restored time.Duration) {
	b.Helper()
	h, err := host.Connect("", host.DefaultDir)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	build, err := lab.Open(h, name)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	var group errgroup.Group
	for _, n := range build.Lab.Nodes {
		group.Go(func() error { return exec.Command("virsh", "-q", "destroy", n.Object).Run() })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	destroyed = time.Since(start)
	var saved []string
	for _, n := range build.Lab.Nodes {
		found, err := filepath.Glob(filepath.Join(h.KeptDir(), name, "*", n.Name+".memory"))
		if err != nil || len(found) != 1 {
			b.Fatalf("%q, %v", found, err)
		}
		saved = append(saved, found[0])
		bash(b, fmt.Sprintf("cp %s %s", strings.TrimSuffix(found[0], ".memory")+".qcow2", filepath.Join(h.LabDir(name), n.Name+".qcow2")))
	}
	start = time.Now()
	for i, n := range build.Lab.Nodes {
		group.Go(func() error {
			if out, err := exec.Command("virsh", "-q", "restore", "--running", saved[i]).CombinedOutput(); err != nil {
				return fmt.Errorf("virsh restore %s: %w: %s", saved[i], err, out)
			}
			agent := domains.Agent{On: h, Node: n}
			return poll(b.Context(), func() (bool, error) { return agent.Ping(b.Context()) == nil, nil })
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return destroyed, time.Since(start)
}
