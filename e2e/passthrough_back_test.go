//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

// TestPassthroughGivenBack is the short form of TestPassthrough, in which no guest boots: a NIC that the host uses is
// refused, one that the file takes is the machine's, and it is the host's again as it was.
func TestPassthroughGivenBack(t *testing.T) {
	plain(t)
	hosttest.Nested(t, hosttest.NestedHost{Images: true}, func(t *testing.T) {
		ready(t)
		sh(t, `ip link set nic1 mtu 1400 up
			ip link set nic2 up # its queue is made when it is first up
			ip address add 192.0.2.7/24 dev nic1`)
		isClean := becomesClean(t)
		was := driver(t)
		fails(t, 4, []string{"node client: link nic1 is in use by the host itself: address 192.0.2.7/24", "take: true"},
			"up", passingFile(t, "DEVICE", `"`+whole+`"`))
		killed(t, `"phase":"ends","verb":"create","resource":"machine/client"`, "up", "--events", passingFile(t))
		if got := driver(t); !strings.HasPrefix(got, "vfio-pci") {
			t.Errorf("once the client has started, its NIC is with %s", got)
		}
		must(t, "down", "passing")
		eventually(t, "the NIC is back", func() bool { return driver(t) == was })
		isClean()
	})
}
