//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

// TestTwoLabs brings two labs up at once, from two processes, with their subnets
// left open: they do not meet, and one goes without the other.
func TestTwoLabs(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		files := map[string]string{"red": smallLab(t, "red"), "blue": smallLab(t, "blue")}
		var both sync.WaitGroup
		results := map[string]*result{}
		for name := range files {
			r := new(result)
			results[name] = r
			cmd := command(t, "up", files[name])
			both.Go(func() { *r = finish(t, cmd, nil) })
		}
		both.Wait()
		for _, r := range results {
			r.check(t, 0)
		}
		if t.Failed() {
			t.FailNow()
		}
		red, blue := status(t, "red"), status(t, "blue")
		subnets := map[string]string{}
		for _, s := range []lab.Status{red, blue} {
			for _, n := range s.Networks {
				if other := subnets[n.Subnet]; other != "" {
					t.Errorf("%s of %s and %s have subnet %s", n.Name, s.Name, other, n.Subnet)
				}
				subnets[n.Subnet] = s.Name
			}
		}
		fails(t, 1, []string{"several labs", "blue, red", "--lab"}, "verify")
		must(t, "verify", "--lab", "red")

		// a node of one lab does not reach the other's
		address := strings.Split(blue.Nodes[0].NICs[0].Address, "/")[0]
		labctl(t, "ssh", "--lab", "red", "one", "--", "ping -c1 -W5 "+address).check(t, 1)

		before := sh(t, "virsh -c qemu:///system domid labctl.blue.one")
		must(t, "down", files["red"])
		if s := status(t); s.Name != "blue" || s.State != lab.Whole {
			t.Errorf("with red gone %s is %s", s.Name, s.State)
		}
		must(t, "verify")
		if after := sh(t, "virsh -c qemu:///system domid labctl.blue.one"); after != before {
			t.Error("blue's machine was restarted")
		}

		t.Run("replace", func(t *testing.T) { replaces(t, blue) })

		must(t, "down", "blue")
		isClean()
	})
}

// replaces brings blue up as a changed file says, in place of what was there.
func replaces(t *testing.T, before lab.Status) {
	changed := write(t, "blue.yaml", strings.Replace(strings.ReplaceAll(small, "NAME", "blue"), "memory: 256MiB", "memory: 320MiB", 1))
	fails(t, 1, []string{"nodes.one.memory", "--replace"}, "up", changed)
	must(t, "up", "--replace", changed)
	after := status(t)
	if after.Nodes[0].MemoryMiB != 320 || after.State != lab.Whole {
		t.Errorf("after replacing, one has %d MiB and blue is %s", after.Nodes[0].MemoryMiB, after.State)
	}
	if before.Nodes[0].NICs[0].MAC != after.Nodes[0].NICs[0].MAC {
		t.Error("the same names have another MAC")
	}
}

// TestInterruptedUp interrupts up at each stage and while it waits: each time it
// takes back what it made and exits 130.
func TestInterruptedUp(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		untouched := hosttest.Foreign(t)
		isClean := clean(t)
		file := smallLab(t, "green")
		for _, moment := range []string{
			"create folder/green", "create keys/green", "create disk/one", "create machine/two", "wait machine/one",
		} {
			cmd := command(t, "up", "--events", file)
			r := finish(t, cmd, func(events string) bool {
				verb, resource, _ := strings.Cut(moment, " ")
				for line := range strings.Lines(events) {
					var e struct{ Phase, Verb, Resource string }
					if json.Unmarshal([]byte(line), &e) == nil && e.Verb == verb && e.Resource == resource {
						_ = cmd.Process.Signal(syscall.SIGINT)
						return true
					}
				}
				return false
			})
			r.check(t, 130)
			for line := range strings.Lines(r.err) {
				if !json.Valid([]byte(line)) {
					t.Errorf("an event is no JSON: %s", line)
				}
			}
			if d := untouched(); d != "" {
				t.Errorf("interrupted at %q: foreign things were touched:\n%s", moment, d)
			}
			if out := must(t, "list"); out != "" {
				t.Errorf("interrupted at %q: list says %q", moment, out)
			}
			if left := leftOf(t, "green"); left != "" {
				t.Errorf("interrupted at %q: left on the host:\n%s", moment, left)
			}
		}
		for what, ends := range map[string]string{
			"a reader of its words that goes away": "timeout 120 %[1]s up --events %[2]s 2>&1 | head -4 >/dev/null; true",
			"a terminal that is lost":              "%[1]s up %[2]s 2>/dev/null & until ls /var/lib/labctl/labs/green/*.qcow2 2>/dev/null; do sleep 0.1; done; kill -HUP $!; wait $! || [ $? = 130 ]",
		} {
			if !trySh(t, fmt.Sprintf(ends, os.Getenv(binary), file)) {
				t.Errorf("%s: up ends otherwise", what)
			}
			if left := leftOf(t, "green"); what == "a terminal that is lost" && left != "" {
				t.Errorf("%s: left on the host:\n%s", what, left)
			}
			must(t, "down", "green")
		}
		t.Run("and comes up after all", func(t *testing.T) {
			must(t, "up", file)
			must(t, "down")
		})
		isClean()
	})
}

// leftOf looks for anything of a lab, without labctl's help.
func leftOf(t *testing.T, name string) string {
	t.Helper()
	return sh(t, `virsh -c qemu:///system -q list --all --name | grep '^labctl.`+name+`\.' || true
virsh -c qemu:///system -q net-list --all --name | grep '^labctl.`+name+`\.' || true
ls -d /var/lib/labctl/labs 2>/dev/null || true
ip -br link | grep -E '^lc[btw][0-9a-f]{10}' || true
nft list tables | grep labctl-`+name+` || true
ls /run/labctl 2>/dev/null || true
pgrep -a qemu || true`)
}

// TestUpThatFails holds up to what it promises when it cannot work: a clear
// error, the right exit code, and a host as before.
func TestUpThatFails(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		file := smallLab(t, "grey")
		with := func(old, text string) string {
			return write(t, "grey.yaml", strings.Replace(strings.ReplaceAll(small, "NAME", "grey"), old, text, 1))
		}
		after := func(t *testing.T) {
			if left := leftOf(t, "grey"); left != "" {
				t.Errorf("left on the host:\n%s", left)
			}
		}
		t.Run("a deadline that passes", func(t *testing.T) {
			for _, most := range []string{"20s", "1m20s", "5m20s"} { // until a slow machine comes so far in its time
				waits := false
				up := finish(t, command(t, "up", "--timeout", most, file), func(stderr string) bool {
					if waits = strings.Contains(stderr, "wait machine/one"); waits {
						sh(t, "kill -STOP $(cat /run/libvirt/qemu/labctl.grey.one.pid)") // it never gets further
					}
					return waits
				})
				after(t)
				if waits || up.code != 5 || most == "5m20s" {
					up.check(t, 5, "not ready after "+most, "the guest agent answers", "its last console lines")
					break
				}
			}
		})
		t.Run("more memory than there is", func(t *testing.T) {
			fails(t, 4, []string{"MiB of memory", "are available"}, "up", with("memory: 256MiB", "memory: 1000GiB"))
			after(t)
		})
		t.Run("a port that is taken", func(t *testing.T) {
			listener := startListening(t, "2022")
			fails(t, 4, []string{"port 2022/tcp", "is taken"}, "up", with("memory: 256MiB", "memory: 256MiB\n    publish: [\"2022:22\"]"))
			listener()
			after(t)
		})
		t.Run("a subnet that is in use", func(t *testing.T) {
			sh(t, "ip link add taken0 type veth peer name taken1; ip addr add 10.9.8.1/24 dev taken0; ip link set taken0 up")
			fails(t, 4, []string{"10.9.8.0/25", "10.9.8.0/24", "in use"}, "up", with("control: {}", "control: {subnet: 10.9.8.0/25}"))
			sh(t, "ip link del taken0")
			after(t)
		})
		t.Run("KVM where there is none", func(t *testing.T) {
			fails(t, 4, []string{"accel: kvm", "neither vmx nor svm"}, "up", with("image:", "accel: kvm\nimage:"))
			after(t)
		})
		t.Run("a domain of that name that is not ours", func(t *testing.T) {
			domain := write(t, "domain.xml", "<domain type='qemu'><name>labctl.grey.two</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>")
			sh(t, "virsh -c qemu:///system -q define "+domain)
			fails(t, 1, []string{"labctl.grey.two", "does not bear the mark", "left alone"}, "up", file)
			if got := sh(t, "virsh -c qemu:///system -q list --all --name"); got != "labctl.grey.two" {
				t.Errorf("domains are now %q", got)
			}
			sh(t, "virsh -c qemu:///system -q undefine labctl.grey.two")
			after(t)
		})
		t.Run("--keep", func(t *testing.T) {
			fails(t, 5, []string{"left for a look"}, "up", "--keep", "--timeout", "2s", file)
			if s := status(t); s.Name != "grey" || len(s.Nodes) != 2 {
				t.Errorf("what is kept is %s", s.Name)
			}
			must(t, "down")
			after(t)
		})
		isClean()
	})
}

func startListening(t *testing.T, port string) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = l.Close() }
}

// TestBrokenImage lets nodes stand on a base image that is broken in each way.
func TestBrokenImage(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		const dir = "/run/elsewhere"
		base := sh(t, "basename $(ls -dt /var/lib/labctl/images/debian-slim-* | head -1)")
		inside := dir + "/images/" + base + "/"
		restore := func() {
			sh(t, "rm -rf "+dir+"/images; mkdir -p "+dir+"/images; cp -a /var/lib/labctl/images/"+base+" "+dir+"/images/; chmod 755 "+dir)
		}
		file := smallLab(t, "grey")
		after := func(t *testing.T) {
			if left := leftOf(t, "grey"); left != "" {
				t.Errorf("left on the host:\n%s", left)
			}
			if _, err := os.Stat(dir + "/labs"); err == nil {
				t.Error("a lab's folder is left")
			}
		}
		for _, c := range []struct{ name, breaks, says string }{
			{"a disk with one byte changed", "chmod u+w " + inside + "disk.qcow2; printf X | dd of=" + inside + "disk.qcow2 bs=1 seek=5000000 conv=notrunc status=none", "disk.qcow2"},
			{"a disk cut short", "chmod u+w " + inside + "disk.qcow2; truncate -s -1M " + inside + "disk.qcow2", "disk.qcow2"},
			{"a kernel that is gone", "rm " + inside + "kernel", "kernel"},
			{"an initrd that is another", "chmod u+w " + inside + "initrd; echo other >" + inside + "initrd", "initrd"},
		} {
			t.Run(c.name, func(t *testing.T) {
				restore()
				sh(t, c.breaks)
				r := fails(t, 1, []string{"corrupt", c.says, "labctl image build debian-slim"}, "--dir", dir, "up", file)
				if strings.Contains(r.err, "machine/") {
					t.Error("a machine ran from it")
				}
				after(t)
				fails(t, 1, []string{"corrupt", c.says}, "--dir", dir, "image", "verify")
			})
		}
		t.Run("a kernel that is none", func(t *testing.T) {
			restore()
			resign(t, inside, "kernel", "no kernel at all")
			fails(t, 1, []string{"machine/"}, "--dir", dir, "up", file)
			after(t)
		})
		t.Run("a root file system that is none", func(t *testing.T) {
			restore()
			resign(t, inside, "initrd", "no initrd at all")
			r := fails(t, 1, []string{"its kernel panicked", "Kernel panic", "its last console lines"}, "--dir", dir, "up", file)
			if strings.Contains(r.err, "\x1b") {
				t.Error("the console's escape sequences reach the terminal")
			}
			after(t)
		})
		t.Run("a full disk", func(t *testing.T) {
			restore()
			sh(t, "mount -t tmpfs -o size=$(( $(du -sm "+dir+"/images | cut -f1) + 3 ))m full /mnt; cp -a "+dir+"/images /mnt/; chmod 755 /mnt")
			fails(t, 4, []string{"/mnt", "are free"}, "--dir", "/mnt", "up", file)
			sh(t, "umount /mnt")
			after(t)
		})
		t.Run("a folder that QEMU does not get to", func(t *testing.T) {
			restore()
			sh(t, "mkdir -m 700 /run/closed; mv "+dir+" /run/closed/")
			fails(t, 4, []string{"QEMU cannot pass through /run/closed", "chmod o+x /run/closed"}, "--dir", "/run/closed/elsewhere", "up", file)
			sh(t, "mv /run/closed/* /run/; rmdir /run/closed")
			after(t)
		})
		sh(t, "rm -rf "+dir)
		isClean()
	})
}

// resign replaces a file of a base image and its digest in the manifest.
func resign(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, "manifest.json")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest images.Manifest
	if err := json.Unmarshal(old, &manifest); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	manifest.Files[name] = images.Sum{SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(text))}
	signed, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{path: signed, filepath.Join(dir, name): []byte(text)} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o444); err != nil {
			t.Fatal(err)
		}
	}
}
