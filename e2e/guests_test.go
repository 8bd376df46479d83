//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// guestsLab is two nodes that become what they are after their start: one by
// cloud-init and a seed, one by the guest agent alone.
const guestsLab = `
name: guests
image: debian-slim
networks:
  control: {subnet: 10.9.1.0/24, uplink: none}
  test: {sides: [a, b], subnet: 10.9.2.0/24}
nodes:
  by-seed: {disk: 4GiB, nics: [{network: control, address: 10.9.1.10}, {network: test, side: a, address: 10.9.2.10}]}
  by-agent: {disk: 4GiB, nics: [{network: control, address: 10.9.1.11}, {network: test, side: b, address: 10.9.2.11}]}
`

// guestsTime is how long both may take to be ready: cloud-init is slow under emulation.
const guestsTime = 20 * time.Minute

// guests is that lab on this host, with a distribution's cloud image as its base.
func guests(t *testing.T, h *host.Host) lab.Build {
	t.Helper()
	f, err := topology.Load("lab.yaml", []byte(guestsLab), topology.Known{Recipes: images.Recipes()})
	fatal(t, err)
	b, err := lab.Prepare(h, f, "lab.yaml")
	fatal(t, err)
	ready := images.Ready{Name: "cloud", Path: hosttest.CloudImage(t), Guest: images.GuestCloudInit, Configure: images.ConfigureSeed}
	base, err := ready.Import(t.Context(), filepath.Join(h.Dir, "imported"), func(string) {})
	fatal(t, err)
	agents := base
	agents.Configure = images.ConfigureAgent
	b.Bases = map[string]images.Base{"by-seed": base, "by-agent": agents}
	return b
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestGuestsConfiguredAfterTheirStart looks at nodes of a cloud image from inside
// and from the host, before and after a reboot, and at what can go wrong between.
func TestGuestsConfiguredAfterTheirStart(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		h, err := host.Connect("", host.DefaultDir)
		fatal(t, err)
		defer h.Close()
		b := guests(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), guestsTime)
		defer cancel()
		tell := timed(t)
		p, err := lab.PlanUp(ctx, b.Resources())
		fatal(t, err)
		if plan := p.String(); !strings.Contains(plan, "create seed/by-seed\n") || strings.Contains(plan, "seed/by-agent") {
			t.Errorf("planned is\n%s", plan)
		}
		_, err = p.Apply(ctx, tell)
		fatal(t, err)
		fatal(t, lab.Ready(ctx, b.Resources(), tell))
		_, err = b.Prove(ctx, tell)
		fatal(t, err)
		for _, n := range b.Lab.Nodes {
			isNode(t, b, n)
		}
		isDeliveredAgain(ctx, t, b)
		reboot(ctx, t, b, tell)
		for _, n := range b.Lab.Nodes {
			isNode(t, b, n)
		}
		refuses(ctx, t, b)

		_, err = lab.Down(t.Context(), h, "guests", tell)
		fatal(t, err)
		fatal(t, os.RemoveAll(filepath.Join(h.Dir, "imported")))
		isClean()
	})
}

// timed tells how long after the test's begin each thing was waited for.
func timed(t *testing.T) lab.Tell {
	start := time.Now()
	var mu sync.Mutex
	return func(e lab.Event) {
		mu.Lock()
		defer mu.Unlock()
		t.Logf("%6.1f s %s %s %s %s %v", time.Since(start).Seconds(), e.Phase, e.Verb, e.Resource, e.Note, e.Err)
	}
}

// inside runs a script in a node and compares what it prints.
func inside(t *testing.T, b lab.Build, n topology.Node, script, want string) {
	t.Helper()
	out, err := domains.Agent{On: b.On, Node: n}.Bash(t.Context(), script)
	if got := strings.TrimSpace(string(out)); got != want || err != nil {
		t.Errorf("%s: %s\n got: %s, %v\nwant: %s", n.Name, script, got, err, want)
	}
}

func isNode(t *testing.T, b lab.Build, n topology.Node) {
	t.Helper()
	inside(t, b, n, "hostname; cat /etc/hostname", n.Name+"\n"+n.Name)
	inside(t, b, n, "cat /etc/machine-id", strings.ReplaceAll(n.UUID, "-", ""))
	inside(t, b, n, "cat /etc/hosts", strings.TrimSpace(images.HostsFile(b.Lab, n)))
	inside(t, b, n, "systemctl is-active ssh labctl-network qemu-guest-agent", "active\nactive\nactive")
	inside(t, b, n, "systemctl is-active systemd-networkd systemd-resolved apt-daily.timer || :", "inactive\ninactive\ninactive")
	inside(t, b, n, "sysctl -n net.ipv4.conf.all.arp_ignore net.ipv6.conf.all.disable_ipv6", "1\n1")
	inside(t, b, n, "ip route get 10.9.2.99 | grep -o 'src [0-9.]*'", "src "+n.NICs[1].Address.Addr().String())
	inside(t, b, n, "ip -oneline route show type unreachable | awk '{print $2}'", "10.9.2.0/24")
	inside(t, b, n, "cut -d: -f2 /etc/shadow | grep -v '^[!*]' || :", "")
	inside(t, b, n, "ls /etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_ed25519_key")
	inside(t, b, n, "stat -c '%a %U' /root/.ssh/authorized_keys /etc/ssh/ssh_host_ed25519_key", "600 root\n600 root")
	inside(t, b, n, "sshd -T | grep -iE '^(password|kbdinteractive)authentication'", "passwordauthentication no\nkbdinteractiveauthentication no")
	inside(t, b, n, "[ $(df --output=size --block-size=1M / | tail -n1) -gt 3700 ] && echo fills", "fills")

	// by key, and only because its host key is the one that was given
	login, err := lab.Login(n)
	fatal(t, err)
	out, err := exec.Command("ssh", append(b.SSHOptions(n), login, "hostname")...).CombinedOutput()
	if strings.TrimSpace(string(out)) != n.Name || err != nil {
		t.Errorf("ssh %s: %s, %v", n.Name, out, err)
	}
}

func machine(t *testing.T, b lab.Build, name string) domains.Machine {
	t.Helper()
	m, err := b.Machine(name)
	fatal(t, err)
	return m
}

// isDeliveredAgain takes away the stamp and spoils what was delivered, as where
// labctl was killed, and has the agent restarted in the midst of it all.
func isDeliveredAgain(ctx context.Context, t *testing.T, b lab.Build) {
	t.Helper()
	m := machine(t, b, "by-agent")
	wait := func() time.Duration {
		t.Helper()
		start := time.Now()
		fatal(t, m.Wait(ctx, func(string) {}))
		return time.Since(start)
	}
	const stamp = "stat -c %Y.%i /etc/labctl/configured"
	agent := domains.Agent{On: b.On, Node: m.Node}
	before, err := agent.Bash(ctx, stamp)
	fatal(t, err)
	t.Logf("ready again in %v", wait())
	inside(t, b, m.Node, stamp, strings.TrimSpace(string(before)))

	_, err = agent.Bash(ctx, "rm /etc/labctl/configured; echo half >/etc/hosts; rm /root/.ssh/authorized_keys; ip address flush dev $(ip -br link | awk '/^e/ {print $1; exit}')")
	fatal(t, err)
	deliver := m.Deliver
	m.Deliver = func() (domains.Delivery, error) {
		d, err := deliver()
		d.Apply = "[ -e /run/restarted ] || { : >/run/restarted; systemctl restart qemu-guest-agent; }\n" + d.Apply
		return d, err
	}
	t.Logf("delivered again in %v", wait())
	m.Deliver = deliver
	t.Logf("delivered once more in %v", wait()) // it was another script
	isNode(t, b, m.Node)
}

// reboot restarts both machines from inside and waits until they are ready.
func reboot(ctx context.Context, t *testing.T, b lab.Build, tell lab.Tell) {
	t.Helper()
	for _, n := range b.Lab.Nodes {
		agent := domains.Agent{On: b.On, Node: n}
		before, err := agent.Bash(ctx, bootID)
		fatal(t, err)
		_, _ = agent.Bash(ctx, "echo kept >/root/kept; systemctl --no-block reboot") // whose agent may end before it tells
		inTime(t, guestsTime, n.Name+" restarts", func() bool {
			now, err := agent.Bash(ctx, bootID)
			return err == nil && string(now) != string(before)
		})
	}
	fatal(t, lab.Ready(ctx, b.Resources(), tell))
	for _, n := range b.Lab.Nodes {
		inside(t, b, n, "cat /root/kept", "kept")
	}
}

// refuses looks at what is said of an image that lacks a program, and of an agent
// that may not do what is asked.
func refuses(ctx context.Context, t *testing.T, b lab.Build) {
	t.Helper()
	m := machine(t, b, "by-agent")
	says := func(want ...string) {
		t.Helper()
		err := m.Wait(ctx, func(string) {})
		for _, w := range want {
			if !strings.Contains(fmt.Sprint(err), w) {
				t.Errorf("%v does not say %s", err, w)
			}
		}
	}
	programs := m.Programs
	m.Programs = append(programs, "no-such-program")
	says("the image lacks no-such-program\n")
	m.Programs = programs

	agent := domains.Agent{On: b.On, Node: m.Node}
	// the agent may be gone before it has told of its own restart
	_, _ = agent.Bash(ctx, `mkdir -p /etc/qemu; printf '[general]\nblacklist=guest-exec\n' >/etc/qemu/qemu-ga.conf; systemctl --no-block restart qemu-guest-agent`)
	eventually(t, "the agent refuses", func() bool {
		_, err := agent.Exec(ctx, nil, "true")
		return err != nil && strings.Contains(err.Error(), "refuses")
	})
	says("the image's guest agent refuses guest-exec", "qemu-ga.conf")
}
