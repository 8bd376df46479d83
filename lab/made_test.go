package lab

import (
	"testing"
	"time"
)

// setNow has the host's clock stand still at a time.
func setNow(t *testing.T, at time.Time) {
	t.Helper()
	before := now
	now = func() time.Time { return at }
	t.Cleanup(func() { now = before })
}
