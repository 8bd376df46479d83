package domains

import (
	"context"
	"fmt"

	"github.com/mami-project/labctl/host"
)

// Now is nil where the machine is ready at this moment: its agent answers, its
// system runs with no failed unit, and its addresses and names are as written.
// Unlike Wait it waits for nothing.
func (m Machine) Now(ctx context.Context) error {
	if err := m.agent().Ping(ctx); err != nil {
		return err
	}
	r, err := m.agent().Exec(ctx, nil, "systemctl", "is-system-running")
	if err != nil {
		return err
	}
	if state := host.Excerpt(r.Out); state != "running" {
		return fmt.Errorf("the system is %s", state)
	}
	return isAsWritten(ctx, m)
}
