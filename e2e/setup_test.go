//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

// Setup gives /dev/kvm to QEMU wherever it is closed to it, and leaves it alone elsewhere.
func TestSetupOpensKVM(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		if !trySh(t, "test -c /dev/kvm") { // nothing to give
			setup(t, "setup: nothing to do")
			return
		}
		const change = "setup: give /dev/kvm to group kvm, as udev does"
		for was, want := range map[string]string{
			"root:root 600": change, "root:root 660": change, "root:kvm 600": change, "root:kvm 640": change,
			"root:kvm 660": "setup: nothing to do", "root:root 666": "setup: nothing to do", "root:kvm 666": "setup: nothing to do",
		} {
			owner, mode, _ := strings.Cut(was, " ")
			sh(t, "chown "+owner+" /dev/kvm; chmod "+mode+" /dev/kvm")
			setup(t, want)
			access := sh(t, "stat --format='%U:%G %a' /dev/kvm")
			if want == change {
				was = "root:kvm 660"
			}
			if access != was {
				t.Errorf("/dev/kvm is %s, want %s", access, was)
			}
		}
	})
}

// setup runs scripts/setup, which says no more than want.
func setup(t *testing.T, want string) {
	t.Helper()
	if said := sh(t, "../scripts/setup"); said != want {
		t.Errorf("setup says %q, want %q", said, want)
	}
}
