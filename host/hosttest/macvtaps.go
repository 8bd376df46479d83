package hosttest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// AloneWithMacvtaps waits until no other test on this machine is alone, and has others wait until
// t has ended. libvirt opens a macvtap as /dev/tapN by its link's number, which is the same on two
// private hosts, and /dev is the machine's own. Call it before Private.
func AloneWithMacvtaps(t *testing.T) {
	t.Helper()
	if os.Getenv(inside) != "" {
		return // which is waited for outside
	}
	dev, err := os.Open("/dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	if err := unix.Flock(int(dev.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}
