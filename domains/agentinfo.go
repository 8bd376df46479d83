package domains

import (
	"context"
	"slices"
)

// commands are those of the guest agent that labctl uses.
var commands = []string{
	"guest-exec", "guest-exec-status", "guest-file-open", "guest-file-read", "guest-file-close",
	"guest-network-get-interfaces", "guest-ping",
}

// agentInfo is what an agent tells of itself.
type agentInfo struct {
	Commands []agentCommand `json:"supported_commands"`
}

type agentCommand struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// AgentLacks are the commands that labctl uses and the machine's agent does not
// do: those that it does not know, or that its configuration blocks.
func (m Machine) AgentLacks(ctx context.Context) ([]string, error) {
	var info agentInfo
	if err := m.agent().call(ctx, "guest-info", nil, &info); err != nil {
		return nil, err
	}
	return info.lacks(), nil
}

func (i agentInfo) lacks() []string {
	return slices.DeleteFunc(slices.Clone(commands), func(name string) bool {
		return slices.Contains(i.Commands, agentCommand{name, true})
	})
}
