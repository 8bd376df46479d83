//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// readyLab is a lab of ready images, which boot by their own loaders: one is
// configured on its disk, the other by a seed.
const readyLab = `
name: ready
image: debian-slim
images:
  test-disk: {path: BIOS, guest: debian}
  test-seed: {path: UEFI, sha256: DIGEST, guest: cloud-init}
networks:
  control: {}
  test: {sides: [client, server]}
nodes:
  disk:
    image: test-disk
    disk: 4GiB
    nics: [{network: control}, {network: test, side: client}]
  seed:
    image: test-seed
    disk: 4GiB
    services: [influxdb]
    nics: [{network: control}, {network: test, side: server}]
`

// TestReadyImages is that lab as users bring it up: imported, configured, proven, and
// gone without a trace.
func TestReadyImages(t *testing.T) {
	bios, uefi := hosttest.CloudImage(t), hosttest.UEFIImage(t)
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv(stateLimit, "4GiB")
		const imported = "/var/lib/labctl/images/test-"
		t.Cleanup(func() { sh(t, "rm -rf "+imported+"*") }) // the cache is the machine's
		with := func(digest string) string {
			return write(t, "lab.yaml", strings.NewReplacer("BIOS", bios, "UEFI", uefi, "DIGEST", digest).Replace(readyLab))
		}
		file := with(sh(t, "sha256sum "+uefi+" | cut -d' ' -f1"))
		isClean := clean(t)

		plan := must(t, "plan", file)
		for _, says := range []string{"import   image/test-disk", "import   image/test-seed", "create   seed/seed"} {
			if !strings.Contains(plan, says) {
				t.Errorf("plan does not say %q:\n%s", says, plan)
			}
		}
		fails(t, 1, []string{"import the image test-seed", "is not the image that is wanted: its SHA-256 is"}, "up", with(`"`+strings.Repeat("0", 64)+`"`))
		isClean()

		must(t, "up", "--timeout", "20m", file)
		if s := status(t); s.State != lab.Whole {
			t.Errorf("the lab is %s", s.State)
		}
		for _, n := range []string{"disk", "seed"} {
			t.Run(n, func(t *testing.T) { isConfigured(t, n) })
		}
		if got := in(t, "seed", "systemctl is-active influxdb"); got != "active" {
			t.Errorf("influxdb is %s", got)
		}
		if out := must(t, "up", file); !strings.Contains(out, "lab ready is ready") {
			t.Errorf("a second up says %q", out)
		}

		boots := map[string]string{}
		for _, n := range []string{"disk", "seed"} {
			boots[n] = in(t, n, bootID)
		}
		const variable = "/sys/firmware/efi/efivars/Labctl-aa4093c7-aef6-4af9-acb9-58982f6c7e14"
		dirty := func() {
			t.Helper()
			in(t, "seed", "printf '\\7\\0\\0\\0dirt' > "+variable)
			in(t, "disk", "echo dirt > /root/dirt; sync")
		}
		isBack := func() {
			t.Helper()
			for n, boot := range boots {
				if left := in(t, n, "ls /root/dirt "+variable+" 2>/dev/null; true"); left != "" {
					t.Errorf("on node %s there is still %s", n, left)
				}
				if in(t, n, bootID) != boot {
					t.Errorf("node %s has booted", n)
				}
			}
		}
		dirty()
		must(t, "reset")
		isBack()
		dirty()
		must(t, "down")
		if out := must(t, "plan", file); !strings.Contains(out, "nodes start warm") {
			t.Errorf("plan says %q", out)
		}
		must(t, "up", file)
		isBack()
		for _, n := range []string{"disk", "seed"} {
			t.Run(n+" again", func(t *testing.T) { isConfigured(t, n) })
		}
		must(t, "down")
		isClean()
	})
}

// isConfigured looks in a node for its name, its shell by ssh, and that its file system fills the disk.
func isConfigured(t *testing.T, node string) {
	t.Helper()
	if got := strings.TrimSpace(must(t, "ssh", node, "--", "hostname")); got != node {
		t.Errorf("%s calls itself %q", node, got)
	}
	var mib int
	if _, err := fmt.Sscan(in(t, node, "df --output=size --block-size=1M / | tail -n1"), &mib); err != nil || mib < 3500 {
		t.Errorf("%s's file system has %d MiB of 4096, %v", node, mib, err)
	}
	if got := in(t, node, "sshd -T | grep -ci '^passwordauthentication no'"); got != "1" {
		t.Errorf("%s lets passwords in", node)
	}
}
