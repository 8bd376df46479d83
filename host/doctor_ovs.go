package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// hasOVS looks whether Open vSwitch runs, where a network wants it. Nothing is asked where none does.
func hasOVS(ctx context.Context, _ *Host, n Needs) (Unfits, error) {
	if len(n.OVS) == 0 {
		return nil, nil
	}
	err := OVSRuns(ctx)
	var unfit Unfit
	if errors.As(err, &unfit) {
		unfit.What = fmt.Sprintf("%s wants bridges of Open vSwitch's, and %s", strings.Join(n.OVS, ", "), unfit.What)
		return Unfits{unfit}, nil
	}
	return nil, err
}

func ovsFound(_ *Host, n Needs) string {
	if len(n.OVS) == 0 {
		return "no network wants Open vSwitch"
	}
	return strings.Join(n.OVS, ", ")
}

// slowOVS adds what OVSDisturbs finds, for doctor.
func slowOVS(c *Check, _ *Host, n Needs) { c.Findings = append(c.Findings, OVSDisturbs(n)...) }

// OVSDisturbs is that the kernel has no datapath of Open vSwitch's, where a network wants it.
func OVSDisturbs(n Needs) []Finding {
	var c Check
	if len(n.OVS) == 0 {
		return nil
	}
	if kind, err := OVSDatapath(); err != nil {
		c.Warn(err.Error(), "whether the kernel passes the frames is not known", "mend that, and run labctl doctor again")
	} else if kind == OVSUserspace {
		most, _ := os.ReadFile("/proc/sys/net/core/wmem_default")
		c.Warn("the kernel has no datapath of Open vSwitch's: ovs-vswitchd passes each frame itself",
			fmt.Sprintf("that takes a processor's time, and what waits in all queues of a wire's impairments (impair:) has no more than %s bytes of memory, some two for each of a frame (net.core.wmem_default)", strings.TrimSpace(string(most))),
			"modprobe openvswitch; where there is none of that name, boot a kernel that has it (Debian: linux-image-amd64)")
	}
	return c.Findings
}
