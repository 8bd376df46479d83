package hosttest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAloneWithMacvtaps: while a test is alone another would wait, and then no longer.
func TestAloneWithMacvtaps(t *testing.T) {
	dev, err := os.Open("/dev")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dev.Close() }()
	var under error
	t.Run("alone", func(t *testing.T) {
		AloneWithMacvtaps(t)
		under = unix.Flock(int(dev.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	if under != unix.EWOULDBLOCK {
		t.Errorf("beside it another got %v", under)
	}
	AloneWithMacvtaps(t) // it would wait for ever
}
