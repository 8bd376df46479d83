//go:build bench

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// The benchmarks run on a private host, which make bench gives them. They hold
// labctl to no time: the closing table sets what was measured beside the targets.

var recipes = []string{"debian", "debian-slim"}

// BenchmarkUp times up of the built-in lab beside its floor, each first in turn.
func BenchmarkUp(b *testing.B) {
	for _, image := range recipes {
		b.Run(image, func(b *testing.B) {
			f := measure(b)
			file := builtIn(b, image)
			machines := learn(b, file)
			upFirst := true
			for b.Loop() {
				var up run
				var bare bareRun
				turns := []func(){
					func() {
						up = labctlRun(b, "up", "--cold", "--state-limit", "10GiB", "--events", file)
						labctlRun(b, "down", file)
					},
					func() { bare = machines.run(b) },
				}
				if !upFirst {
					slices.Reverse(turns)
				}
				for _, turn := range turns {
					turn()
				}
				upFirst = !upFirst

				start, _ := up.span("create", "machine/")
				created := lastOf(up.ends("create", "machine/"))
				_, ready := up.span("wait", "machine/")
				unproven := up.took() - up.proof()
				f.add("up-s", "", up.took().Seconds())
				f.add("proof-s", "≤ 3", up.proof().Seconds())
				f.add("floor-s", "", lastOf(bare.ready).Sub(bare.start).Seconds())
				f.add("ratio", "≤ 1.15", unproven.Seconds()/lastOf(bare.ready).Sub(bare.start).Seconds())
				f.add("ratio-with-proof", "", up.took().Seconds()/lastOf(bare.ready).Sub(bare.start).Seconds())
				f.add("up-before-machines-s", "", start.Sub(up.start).Seconds())
				f.add("up-create-machines-s", "", created.Sub(start).Seconds())
				f.add("up-machines-until-ready-s", "", ready.Sub(start).Seconds())
				f.add("up-first-agent-s", "", firstOf(up.agents()).Sub(start).Seconds())
				f.add("up-last-agent-s", "", lastOf(up.agents()).Sub(start).Seconds())
				f.add("floor-first-agent-s", "", firstOf(bare.agents).Sub(bare.start).Seconds())
				f.add("floor-last-agent-s", "", lastOf(bare.agents).Sub(bare.start).Seconds())
				f.add("up-peak-MB", "≤ 100", up.peakMB)
			}
			f.report()
		})
	}
}

// BenchmarkSecondUp times up of a lab that is up: nothing to do but the proof.
func BenchmarkSecondUp(b *testing.B) {
	f := measure(b)
	labctlRun(b, "up")
	for b.Loop() {
		up := labctlRun(b, "up", "--events")
		f.add("second-up-without-proof-s", "≤ 1", (up.took() - up.proof()).Seconds())
		f.add("proof-s", "≤ 3", up.proof().Seconds())
	}
	labctlRun(b, "down")
	f.report()
}

// BenchmarkDown times down of the built-in lab.
func BenchmarkDown(b *testing.B) {
	f := measure(b)
	for b.Loop() {
		labctlRun(b, "up")
		f.add("down-s", "≤ 2", labctlRun(b, "down").took().Seconds())
	}
	f.report()
}

// BenchmarkOneNode times the boot of a lab of one node.
func BenchmarkOneNode(b *testing.B) {
	for _, image := range recipes {
		b.Run(image, func(b *testing.B) {
			f := measure(b)
			file := write(b, "one.yaml", "name: one\nimage: "+image+"\nnetworks: {control: {}}\nnodes: {one: {nics: [{network: control}]}}\n")
			for b.Loop() {
				up := labctlRun(b, "up", "--events", file)
				labctlRun(b, "down", file)
				start, _ := up.span("create", "machine/")
				_, ready := up.span("wait", "machine/")
				f.add("agent-s", "", lastOf(up.agents()).Sub(start).Seconds())
				f.add("ready-s", "≤ 9", ready.Sub(start).Seconds())
			}
			f.report()
		})
	}
}

// BenchmarkPlan times plan of files of growing size, on a host with room for all.
func BenchmarkPlan(b *testing.B) {
	for _, nodes := range []int{10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			f := measure(b)
			file := manyNodes(b, nodes)
			makeRoom(b)
			most, mostMB := "", ""
			if nodes == 1_000 {
				most, mostMB = "≤ 1", "≤ 100"
			}
			for b.Loop() {
				plan := labctlRun(b, "plan", file)
				if steps := strings.Count(plan.out, "machine/"); steps != nodes {
					b.Fatalf("the plan makes %d machines of %d", steps, nodes)
				}
				f.add("plan-s", most, plan.took().Seconds())
				f.add("plan-ms/node", "", 1000*plan.took().Seconds()/float64(nodes))
				f.add("plan-peak-MB", mostMB, plan.peakMB)
			}
			f.report()
		})
	}
}

// builtIn writes the built-in lab on an image.
func builtIn(b *testing.B, image string) string {
	_, text := topology.Default()
	return write(b, "lab.yaml", strings.Replace(string(text), "image: debian ", "image: "+image+" ", 1))
}

// manyNodes writes a lab whose nodes stand half on either side of a network, and
// all on another, of just the size for them.
func manyNodes(b *testing.B, nodes int) string {
	prefix := 32 - bits.Len(uint(nodes+2)) // beside the nodes: its own address, the host's and the broadcast address
	var text strings.Builder
	fmt.Fprintf(&text, "name: many\nnetworks:\n  control: {subnet: 10.64.0.0/%[1]d}\n  test: {sides: [client, server], subnet: 10.128.0.0/%[1]d}\nnodes:\n", prefix)
	for i := range nodes {
		side := [...]string{"client", "server"}[i%2]
		fmt.Fprintf(&text, "  node%d: {nics: [{network: control}, {network: test, side: %s}]}\n", i, side)
	}
	return write(b, "many.yaml", text.String())
}

// makeRoom makes the private host seem to have memory and disk without end.
func makeRoom(b *testing.B) {
	mount := func(source, target, kind string, flags uintptr, data string) {
		if err := unix.Mount(source, target, kind, flags, data); err != nil {
			b.Fatalf("mount %s: %v", target, err)
		}
		b.Cleanup(func() { _ = unix.Unmount(target, 0) })
	}
	mount("bench", host.DefaultDir, "tmpfs", 0, "size=1024t,mode=755")
	mount(write(b, "meminfo", "MemAvailable: 1000000000000 kB\n"), "/proc/meminfo", "", unix.MS_BIND, "")
}

// run is a run of labctl that did what it was asked.
type run struct {
	start, end time.Time
	peakMB     float64 // of labctl or of a program that it ran, whichever took more
	out        string
	events     []event
}

// event is a line of --events.
type event struct {
	Time                 time.Time
	Phase                lab.Phase
	Verb, Resource, Note string
}

// labctlRun runs labctl, which must succeed.
func labctlRun(b *testing.B, args ...string) run {
	b.Helper()
	cmd := command(b, args...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	r := run{start: time.Now()}
	err := cmd.Run()
	r.end = time.Now()
	if err != nil {
		b.Fatalf("labctl %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), told.String())
	}
	r.out = out.String()
	r.peakMB = float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1024 / 1e6
	for line := range bytes.Lines(told.Bytes()) {
		var e event
		if json.Unmarshal(line, &e) == nil { // other lines are words for people
			r.events = append(r.events, e)
		}
	}
	return r
}

func (r run) took() time.Duration { return r.end.Sub(r.start) }

// span is from the first beginning to the last end of such work.
func (r run) span(verb, resource string) (from, to time.Time) {
	return firstOf(r.times(lab.Starts, verb, resource)), lastOf(r.times(lab.Ends, verb, resource))
}

func (r run) ends(verb, resource string) []time.Time { return r.times(lab.Ends, verb, resource) }

func (r run) times(phase lab.Phase, verb, resource string) []time.Time {
	var at []time.Time
	for _, e := range r.events {
		if e.Phase == phase && e.Verb == verb && strings.HasPrefix(e.Resource, resource) {
			at = append(at, e.Time)
		}
	}
	return at
}

// agents are when each machine's agent answered: when its second requirement was waited for.
func (r run) agents() []time.Time {
	var at []time.Time
	for _, e := range r.events {
		if e.Phase == lab.Notes && e.Verb == "wait" && strings.Contains(e.Note, "(2 of ") {
			at = append(at, e.Time)
		}
	}
	return at
}

func (r run) proof() time.Duration {
	from, to := r.span("prove", "")
	return to.Sub(from)
}

func firstOf(at []time.Time) time.Time { return slices.MinFunc(at, time.Time.Compare) }
func lastOf(at []time.Time) time.Time  { return slices.MaxFunc(at, time.Time.Compare) }
