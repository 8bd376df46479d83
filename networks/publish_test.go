package networks

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

func TestPublishRefusesUnknownProtocol(t *testing.T) {
	l := demo("trafic", "10.7")
	l.Nodes[0].Publish = []topology.Publish{{HostPort: 2222, Port: 22, Protocol: "sctp"}}
	if err := (Publish{l}).Create(t.Context()); err == nil || !strings.Contains(err.Error(), `"sctp"`) {
		t.Errorf("create says %v", err)
	}
}
