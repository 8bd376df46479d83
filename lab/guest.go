package lab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// guest is a node as package flows needs it.
type guest struct {
	Build
	node topology.Node
}

// Bash runs a script by the node's agent, which needs no network.
func (g guest) Bash(ctx context.Context, script string) ([]byte, error) {
	r, err := domains.Agent{On: g.On, Node: g.node}.Exec(ctx, []byte(script), "/bin/bash", "-s")
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", g.node.Name, err)
	}
	if r.Code != 0 {
		return r.Out, fmt.Errorf("node %s: exit status %d: %s", g.node.Name, r.Code, host.Excerpt(r.Err))
	}
	return r.Out, nil
}

// Fetch passes on what a script prints by ssh, which carries any length.
func (g guest) Fetch(ctx context.Context, script string, to io.Writer) error {
	login, err := Login(g.node)
	if err != nil {
		return err
	}
	var words lastWords
	cmd := exec.CommandContext(ctx, "ssh", append(g.SSHOptions(g.node), login, "--", "bash", "-s")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), to, &words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM} // an interrupt is labctl's to handle
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ssh to %s: %w: %s", g.node.Name, err, host.Excerpt(words))
	}
	return nil
}
