//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// faultLab has a mirror and a published port, on two nodes.
var faultLab = strings.NewReplacer("NAME", "fault",
	"side: client}]", "side: client}]\n    publish: [\"2222:22\"]",
	"side: server}]", "side: server}, {mirror: one}]").Replace(small)

// killQEMU kills a node's QEMU, as the kernel does when memory runs out.
func killQEMU(t *testing.T, lab, node string) {
	t.Helper()
	sh(t, "kill -9 $(cat /run/libvirt/qemu/labctl."+lab+"."+node+".pid)")
	eventually(t, "libvirt knows that "+node+" is off", func() bool {
		return sh(t, "virsh -c qemu:///system domstate labctl."+lab+"."+node) == "shut off"
	})
}

const (
	stopLibvirt  = "pid=$(cat /run/libvirtd.pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done; "
	startLibvirt = "setsid libvirtd >>/run/libvirtd.log 2>&1 </dev/null & until virsh -c qemu:///system version >/dev/null 2>&1; do sleep 0.1; done; "
	// What a host forgets when it is started anew: processes, links, rules, and what stands in /run.
	rebootHost = "for pid in /run/libvirt/qemu/labctl.*.pid; do kill -9 $(cat $pid); done; " + stopLibvirt + `
for link in $(ip -br link | grep -oE '^lc[btw][0-9a-f]+'); do ip link del $link 2>/dev/null || true; done
nft flush ruleset
rm -rf /run/libvirt/qemu/labctl.fault.* /run/libvirt/network/labctl.fault.* /run/labctl
` + startLibvirt
)

// TestFaultsOfTheWorld lets the world do to a lab that is up what it does: status
// tells the truth, up heals, down cleans.
func TestFaultsOfTheWorld(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		const dir = "/run/small"
		sh(t, "mkdir "+dir+"; mount -t tmpfs -o size=400m,mode=755 small "+dir+"; mkdir "+dir+"/images; mount --bind /var/lib/labctl/images "+dir+"/images")
		t.Setenv("LABCTL_DIR", dir)
		isClean := clean(t)
		file := write(t, "lab.yaml", faultLab)
		// With it libvirt makes its own chains again, which a host that is started anew lacks.
		again := write(t, "again.xml", `<network><name>again</name><forward mode="nat"/><bridge name="again0"/><dns enable="no"/><ip address="192.168.229.1" prefix="24"/></network>`)
		must(t, "up", file)
		ids := func() string {
			return sh(t, "for n in one two; do virsh -c qemu:///system domid labctl.fault.$n; done")
		}
		partial := func(t *testing.T, says ...string) {
			t.Helper()
			r := labctl(t, "status")
			r.check(t, 1)
			for _, text := range append(says, "lab fault is partial") {
				if !strings.Contains(r.out, text) {
					t.Errorf("status does not say %q", text)
				}
			}
		}
		heals := func(t *testing.T) {
			t.Helper()
			must(t, "up", file)
			if s := status(t); s.State != lab.Whole || !s.Nodes[0].Ready || !s.Nodes[1].Ready {
				t.Errorf("after up the lab is %s", s.State)
			}
		}

		if out := sh(t, "ps -e -o args | grep '[d]nsmasq.*labctl.fault' || true"); out != "" {
			t.Errorf("a dnsmasq serves the lab, which may be killed: %s", out)
		}
		t.Run("a machine that is killed", func(t *testing.T) {
			killQEMU(t, "fault", "one")
			partial(t, "machine/one")
			heals(t)
		})
		t.Run("libvirt that is away, and back", func(t *testing.T) {
			before := ids()
			sh(t, stopLibvirt)
			fails(t, 4, []string{"libvirt", "start it"}, "status")
			fails(t, 4, []string{"libvirt", "start it"}, "up", file)
			fails(t, 4, []string{"libvirt", "start it"}, "down", "fault")
			sh(t, startLibvirt)
			heals(t)
			if after := ids(); after != before {
				t.Errorf("machines were restarted: %s, then %s", before, after)
			}
		})
		t.Run("a disk that fills", func(t *testing.T) {
			before := ids()
			sh(t, "dd if=/dev/zero of="+dir+"/filler bs=1M status=none || true")
			labctl(t, "exec", "two", "--", "sh", "-c", "(dd if=/dev/urandom of=/root/much bs=1M count=64; sync) >/dev/null 2>&1 &")
			eventually(t, "two is paused", func() bool { return sh(t, "virsh -c qemu:///system domstate labctl.fault.two") == "paused" })
			partial(t, "machine/two")
			fails(t, 1, []string{"machine/two", "paused by a disk error: is there room in " + dir}, "up", file)
			sh(t, "rm "+dir+"/filler")
			heals(t)
			if after := ids(); after != before {
				t.Errorf("machines were restarted: %s, then %s", before, after)
			}
			eventually(t, "all of 64 MiB is written", func() bool { return in(t, "two", "sync; stat -c %s /root/much") == "67108864" })
		})
		t.Run("a bridge that is removed", func(t *testing.T) {
			sh(t, "ip link del "+status(t).Networks[0].Segments[0].Bridge)
			partial(t, "network/control")
			heals(t)
		})
		t.Run("rules that are flushed", func(t *testing.T) {
			sh(t, "nft flush ruleset")
			partial(t, "publish/fault")
			heals(t)
		})
		t.Run("a host that is started anew", func(t *testing.T) {
			sh(t, rebootHost)
			partial(t, "machine/one", "machine/two", "network/control", "network/test.client", "wire/test", "mirror/one", "publish/fault")
			heals(t)
		})
		t.Run("and once more, then down", func(t *testing.T) {
			sh(t, rebootHost)
			must(t, "down")
			sh(t, "virsh -c qemu:///system -q net-create "+again+"; virsh -c qemu:///system -q net-destroy again")
			isClean()
		})
		t.Run("a disk that fills under up", func(t *testing.T) {
			up := finish(t, command(t, "up", file), func(stderr string) bool {
				if !strings.Contains(stderr, "create keys/fault: done") {
					return false
				}
				sh(t, "dd if=/dev/zero of="+dir+"/filler bs=64k status=none || true")
				return true
			})
			up.check(t, 1, dir)
			if !strings.Contains(up.err, "no space left on device") && !strings.Contains(up.err, "paused by a disk error") { // as far as up had come
				t.Error("it is not told that the disk is full")
			}
			sh(t, "rm "+dir+"/filler")
			isClean()
		})
		sh(t, "umount "+dir+"/images "+dir+"; rmdir "+dir)
	})
}

// TestFaultsUnderUp lets the world break what up is at: it takes back what it made,
// and what is foreign stays.
func TestFaultsUnderUp(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		untouched := hosttest.Foreign(t)
		isClean := clean(t)
		file := write(t, "lab.yaml", faultLab)
		after := func(t *testing.T) {
			t.Helper()
			if d := untouched(); d != "" {
				t.Errorf("foreign things were touched:\n%s", d)
			}
			isClean()
		}
		// at runs up, and does something when it tells of a piece of work.
		at := func(t *testing.T, phase, verb, resource string, do func()) result {
			t.Helper()
			return finish(t, command(t, "up", "--events", file), func(events string) bool {
				for line := range strings.Lines(events) {
					var e struct{ Phase, Verb, Resource string }
					if json.Unmarshal([]byte(line), &e) == nil && e.Phase == phase && e.Verb == verb && e.Resource == resource {
						do()
						return true
					}
				}
				return false
			})
		}
		for _, moment := range []string{"create network/control", "create machine/one", "create mirror/one", "wait machine/two"} {
			verb, resource, _ := strings.Cut(moment, " ")
			t.Run("libvirt restarted at "+moment, func(t *testing.T) {
				at(t, "starts", verb, resource, func() { sh(t, stopLibvirt+startLibvirt) }).
					check(t, 1, "libvirt has ended the connection")
				after(t)
			})
		}
		t.Run("libvirt away for a while", func(t *testing.T) {
			cmd := command(t, "up", file)
			stopped := false
			r := finish(t, cmd, func(stderr string) bool {
				if !stopped && strings.Contains(stderr, "wait machine/one") {
					stopped = true
					sh(t, stopLibvirt)
				}
				if !strings.Contains(stderr, "libvirt does not answer; what was made is taken back once it does") {
					return false
				}
				sh(t, startLibvirt)
				return true
			})
			r.check(t, 1)
			after(t)
		})
		t.Run("a machine killed while it is waited for", func(t *testing.T) {
			at(t, "starts", "wait", "machine/one", func() { sh(t, "kill -9 $(cat /run/libvirt/qemu/labctl.fault.one.pid)") }).
				check(t, 1, "machine/one", "the machine has stopped")
			after(t)
		})
		t.Run("a machine that begins anew while it is waited for", func(t *testing.T) {
			finish(t, command(t, "up", file), func(stderr string) bool {
				if !strings.Contains(stderr, "wait machine/one: the system has booted") {
					return false
				}
				sh(t, "virsh -c qemu:///system -q reset labctl.fault.one")
				return true
			}).check(t, 0)
			labctl(t, "down", "fault").check(t, 0)
			after(t)
		})
		t.Run("no memory for a machine", func(t *testing.T) {
			sh(t, "prlimit --pid $(cat /run/libvirtd.pid) --as=1500000000:")
			big := write(t, "big.yaml", strings.ReplaceAll(faultLab, "memory: 256MiB", "memory: 2GiB")) // libvirtd itself has enough
			fails(t, 1, []string{"create machine/", "annot allocate memory"}, "up", big)
			sh(t, "prlimit --pid $(cat /run/libvirtd.pid) --as=unlimited:")
			after(t)
		})
		for what, name := range takenNames(t) {
			t.Run(what+" of the name that is another's", func(t *testing.T) {
				sh(t, "ip link add "+name+" type veth peer name peer0; ip link set "+name+" alias foreign")
				before := sh(t, "ip link show "+name)
				fails(t, 1, []string{name}, "up", file)
				if now := sh(t, "ip link show "+name); now != before {
					t.Errorf("the link was\n%s\nand is\n%s", before, now)
				}
				sh(t, "ip link del "+name)
				after(t)
			})
		}
		t.Run("a network of the name that is another's", func(t *testing.T) {
			network := write(t, "network.xml", "<network><name>labctl.fault.test.client</name></network>")
			sh(t, "virsh -c qemu:///system -q net-define "+network)
			before := sh(t, "virsh -c qemu:///system net-dumpxml labctl.fault.test.client")
			fails(t, 1, []string{"labctl.fault.test.client", "not this lab's"}, "up", file)
			if now := sh(t, "virsh -c qemu:///system net-dumpxml labctl.fault.test.client"); now != before {
				t.Errorf("the network was\n%s\nand is\n%s", before, now)
			}
			sh(t, "virsh -c qemu:///system -q net-undefine labctl.fault.test.client")
			after(t)
		})
		t.Run("a folder of the name that is another's", func(t *testing.T) {
			sh(t, "mkdir -p /var/lib/labctl/labs/fault; echo mine >/var/lib/labctl/labs/fault/thesis")
			fails(t, 1, []string{"/var/lib/labctl/labs/fault", "left alone"}, "up", file)
			if got, err := os.ReadFile("/var/lib/labctl/labs/fault/thesis"); string(got) != "mine\n" {
				t.Errorf("the file in it holds %q, %v", got, err)
			}
			sh(t, "rm -r /var/lib/labctl/labs")
			after(t)
		})
		t.Run("killed before anything of the lab was there", func(t *testing.T) {
			sh(t, "mkdir -p /var/lib/labctl/labs")
			labctl(t, "down").check(t, 0)
			after(t)
		})
	})
}

// takenNames are names of the lab's links, one a kind.
func takenNames(t *testing.T) map[string]string {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(faultLab), topology.Known{Recipes: images.Recipes()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	test, _ := l.Network("test")
	return map[string]string{
		"a bridge":        test.Segments[0].Bridge,
		"a wire's end":    test.Wire.Ends[1].Link,
		"a tap":           l.Nodes[0].NICs[1].Link,
		"a capture's tap": l.Nodes[1].NICs[2].Link,
	}
}
