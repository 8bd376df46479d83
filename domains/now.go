package domains

import "context"

// Now is nil where the machine is ready at this moment: its agent answers, its
// system runs with no failed unit, and its addresses and names are as written.
// Unlike Wait it waits for nothing.
func (m Machine) Now(ctx context.Context) error {
	if err := m.agent().Ping(ctx); err != nil {
		return err
	}
	if err := m.running(ctx); err != nil {
		return err
	}
	return isAsWritten(ctx, m)
}
