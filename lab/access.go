package lab

import (
	"fmt"

	"github.com/mami-project/labctl/topology"
)

// SSHOptions are the arguments that let ssh and scp log into a node with the
// lab's own key and known hosts: the user's own configuration plays no part, and
// nothing is ever asked.
func (b Build) SSHOptions(n topology.Node) []string {
	keys := b.keys()
	return []string{
		"-F", "none",
		"-i", keys.Identity(),
		"-o", "IdentitiesOnly=yes",
		"-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes",
		"-o", `UserKnownHostsFile="` + keys.KnownHosts() + `"`,
		"-o", "GlobalKnownHostsFile=none",
		"-o", "HostKeyAlias=" + n.Name,
		"-o", "ConnectTimeout=15",
		"-o", "LogLevel=ERROR",
	}
}

// Login is USER@ADDRESS of a node on the control network.
func Login(n topology.Node) (string, error) {
	address, ok := n.ControlAddress()
	if !ok {
		return "", fmt.Errorf("node %s is on no network that the host is on; labctl exec and labctl console reach it", n.Name)
	}
	return "root@" + address.String(), nil
}
