package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
)

// How long a node's agent may take to tell what it can do, which a hung one never does.
const agentTime = 10 * time.Second

// seesAgents asks the guest agents of nodes that run for the commands that labctl needs.
func (b Build) seesAgents(ctx context.Context) host.Check {
	c := host.Check{Name: "guest agents"}
	ms := b.Machines()
	found := make([]func(), len(ms)) // reported in the order of nodes
	var group errgroup.Group
	group.SetLimit(atOnce)
	asked := 0
	for i, m := range ms {
		if up, err := m.Running(); err != nil || !up {
			continue // its state stands elsewhere
		}
		asked++
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, agentTime)
			defer cancel()
			lacks, err := m.AgentLacks(ctx)
			found[i] = func() { judgeAgent(&c, b.Lab.Name, m, lacks, err) }
			return nil
		})
	}
	_ = group.Wait()
	c.Found = fmt.Sprintf("%d of %d nodes run and were asked", asked, len(ms))
	for _, report := range found {
		if report != nil {
			report()
		}
	}
	return c
}

func judgeAgent(c *host.Check, lab string, m domains.Machine, lacks []string, err error) {
	name := m.Node.Name
	switch {
	case err != nil:
		c.Warn(fmt.Sprintf("node %s: %v", name, err), "labctl can neither prove the lab nor run anything in that node",
			fmt.Sprintf("labctl console --lab %[1]s %[2]s shows why; virsh reset %[3]s boots it anew", lab, name, m.Node.Object))
	case len(lacks) > 0:
		c.Fault(fmt.Sprintf("node %s: its guest agent does not do %s", name, strings.Join(lacks, ", ")), "labctl configures and proves a node by these",
			"let it, in the image's /etc/sysconfig/qemu-ga, /etc/default/qemu-guest-agent or /etc/qemu/qemu-ga.conf, which block or do not list them")
	}
}
