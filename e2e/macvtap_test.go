//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// macvtap is a lab whose client has a NIC of the host by a macvtap; the cable
// leads to another, which joins the client's side.
const macvtap = `
name: macvtap
image: debian-slim
networks:
  control: {}
  test: {sides: [client, server], uplinks: {client: nic1}}
nodes:
  client:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: client, passthrough: {macvtap: nic0, take: true}}]
  server:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: test, side: server}]
  capture:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {mirror: client}]
`

// TestMacvtap is the lab with a macvtap, really: proven, healed and given back.
func TestMacvtap(t *testing.T) {
	hosttest.AloneWithMacvtaps(t)
	hosttest.Private(t, func(t *testing.T) {
		cabled(t)
		file := write(t, "lab.yaml", macvtap)
		isClean := clean(t)

		t.Run("an address is taken only where the file says so", func(t *testing.T) {
			asked := write(t, "lab.yaml", strings.Replace(macvtap, ", take: true", "", 1))
			fails(t, 4, []string{"macvtap of node client: link nic0 is in use by the host itself: address 192.0.2.7/24", "take: true"}, "up", asked)
		})
		if out := must(t, "plan", file); !strings.Contains(out, "client's frames are copied at the macvtap lct") {
			t.Errorf("plan does not say where the mirror is:\n%s", out)
		}
		must(t, "up", file)
		s := status(t)
		if c := s.Nodes[0].NICs[1]; s.State != lab.Whole || c.Kind != "macvtap" || c.Device != "nic0" || c.HostState != "up" {
			t.Errorf("status is %s, the client's NIC %+v", s.State, c)
		}
		if m := s.Mirror; len(m) != 1 || m[0].Point != "macvtap" || m[0].At != s.Nodes[0].NICs[1].Link {
			t.Errorf("mirrors are %+v", m)
		}
		if got := sh(t, "ip -br address show dev nic0; ip -br address show dev nic1"); strings.Contains(got, "192.0.2.7") || strings.Contains(got, ":") {
			t.Errorf("the host has an address on a NIC that it has given away:\n%s", got)
		}
		in(t, "server", "iperf3 -s -D -1; until ss -Hltn | grep -q :5201; do sleep 0.1; done")
		if got := in(t, "client", "iperf3 -c server -t 2"); !strings.Contains(got, "receiver") {
			t.Errorf("iperf3 says %q", got)
		}
		must(t, "verify")
		t.Run("a second up does nothing", func(t *testing.T) {
			if out := must(t, "plan", file); !strings.Contains(out, "nothing to do") {
				t.Errorf("plan of a running lab says %q", out)
			}
		})
		t.Run("another lab cannot have the NICs", func(t *testing.T) {
			other := strings.NewReplacer("name: macvtap", "name: other").Replace(macvtap)
			fails(t, 4, []string{"link nic0 is taken by lab macvtap", "link nic1 is taken by lab macvtap", "labctl down macvtap"}, "up", write(t, "other.yaml", other))
		})
		t.Run("a NIC that was changed is mended", func(t *testing.T) {
			sh(t, "ip link set nic1 nomaster; ip link set nic0 down")
			fails(t, 1, nil, "verify")
			must(t, "up", file)
		})
		t.Run("the node powers itself off", func(t *testing.T) {
			_ = labctl(t, "exec", "client", "--", "systemctl", "poweroff", "--force", "--force")
			eventually(t, "the client is off", func() bool {
				return sh(t, "virsh -c qemu:///system domstate labctl.macvtap.client") == "shut off"
			})
			must(t, "up", file)
		})
		must(t, "down")
		isClean()
	})
}
