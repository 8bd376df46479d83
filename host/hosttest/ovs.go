package hosttest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
)

//go:embed ovs
var ovsScript []byte

// OVS starts Open vSwitch on the private host, or what of it does not run; the script ovs says
// which, and gets it. It has the userspace datapath where the machine's kernel has none.
func OVS(t *testing.T) {
	t.Helper()
	requirePrivate(t)
	digest := sha256.Sum256(ovsScript)
	path := filepath.Join("/var/cache/labctl/ovs", hex.EncodeToString(digest[:])[:12], "ovs")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make ovs", err)
	}
	output(t, "bash", path, "start")
}

// KillOVS kills one of Open vSwitch's daemons, "ovs-vswitchd" or "ovsdb-server".
func KillOVS(t *testing.T, daemon string) {
	t.Helper()
	requirePrivate(t)
	output(t, "bash", "-ec", `pid=$(<"/run/openvswitch/$0.pid"); kill -KILL "$pid"; while [ -e "/proc/$pid" ]; do sleep 0.01; done`, daemon)
}

// ovsTables are where Open vSwitch keeps what it was told to do, with what is not its own to count.
var ovsTables = map[string]string{
	"Bridge": "name,external_ids,other_config", "Port": "name,external_ids", "Interface": "name,external_ids",
	"Mirror": "name", "QoS": "type,external_ids",
}

// lookOVS adds Open vSwitch's records, where the host has it.
func lookOVS(t *testing.T, _ *host.Host, found Inventory) {
	if _, err := exec.LookPath("ovs-vsctl"); err != nil {
		return
	}
	for table, columns := range ovsTables {
		for row := range strings.SplitSeq(strings.TrimSpace(output(t, "ovs-vsctl", "--timeout=300", "--columns="+columns, "list", table)), "\n\n") {
			if row != "" {
				found.add("Open vSwitch's %s: %s", table, strings.Join(strings.Fields(row), " "))
			}
		}
	}
}
