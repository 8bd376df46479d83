//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks/probe"
)

// switchedLab has bridges of Open vSwitch's on its sides.
const switchedLab = `
name: switched
image: debian-slim
networks:
  control: {}
  test:
    sides: [a, b]
    bridge: ovs
    impair:
      a->b: {rate: 8mbit, queue: 64KiB}
nodes:
  client: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: test, side: a}]}
  server: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {network: test, side: b}]}
  tap: {memory: 256MiB, disk: 2GiB, nics: [{network: control}, {mirror: client}]}
`

// TestSwitched brings up a lab on bridges of Open vSwitch's, whose own mirror makes the copy.
func TestSwitched(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "4GiB")
		file := write(t, "lab.yaml", switchedLab)
		t.Run("a host without Open vSwitch", func(t *testing.T) {
			fails(t, 4, []string{"network test wants bridges of Open vSwitch's", "there is no ovs-vsctl", "apt-get install openvswitch-switch"}, "up", file)
			doctor(t, file).says(t, "ovs", "wrong", "network test", "apt-get install openvswitch-switch")
			if state := doctor(t, smallLab(t, "small")).state("ovs"); state != "ok" { // that wants none
				t.Errorf("of a lab without, ovs is %s", state)
			}
		})
		hosttest.OVS(t)
		for _, daemon := range []string{"ovs-vswitchd", "ovsdb-server"} {
			t.Run("without "+daemon, func(t *testing.T) {
				hosttest.KillOVS(t, daemon)
				fails(t, 4, []string{"network test wants", "systemctl start openvswitch-switch"}, "up", file)
				doctor(t, file).says(t, "ovs", "wrong", "network test", "systemctl start openvswitch-switch")
				hosttest.OVS(t)
			})
		}
		isClean := clean(t)
		if out := must(t, "plan", file); !strings.Contains(out, "client's frames are copied at the ovs-port lct") {
			t.Errorf("the plan is\n%s", out)
		}
		r := upShared(t, "switched", file)
		r.check(t, 0, "network test", "a->b: rate ") // what was measured is asked for below
		if !strings.Contains(r.out, "each seen exactly once") {
			t.Errorf("up says\n%s", r.out)
		}
		s := status(t)
		if s.State != lab.Whole || len(s.Mirror) != 1 || s.Mirror[0].Point != "ovs-port" || s.Mirror[0].Counters == nil {
			t.Errorf("it is %s, with %+v", s.State, s.Mirror)
		}
		inTime(t, 15*time.Minute, "the rate is as it was set", func() bool { // on a busy machine less gets through, really
			if s := impairment(t, "test", "a->b"); s.Measured != nil && found(t, s, "rate_mbit_per_s").Result == probe.OK {
				return true
			}
			labctl(t, "verify", "--calibrate")
			return false
		})
		t.Run("traffic is captured once", switchedIsCaptured)
		t.Run("a second up does nothing", func(t *testing.T) {
			if out := must(t, "plan", file); !strings.Contains(out, "nothing to do") {
				t.Errorf("the plan is\n%s", out)
			}
		})
		t.Run("back to the ready state", func(t *testing.T) {
			in(t, "client", "echo dirt > /run/dirt")
			if out := must(t, "reset"); !strings.Contains(out, "each mirror saw what its NIC saw") {
				t.Errorf("reset says %q", out)
			}
			if s := status(t); s.State != lab.Whole || in(t, "client", "ls /run/dirt 2>/dev/null; true") != "" {
				t.Errorf("it is %s, or not as it was", s.State)
			}
		})
		t.Run("a node that is lost", func(t *testing.T) {
			killQEMU(t, "switched", "client")
			labctl(t, "status").check(t, 1)
			r := labctl(t, "up", file)
			r.check(t, 0, "complete machine/client: done", "create mirror/client: done")
			if s := status(t); s.State != lab.Whole {
				t.Errorf("it is %s", s.State)
			}
		})
		t.Run("Open vSwitch is started anew", func(t *testing.T) {
			hosttest.KillOVS(t, "ovs-vswitchd")
			hosttest.OVS(t)
			must(t, "up", file)
			if s := status(t); s.State != lab.Whole {
				t.Errorf("it is %s", s.State)
			}
		})
		t.Run("down with Open vSwitch off", func(t *testing.T) {
			hosttest.KillOVS(t, "ovs-vswitchd")
			fails(t, 4, []string{"network/test.a", "ovs-vswitchd does not answer", "systemctl start openvswitch-switch"}, "down")
			hosttest.OVS(t)
		})
		must(t, "down")
		isClean()
	})
}

// switchedIsCaptured compares what iperf3 sent with what the mirror copied and the capture holds.
func switchedIsCaptured(t *testing.T) {
	const frames = 1000
	cmd := command(t, "capture", "--json", "-w", "capture.pcap", "--filter", "udp port 5201 and greater 1000")
	var words watched
	cmd.Stderr = &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the capture has begun", func() bool {
		i, err := os.Stat(cmd.Dir + "/capture.pcap")
		return err == nil && i.Size() >= 24 // pcap's header is written once frames are taken
	})
	serve(t, "server", "5201")
	in(t, "client", "iperf3 -c server -u -b 4M -l 1200 -k 1000")
	growsNoMore(t, cmd.Dir+"/capture.pcap")
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("capture: %v\n%s", err, words.String())
	}
	var a lab.Account
	if err := json.Unmarshal([]byte(words.String()), &a); err != nil {
		t.Fatalf("%v: %s", err, words.String())
	}
	if a.Written != frames || a.Received != frames || a.Mirrored < frames || a.NotCopied+a.TapDrops+a.Dropped > 0 {
		t.Errorf("%d frames were sent: %+v", frames, a)
	}
}
