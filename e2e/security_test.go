//go:build e2e

package e2e

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// solo is a lab of one node, beside another lab.
const solo = `
name: blue
image: debian-slim
networks: {control: {}}
nodes:
  solo:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}]
`

// TestSecurity holds a lab up to what SECURITY.md promises: its secrets stay its
// own, it does not meet another lab, and a node that lies gets nowhere.
func TestSecurity(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		recorded := recordPrograms(t)
		open, closeEyes := watchModes()
		var up, other result
		first, second := command(t, "up", "--events", smallLab(t, "red")), command(t, "up", write(t, "blue.yaml", solo))
		first.Env = append(os.Environ(), "PATH="+filepath.Dir(recorded)+":"+os.Getenv("PATH"))
		var both sync.WaitGroup
		both.Go(func() { up = finish(t, first, nil) })
		both.Go(func() { other = finish(t, second, nil) })
		both.Wait()
		closeEyes()
		up.check(t, 0)
		other.check(t, 0)
		if t.Failed() {
			t.FailNow()
		}
		if n := open(); len(n) > 0 {
			t.Errorf("anyone could read these while they were made: %v", n)
		}
		t.Run("keys are told nowhere", func(t *testing.T) { keysAreToldNowhere(t, recorded, up.out+up.err) })
		t.Run("others read nothing", func(t *testing.T) { othersReadNothing(t, true) })
		t.Run("no password logs in", noPasswordLogsIn)
		t.Run("labs do not meet", labsDoNotMeet)
		t.Run("a node's words on a terminal", wordsOnATerminal)
		t.Run("a node that lies", aNodeLies)
		sh(t, "for d in $(virsh -c qemu:///system -q list --name); do virsh -c qemu:///system -q destroy $d; done")
		t.Run("others read nothing of machines that are off", func(t *testing.T) { othersReadNothing(t, false) })
		must(t, "down", "red")
		must(t, "down", "blue")
		sh(t, "rm -r "+filepath.Dir(recorded))
		isClean()
	})
}

// recordPrograms makes a folder for PATH of programs that record how they are
// called, in a file beside them, before they take their course.
func recordPrograms(t *testing.T) (file string) {
	t.Helper()
	dir := "/run/recorded"
	file = dir + "/calls"
	sh(t, `mkdir -m 700 `+dir+`
for p in qemu-img qemu-storage-daemon debugfs resize2fs ssh; do
	real=$(PATH=$PATH:/usr/sbin:/sbin command -v $p)
	printf '#!/usr/bin/bash -p\n{ printf "%%s\\n" "$0" "$@"; printenv; } >>`+file+`\nexec %s "$@"\n' "$real" >`+dir+`/$p
	chmod 755 `+dir+`/$p
done`)
	return file
}

// watchModes looks again and again, until it is ended, for files of labs that anyone may read.
func watchModes() (found func() []string, end func()) {
	stop := make(chan struct{})
	seen := map[string]bool{}
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			_ = filepath.WalkDir(host.DefaultDir+"/labs", func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return nil
				}
				i, err := d.Info()
				switch {
				case err != nil: // it is gone
				case d.IsDir() && i.Mode().Perm()&0o001 == 0:
					return fs.SkipDir // nobody gets to what is in it
				case d.Type().IsRegular() && i.Mode().Perm()&0o007 != 0:
					seen[path+" "+i.Mode().String()] = true
				}
				return nil
			})
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	end = func() {
		close(stop)
		watching.Wait()
	}
	return func() []string { return slices.Sorted(maps.Keys(seen)) }, end
}

// keysAreToldNowhere looks for the lab's private keys in what is not theirs.
func keysAreToldNowhere(t *testing.T, recorded, said string) {
	const keyDir = host.DefaultDir + "/labs/red/keys"
	files, err := filepath.Glob(keyDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("PRIVATE KEY")) {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		secrets = append(secrets, lines[2:len(lines)-1]...) // the first of base64 says no more than what kind of key it is
	}
	if len(secrets) < 6 {
		t.Fatalf("%d lines of keys: this test shows nothing", len(secrets))
	}
	places := map[string]string{
		"what labctl says": said,
		"what libvirt is told": sh(t, `for d in $(virsh -c qemu:///system -q list --all --name); do virsh -c qemu:///system dumpxml --security-info $d; done
for n in $(virsh -c qemu:///system -q net-list --all --name); do virsh -c qemu:///system net-dumpxml $n; done`),
		"mark": sh(t, "cat "+host.DefaultDir+"/labs/red/mark.xml"),
	}
	calls, err := os.ReadFile(recorded)
	if err != nil || !bytes.Contains(calls, []byte("debugfs")) || !bytes.Contains(calls, []byte("qemu-storage-daemon")) {
		t.Fatalf("the calls of programs are not recorded: %v", err)
	}
	places["what programs are called with"] = string(calls)
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ", "/run/*.log", "/var/log/libvirt/*", "/var/log/libvirt/*/*", host.DefaultDir + "/labs/red/*.console"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			text, err := os.ReadFile(f)
			if err == nil {
				places[f] = string(text)
			}
		}
	}
	for place, text := range places {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s: a private key stands there", place)
			}
		}
	}
}

// othersReadNothing tries, as another user of the host, to read whatever the labs have on it.
func othersReadNothing(t *testing.T, run bool) {
	script := `find /var/lib/labctl/labs /var/log/libvirt -type f`
	if run {
		script += "; find /var/lib/libvirt/qemu /run/libvirt/qemu -type s -o -type f -name '*labctl*' ! -name '*.pid'"
		script += `; for d in $(virsh -c qemu:///system -q list --name); do virsh -c qemu:///system ttyconsole $d; done | grep /`
	}
	paths := strings.Fields(sh(t, script))
	disks := 0
	for _, p := range paths {
		if strings.HasSuffix(p, ".qcow2") {
			disks++
		}
		if out := sh(t, "setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '[ ! -r "+p+" ] && [ ! -w "+p+" ] || echo open'"); out != "" {
			t.Errorf("%s is open to anyone: %s", p, sh(t, "ls -l "+p))
		}
	}
	if disks != 3 {
		t.Errorf("%d disks among %v", disks, paths)
	}
	if !trySh(t, "setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '[ -r /var/lib/labctl/images ]'") {
		t.Error("the other user reads nothing at all: this test shows nothing")
	}
}

// inLab runs a shell script in a node of a lab, and whether it succeeds.
func inLab(t *testing.T, lab, node, script string) (string, bool) {
	t.Helper()
	r := labctl(t, "exec", "--lab", lab, node, "--", "sh", "-c", script)
	return strings.TrimSpace(r.out), r.code == 0
}

func noPasswordLogsIn(t *testing.T) {
	if out, ok := inLab(t, "red", "one", "cut -d: -f2 /etc/shadow | grep -v '^[*!]'; sshd -T | grep -ixE '(password|kbdinteractive)authentication no' | wc -l"); !ok || out != "2" {
		t.Errorf("passwords that log in, and sshd's two refusals: %q", out)
	}
	address := addressOf(t, "red", "one")
	out := sh(t, "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o PubkeyAuthentication=no root@"+address+" true 2>&1 || true")
	if !strings.Contains(out, "Permission denied (publickey)") {
		t.Errorf("without a key sshd says %q", out)
	}
}

// addressOf is a node's address on the control network.
func addressOf(t *testing.T, lab, node string) string {
	t.Helper()
	for _, n := range status(t, "--lab", lab).Nodes {
		if n.Name == node {
			return strings.Split(n.NICs[0].Address, "/")[0]
		}
	}
	t.Fatalf("%s has no node %s", lab, node)
	return ""
}

// labsDoNotMeet tries to reach one lab from the other, by what it is and by what it
// could make itself.
func labsDoNotMeet(t *testing.T) {
	own, other := addressOf(t, "red", "two"), addressOf(t, "blue", "solo")
	gateway := status(t, "--lab", "blue").Networks[0].Gateway
	const reach = `eth=$(ip -o route show default | sed 's/.* dev \([^ ]*\).*/\1/')
tries() {
	most=$1; shift
	for a; do
		(ping -c1 -W$most $a >/dev/null && echo ping $a) &
		(timeout $most bash -c "</dev/tcp/$a/22" 2>/dev/null && echo ssh $a) &
	done
	wait
}
`
	if out, _ := inLab(t, "red", "one", reach+"tries 30 "+own+" | sort"); out != "ping "+own+"\nssh "+own {
		t.Fatalf("a node of its own lab: %q", out)
	}
	for what, prepare := range map[string]string{
		"as it is":                       ":",
		"by a route of its own":          "ip route add " + other + "/32 dev $eth; ip route add " + gateway + "/32 dev $eth",
		"with an address of the other's": "ip addr add " + strings.TrimSuffix(other, lastPart(other)) + "77/24 dev $eth",
	} {
		for _, node := range []string{"one", "two"} {
			undo := "; ip route flush " + other + "/32 2>/dev/null; ip route flush " + gateway + "/32 2>/dev/null; ip addr del " + strings.TrimSuffix(other, lastPart(other)) + "77/24 dev $eth 2>/dev/null; echo tried"
			if out, _ := inLab(t, "red", node, reach+prepare+"; tries 2 "+other+" "+gateway+undo); out != "tried" {
				t.Errorf("%s %s reaches the other lab, or cannot try: %q", node, what, out)
			}
		}
	}
	// IPv6 by link-local addresses, which need nobody's leave
	const six = "for d in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 >$d; done; "
	linkLocal := func(lab, node string) string {
		out, _ := inLab(t, lab, node, reach+six+"until ip -6 -o addr show dev $eth scope link -tentative | grep -o 'fe80[^/]*'; do sleep 0.1; done")
		return out
	}
	mine, theirs := linkLocal("red", "two"), linkLocal("blue", "solo")
	linkLocal("red", "one")
	if _, ok := inLab(t, "red", "one", reach+"ping -6 -c1 -W30 "+mine+"%$eth"); !ok {
		t.Error("IPv6 does not work inside a lab: this test shows nothing")
	}
	if out, ok := inLab(t, "red", "one", reach+"ping -6 -c1 -W2 "+theirs+"%$eth"); ok {
		t.Errorf("IPv6 reaches the other lab: %s", out)
	}
	if out, _ := inLab(t, "red", "one", reach+"ping -6 -c2 -W2 ff02::1%$eth"); strings.Contains(out, theirs) {
		t.Errorf("multicast reaches the other lab: %s", out)
	}
}

// lastPart is what follows an address's last dot.
func lastPart(address string) string { return address[strings.LastIndex(address, ".")+1:] }
