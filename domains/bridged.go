package domains

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// forwarding is the state of a bridge's port that passes frames.
// Source: BR_STATE_FORWARDING of linux/if_bridge.h.
const forwarding = "3"

// isPlugged says whether the node has a NIC on a bridge.
func isPlugged(m Machine) bool {
	return len(m.plugs()) > 0
}

// plugs are the node's taps that are on bridges of the kernel's; libvirt's test driver
// makes none. Those of Open vSwitch pass frames as soon as a tap is plugged in.
func (m Machine) plugs() []string {
	var taps []string
	if m.On.Fake() {
		return nil
	}
	for _, c := range m.Node.NICs {
		if c.Bridge != "" && !c.OVS {
			taps = append(taps, c.Link)
		}
	}
	return taps
}

// isPassed waits until the bridges pass the node's frames: one of the host's own that
// speaks the spanning tree protocol looks for loops first.
func isPassed(ctx context.Context, m Machine) error {
	for _, tap := range m.plugs() {
		if err := until(ctx, func() (bool, error) {
			state, err := os.ReadFile("/sys/class/net/" + tap + "/brport/state")
			return strings.TrimSpace(string(state)) == forwarding, err
		}); err != nil {
			return fmt.Errorf("port %s: %w", tap, err)
		}
	}
	return nil
}

// servesItself has a node on a bridge where the host has no address reach its own
// services at the address that others use.
func (m Machine) servesItself(ctx context.Context, address netip.Addr) error {
	script := fmt.Sprintf("read -rt 5 line </dev/tcp/%s/%d && [[ $line = SSH-2.0-* ]]", address, sshPort)
	if slices.Contains(m.Node.Services, topology.ServiceInfluxDB) {
		script += fmt.Sprintf(" && curl -sf -m 5 -o /dev/null http://%s:%d/ping", address, InfluxPort)
	}
	var said []byte
	err := until(ctx, func() (bool, error) {
		r, err := m.agent().Exec(ctx, nil, "/bin/bash", "-c", script)
		said = r.Err
		return r.Code == 0, err
	})
	if err != nil {
		return fmt.Errorf("services at %s: %w: %s", address, err, host.Excerpt(said))
	}
	return nil
}
