//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/lab/kept"
)

// againLab has a mirror, a published port and a slower direction, on two nodes.
var againLab = strings.NewReplacer("name: fault", "name: again",
	"sides: [client, server]", "sides: [client, server], impair: {client->server: {rate: 50mbit}}").Replace(faultLab)

// again is a lab that goes back to its ready state, and comes up from it.
type again struct {
	*testing.T
	file string
}

// boot is which boot of a node this is.
func (a again) boot(node string) string {
	a.Helper()
	return in(a.T, node, bootID)
}

// sleepers lists the processes that sleep.
const sleepers = "grep -l '^sleep$' /proc/[0-9]*/comm"

// dirty leaves something on the disk and in the memory of both nodes.
func (a again) dirty() {
	a.Helper()
	for _, node := range []string{"one", "two"} {
		in(a.T, node, "echo dirt > /root/dirt; echo dirt > /run/dirt; sync; mkdir /tmp/dirt; ip addr add 192.0.2.1/32 dev lo; (exec setsid sleep 100000) >/dev/null 2>&1 </dev/null & true")
	}
}

// isBack looks that a node is as it was when it was ready.
func (a again) isBack(node, boot string) {
	a.Helper()
	const look = "ls /root/dirt /run/dirt /tmp/dirt; ip -br addr show lo | grep -o 192.0.2.1; " + sleepers
	if left := in(a.T, node, "exec 2>/dev/null; "+look+"; true"); left != "" {
		a.Errorf("on node %s there is still: %s", node, left)
	}
	if now := a.boot(node); now != boot {
		a.Errorf("node %s has booted", node)
	}
}

// isWhole looks at the lab as a user does: status, its proof, its mirror, its impairment,
// its published port, and the clocks.
func (a again) isWhole(how string) {
	a.Helper()
	s := status(a.T)
	if s.State != lab.Whole || s.Provenance.Start == nil || s.Provenance.Start.How != how || s.Provenance.Start.At == nil {
		a.Errorf("the lab is %s, started %+v, want %s", s.State, s.Provenance.Start, how)
	}
	if len(s.Impairments) == 0 || !s.Impairments[0].As || s.Impairments[0].Now == "none" {
		a.Errorf("impairments are %+v", s.Impairments)
	}
	must(a.T, "verify")
	if got := untilSh(a.T, "timeout 60 bash -ec 'exec 3<>/dev/tcp/127.0.0.1/2222; head -c 7 <&3'"); got != "SSH-2.0" {
		a.Errorf("behind the published port there is %q", got)
	}
	for _, node := range []string{"one", "two"} {
		said, err := strconv.ParseFloat(in(a.T, node, "date +%s.%N"), 64)
		if off := time.Since(time.UnixMicro(int64(said * 1e6))); err != nil || off.Abs() > time.Minute/2 { // the answer's way counts too
			a.Errorf("the clock of node %s is off by %v: %v", node, off, err)
		}
		eventually(a.T, "the worker of node "+node+" has ended", func() bool { return in(a.T, node, "grep -l '^perl$' /proc/[0-9]*/comm 2>/dev/null; true") == "" })
		if links := in(a.T, node, "ethtool -k eth1 | grep -E '^(generic-receive|tcp-segmentation)-offload: on'; true"); links != "" {
			a.Errorf("node %s has offloads again: %s", node, links)
		}
	}
}

// kept is the folder of the lab's ready state; "" where there is none.
func (a again) kept() string {
	a.Helper()
	found, err := filepath.Glob("/var/lib/labctl/kept/again/*/state.json")
	if err != nil || len(found) > 1 {
		a.Fatalf("%q, %v", found, err)
	}
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[0])
}

// plans looks what plan says of how nodes would start.
func (a again) plans(says string) {
	a.Helper()
	if out := must(a.T, "plan", a.file); !strings.Contains(out, says) {
		a.Errorf("plan does not say %q:\n%s", says, out)
	}
}

// killedAt runs labctl and kills it once it has told that.
func (a again) killedAt(text string, args ...string) {
	a.Helper()
	cmd := command(a.T, args...)
	killed := false
	finish(a.T, cmd, func(said string) bool {
		if strings.Contains(said, text) {
			killed = cmd.Process.Kill() == nil
		}
		return killed
	})
	if !killed {
		a.Fatalf("labctl %s never said %q", strings.Join(args, " "), text)
	}
}

// TestWarm is the short form of TestReset: a lab boots, goes back to the moment when it was ready, and the next up resumes from it.
func TestWarm(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "4GiB")
		isClean := clean(t)
		a := again{t, write(t, "lab.yaml", againLab)}
		a.plans("nodes start cold: no ready state of lab again is kept")
		must(t, "up", a.file)
		boots := map[string]string{"one": a.boot("one"), "two": a.boot("two")}
		a.dirty()
		must(t, "reset")
		a.isBack("one", boots["one"])
		a.isBack("two", boots["two"])
		a.isWhole(lab.Reset)
		must(t, "down")
		isClean()
		a.plans("nodes start warm: from the ready state of 20")
		must(t, "up", a.file)
		a.isBack("one", boots["one"])
		a.isBack("two", boots["two"])
		a.isWhole(lab.Warm)
		must(t, "down")
		isClean()
	})
}

// TestReset: nodes go back to the moment when they were ready, and a lab comes up from it.
func TestReset(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "4GiB")
		isClean := clean(t)
		a := again{t, write(t, "lab.yaml", againLab)}
		a.plans("nodes start cold: no ready state of lab again is kept")
		must(t, "up", a.file)
		a.isWhole(lab.Cold)
		boots := map[string]string{"one": a.boot("one"), "two": a.boot("two")}
		if works := sh(t, "tr -d ' \n' <"+a.kept()+"/state.json | grep -o '\"works\":[^]]*'"); works != `"works":["one","two"` {
			t.Errorf("workers wait in %s", works)
		}
		for node := range boots {
			started := func(command string) string { // by the agent; what looks for it is none
				return in(t, node, `journalctl -q -t qemu-ga | grep -c 'called: "[`+command[:1]+"]"+command[1:]+"'; :")
			}
			eventually(t, "the start of the worker is in the journal", func() bool { return started("perl") != "0" })
			if n := started("chronyc"); n != "0" {
				t.Errorf("node %s, whose worker asks chronyd, started chronyc %s times", node, n)
			}
		}
		if sh(t, "find "+filepath.Dir(a.kept())+" -type f ! -perm 600 -o -type d ! -perm 700") != "" {
			t.Error("others can read what is kept")
		}

		// all at once, with traffic under way, a node killed, and a connection open
		a.dirty()
		in(t, "two", "iperf3 -s -D")
		in(t, "one", "(exec setsid iperf3 -c two -t 1000) >/dev/null 2>&1 </dev/null &")
		session := loggedIn(t, "one")
		sh(t, "kill -9 $(cat /run/libvirt/qemu/labctl.again.two.pid)")
		drawn := map[string]bool{}
		for range 2 {
			out := must(t, "reset")
			session.ends(t)
			if !strings.Contains(out, "each mirror saw what its NIC saw") {
				t.Errorf("reset says %q", out)
			}
			for node, boot := range boots {
				a.isBack(node, boot)
				if left := in(t, node, "pidof iperf3; ss -Hnt state established; true"); left != "" {
					t.Errorf("on node %s there is still: %s", node, left)
				}
				if !strings.Contains(in(t, node, "dmesg"), "crng reseeded due to virtual machine fork") {
					t.Errorf("node %s does not know that it goes on from a saved state", node)
				}
				drawn[in(t, node, "head -c 16 /dev/urandom | od -An -tx1")] = true
			}
			a.isWhole(lab.Reset)
			a.dirty()
		}
		if len(drawn) != 4 {
			t.Errorf("two runs of two nodes have drawn the same at random: %v", drawn)
		}

		t.Run("one node alone", func(t *testing.T) {
			must(t, "reset", "one")
			a.isBack("one", boots["one"])
			if in(t, "two", "cat /root/dirt /run/dirt") != "dirt\ndirt" {
				t.Error("node two went back too")
			}
			if s := status(t).Provenance.Start; s == nil || s.Nodes != "one" || s.How != lab.Reset {
				t.Errorf("started: %+v", s)
			}
			in(t, "one", "echo dirt > /root/dirt")
			must(t, "reset", "--keep", "one")
			a.isBack("two", boots["two"])
			if in(t, "one", "cat /root/dirt") != "dirt" {
				t.Error("node one went back too")
			}
			fails(t, 1, []string{`no node "three"`}, "reset", "three")
			fails(t, 1, []string{`no node is left`}, "reset", "--keep", "one", "one")
		})
		t.Run("killed midway", func(t *testing.T) {
			for _, text := range []string{"stop machine/", "create disk/", "complete machine/", "wait machine/", "prove lab/"} {
				a.killedAt(text, "reset")
				must(t, "up", a.file)
				if s := status(t); s.State != lab.Whole {
					t.Errorf("killed at %q, and up, the lab is %s", text, s.State)
				}
			}
			must(t, "reset")
			a.isBack("one", boots["one"])
			a.isBack("two", boots["two"])
			a.killedAt("complete machine/", "reset")
			must(t, "down")
			isClean()
		})
		t.Run("up from it", func(t *testing.T) {
			a.plans("nodes start warm: from the ready state of 20")
			start := time.Now()
			must(t, "up", a.file)
			t.Logf("up from the ready state took %v", time.Since(start))
			a.isBack("one", boots["one"])
			a.isBack("two", boots["two"])
			a.isWhole(lab.Warm)
			a.dirty()
			must(t, "reset")
			a.isBack("one", boots["one"])
			must(t, "down")
			must(t, "up", "--cold", a.file)
			if s := status(t); s.Provenance.Start == nil || s.Provenance.Start.How != lab.Cold || a.boot("one") == boots["one"] {
				t.Errorf("up --cold did not boot: %+v", s.Provenance.Start)
			}
			boots["one"] = a.boot("one")
			must(t, "down")
		})
		t.Run("up from a spoilt one", func(t *testing.T) {
			sh(t, "mkdir -p /run/aside/images; cp -a /var/lib/labctl/kept /run/aside") // images here are those of the whole machine
			if out := must(t, "--dir", "/run/aside", "image", "prune"); !strings.Contains(out, "ready state of lab again removed, 2") {
				t.Errorf("image prune says %q", out)
			}
			if left := sh(t, "ls -A /run/aside; rm -r /run/aside"); left != "images" {
				t.Errorf("image prune leaves %q", left)
			}
			memory := a.kept() + "/two.memory"
			sh(t, "printf X | dd of="+memory+" bs=1 seek=50000000 conv=notrunc status=none")
			r := labctl(t, "up", a.file)
			r.check(t, 0, "the nodes boot", "two.memory is not as it was written")
			if a.boot("one") == boots["one"] {
				t.Error("node one has not booted")
			}
			a.isWhole(lab.Cold)
			boots["one"] = a.boot("one")
			must(t, "down")
		})
		t.Run("up from one that QEMU refuses, and a full disk", func(t *testing.T) {
			spoilt(t, a.kept())
			const full = "mount -o remount,size=$(($(df --output=used -k /var/lib/labctl | tail -1) + 150000))k /var/lib/labctl"
			r := finish(t, command(t, "up", a.file), func(said string) bool {
				if !strings.Contains(said, "its services answer") { // the last before nodes are saved
					return false
				}
				sh(t, full) // there is room for one of two
				return true
			})
			sh(t, "mount -o remount,size=100% /var/lib/labctl")
			r.check(t, 0, "the nodes boot, since they could not go on from the ready state that is kept", "the ready state is not kept, so that the next labctl up boots", "save machine/")
			a.isWhole(lab.Cold)
			fails(t, 1, []string{"nodes one, two cannot go back"}, "reset")
			must(t, "down")
		})
		t.Run("up from another file", func(t *testing.T) {
			other := again{t, write(t, "other.yaml", strings.Replace(againLab, "memory: 256MiB", "memory: 288MiB", 1))}
			other.plans("nodes start cold: the ready state that is kept of lab again stands on something else: the machine of one")
			r := labctl(t, "up", "--state-limit", "100MiB", other.file)
			r.check(t, 0, "the nodes boot: the ready state", "the ready state is not kept: ", "--state-limit")
			other.isWhole(lab.Cold)
			fails(t, 1, []string{"nodes one, two cannot go back", "labctl reset --boot"}, "reset")
			other.dirty()
			boots := other.boot("one")
			must(t, "reset", "--boot")
			if other.boot("one") == boots || in(t, "one", "ls /root/dirt /run/dirt 2>/dev/null; true") != "" {
				t.Error("node one did not get a new disk and boot")
			}
			must(t, "down")
		})
		t.Run("up where a clock cannot be set", func(t *testing.T) {
			_ = labctl(t, "down") // where it was run alone
			r := finish(t, command(t, "up", "--cold", a.file), func(said string) bool {
				if !strings.Contains(said, "wait machine/one: the system has booted") { // long before a worker is started
					return false
				}
				return trySh(t, `ask() { `+virsh+`qemu-agent-command labctl.again.one "$1"; }
					ask '{"execute": "guest-exec", "arguments": {"path": "mv", "arg": ["/usr/bin/date", "/usr/bin/perl", "/root"]}}'
					while ask '{"execute": "guest-file-open", "arguments": {"path": "/usr/bin/perl"}}'; do sleep 0.1; done`)
			})
			r.check(t, 0, "the ready state is not kept", "waiting until its clock is the host's", "date")
			if s := status(t); s.State != lab.Whole || s.Provenance.Start.How != lab.Cold {
				t.Errorf("the lab is %s, started %+v", s.State, s.Provenance.Start)
			}
			must(t, "down")
		})
		isClean()
		if left := sh(t, "find /var/lib/labctl/kept -mindepth 2 ! -path '*/again/keys*'"); left != "" {
			t.Errorf("what is left is more than the lab's keys: %s", left)
		}
	})
}

// session is somebody who is logged into a node.
type session struct {
	says io.WriteCloser
	end  chan error
}

// loggedIn logs into a node, where what is said comes back.
func loggedIn(t *testing.T, node string) session {
	t.Helper()
	cmd := command(t, "ssh", node, "--", "cat")
	says, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	hears, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_, err = io.WriteString(says, "hello\n")
	heard := make([]byte, 6)
	if _, rerr := io.ReadFull(hears, heard); err != nil || rerr != nil {
		t.Fatal(err, rerr)
	}
	s := session{says, make(chan error, 1)}
	go func() { s.end <- cmd.Wait() }()
	return s
}

// ends looks that the node knows nothing of the session any more. It may have ended before.
func (s session) ends(t *testing.T) {
	t.Helper()
	_, _ = io.WriteString(s.says, "still there?\n")
	select {
	case err := <-s.end:
		if err == nil {
			t.Error("the session ended as if its user had ended it")
		}
		s.end <- err
	case <-time.After(3 * time.Minute):
		t.Error("the session goes on")
	}
}

// spoilt has a state whose sums are right and whose memory is none.
func spoilt(t *testing.T, dir string) {
	t.Helper()
	memory, manifest := filepath.Join(dir, "two.memory"), filepath.Join(dir, "state.json")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var state kept.State
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	none := []byte(strings.Repeat("no memory ", 10000))
	state.Files["two.memory"] = kept.Sum{Bytes: int64(len(none)), CRC: crc32.Checksum(none, crc32.MakeTable(crc32.Castagnoli))}
	if text, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(memory, none, 0o600), os.WriteFile(manifest, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}
