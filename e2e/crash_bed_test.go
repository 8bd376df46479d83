//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// What of the crash tests is run: here what make check tries, more in make check-all, all in make kill-matrix.
var (
	crashSeed  = flag.Uint64("crash.seed", 0, "what chance goes by; 0 is another one each time, which is told")
	crashShare = flag.Float64("crash.share", 0.01, "how much of all boundaries is tried, 0 to 1")
	crashLate  = flag.Float64("crash.late", 0.006, "how much of those is tried at which the lab has booted, 0 to 1")
	crashBoots = flag.Int("crash.boots", 1, "after how many kills the lab is really booted")
	crashTimes = flag.Int("crash.times", 5, "at how many instants, chosen by chance, labctl is killed")
)

// crashLab has every kind of resource that a lab can have, on two nodes.
const crashLab = `
name: NAME
image: debian-slim
images:
  NAME-cloud: {path: CLOUD, guest: cloud-init}
networks:
  control: {subnet6: fd00:7:1::/64}
  test: {sides: [client, server], uplinks: {client: nic1}, impair: {client->server: {rate: 100mbit}}}
  switched: {sides: [client, server], bridge: ovs, subnet6: fd00:7:9::/64}
nodes:
  one:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: client, passthrough: {macvtap: nic0, take: true}}, {network: switched, side: client}, {mirror: {from: two, network: switched}}]
    services: [influxdb]
    publish: ["2222:22"]
  two:
    image: NAME-cloud
    disk: 4GiB
    nics: [{network: control}, {network: test, side: server}, {mirror: {from: one, network: test}}, {network: switched, side: server}]
`

// crashLabQuick is that lab without its seed, whose node takes minutes to boot.
var crashLabQuick = strings.Replace(crashLab, "    image: NAME-cloud\n", "", 1)

// bed is a private host on which a lab comes up and goes, and is cut short, again and again.
type bed struct {
	*testing.T
	on         *host.Host
	name, file string
	chance     *rand.Rand
	before     hosttest.Inventory
	kills      int
	upTime     time.Duration // until the guests are waited for
	downTime   time.Duration
}

// onBed runs a test on a bed for a lab of that name, beside what is none of labctl's.
func onBed(t *testing.T, name, text string, test func(b *bed)) {
	if *crashSeed == 0 { // for all tests, also on their private hosts
		if err := flag.Set("crash.seed", strconv.Itoa(1+rand.IntN(1<<30))); err != nil {
			t.Fatal(err)
		}
	}
	plain(t)
	hosttest.AloneWithMacvtaps(t)
	cloud := hosttest.CloudImage(t)
	hosttest.Private(t, func(t *testing.T) {
		t.Logf("-crash.seed %d repeats what chance chooses here", *crashSeed)
		t.Cleanup(func() { sh(t, "rm -rf /var/lib/labctl/images/"+name+"-cloud-*") }) // the cache is the machine's
		cabled(t)
		h, err := host.Connect("", host.DefaultDir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		hosttest.Foreign(t)
		hosttest.OVS(t)
		sh(t, "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding") // as libvirt does for the first network with IPv6, and leaves it
		b := &bed{
			T: t, on: h, name: name, chance: rand.New(rand.NewPCG(*crashSeed, 0)),
			file:   write(t, "lab.yaml", strings.NewReplacer("NAME", name, "CLOUD", cloud).Replace(text)),
			before: hosttest.Baseline(t),
		}
		start := time.Now()
		b.raise()
		b.upTime = time.Since(start)
		start = time.Now()
		b.lower()
		b.downTime = time.Since(start)
		test(b)
		t.Logf("labctl was ended %d times; what it left is above, if anything", b.kills)
	})
}

// labctl is labctl with those words, and its output in a buffer.
func (b *bed) labctl(words ...string) (*exec.Cmd, *bytes.Buffer) {
	output := new(bytes.Buffer)
	cmd := exec.Command(os.Getenv(binary), words...)
	cmd.Stdout, cmd.Stderr = output, output
	return cmd, output
}

// isWaiting is in what up --events says once all is made, and the guests are waited for.
const isWaiting = `"phase":"starts","verb":"wait","resource":"machine/`

// raise brings the lab up until nothing but its guests' own start is to come, looks
// at each resource, and kills up then.
func (b *bed) raise() {
	b.Helper()
	cmd, output := b.labctl("up", "--events", b.file)
	cmd.Stderr = nil
	events, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	waiting := false
	for lines := bufio.NewScanner(events); !waiting && lines.Scan(); {
		output.WriteString(lines.Text() + "\n")
		waiting = strings.Contains(lines.Text(), isWaiting)
	}
	if waiting {
		b.isWhole(false)
		_ = cmd.Process.Kill()
	}
	if err := cmd.Wait(); !waiting {
		b.Fatalf("up does not bring the lab up: %v\n%s", err, output)
	}
}

// isWhole looks at each of the lab's resources; of one that is not proven yet, at all but
// its impairments, which come after.
func (b *bed) isWhole(proven bool) {
	b.Helper()
	build, err := lab.Open(b.on, b.name)
	if err != nil {
		b.Fatal(err)
	}
	plan, err := lab.PlanUp(b.Context(), build.Resources())
	if err != nil {
		b.Fatal(err)
	}
	todo := plan.Steps()
	if !proven {
		todo = slices.DeleteFunc(todo, func(s lab.Step) bool { _, later := s.Resource.(lab.Impairment); return later })
	}
	if len(todo) > 0 {
		b.Errorf("after up the lab is not whole; to be done is:\n%s", plan)
	}
}

// whatLinksSay tells, where the proof fails, which of a lab's links do not pass frames on.
const whatLinksSay = `ip -s -d link; bridge fdb; for n in one two; do $LABCTL_UNDER_TEST exec $n -- sh -c 'ip -s link; ip addr; ip neigh' || true; done; $LABCTL_UNDER_TEST verify || true`

// boot brings the lab up until it is proven ready.
func (b *bed) boot() {
	b.Helper()
	cmd, output := b.labctl("up", "--keep", b.file)
	if err := cmd.Run(); err != nil {
		b.Log(sh(b.T, whatLinksSay))
		b.Fatalf("up: %v\n%s", err, output)
	}
	b.isWhole(true)
}

// lower takes the lab down: nothing of it is left.
func (b *bed) lower() {
	b.Helper()
	cmd, output := b.labctl("down", b.name)
	if err := cmd.Run(); err != nil {
		b.Fatalf("down: %v\n%s", err, output)
	}
	b.isClean()
}

// How long what ends with labctl may outlive it.
const dyingTime = 3 * time.Minute

// isClean compares the host with what it was before the lab.
func (b *bed) isClean() {
	b.Helper()
	deadline := time.Now().Add(dyingTime)
	for {
		left := hosttest.Diff(b.before, hosttest.Snapshot(b.T))
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the host is not as before:\n%s", left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// trace runs labctl, and sends it what each says at every change to the host. It is
// killed when it waits for guests, unless it is to wait.
func (b *bed) trace(waits bool, each func(hosttest.Change) syscall.Signal, words ...string) (hosttest.Traced, string) {
	b.Helper()
	output, err := os.Create(filepath.Join(b.TempDir(), "output"))
	if err != nil {
		b.Fatal(err)
	}
	defer output.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	said := func() string {
		text, err := os.ReadFile(output.Name())
		if err != nil {
			b.Error(err)
		}
		return string(text)
	}
	if !waits {
		go func() {
			for ctx.Err() == nil {
				if strings.Contains(said(), isWaiting) {
					cancel()
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	end, err := hosttest.Trace(ctx, append([]string{os.Getenv(binary)}, words...), "/", output, func(c hosttest.Change) syscall.Signal {
		c.What = stateKey.ReplaceAllString(c.What, "/KEY")
		return each(c)
	})
	if err != nil {
		b.Fatal(err)
	}
	return end, said()
}

// stateKey is the name of a ready state, which hangs on keys that are other ones each time.
var stateKey = regexp.MustCompile(`/[0-9a-f]{24}\b`)

// forget removes what is kept of the lab's ready state, so that it boots.
func (b *bed) forget() {
	b.Helper()
	if err := os.RemoveAll(b.on.KeptDir()); err != nil {
		b.Fatal(err)
	}
}

// killedAfter runs labctl, and kills it when it has run so long.
func (b *bed) killedAfter(after time.Duration, words ...string) {
	b.Helper()
	b.kills++
	cmd, output := b.labctl(words...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && !ended.Exited() || err == nil {
		return
	}
	b.Fatalf("labctl %s: %v\n%s", strings.Join(words, " "), err, output)
}
