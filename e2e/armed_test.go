//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

// capturesMayListenBefore: in nodes without Perl, whose shells send, a proof takes the captures that were armed
// for it, once; those that nobody used disturb no other, and are ended by it.
func capturesMayListenBefore(t *testing.T) {
	h, err := host.Connect("", host.DefaultDir)
	fatal(t, err)
	defer h.Close()
	b, err := lab.Open(h, "trafic")
	fatal(t, err)
	tell := timed(t)
	for _, n := range nodes {
		in(t, n, "mv /usr/bin/perl /root")
		defer in(t, n, "mv /root/perl /usr/bin")
	}

	fatal(t, b.Arm(t.Context(), "0a1b", nil, tell))
	fatal(t, b.Arm(t.Context(), "0a1b", nil, tell)) // anew
	p, err := b.ProveArmed(t.Context(), "0a1b", inAll, tell)
	if err != nil || p.Flows != 2 || p.Frames != 10 || p.Points != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	eventually(t, "the captures are ended", func() bool { return captures(t) == "" })
	if _, err := b.ProveArmed(t.Context(), "0a1b", inAll, tell); err == nil || !strings.Contains(err.Error(), "no capture listens for marks that begin with 0a1b") {
		t.Errorf("a second proof by the same captures: %v", err)
	}

	fatal(t, b.Arm(t.Context(), "ffff", nil, tell))
	if got := captures(t); strings.Count(got, "labctl-proof.ffff") != 3 {
		t.Errorf("armed are %q", got)
	}
	must(t, "verify")
	eventually(t, "the old captures are ended", func() bool { return captures(t) == "" })
}

func inAll(string) bool { return true }

// captures are the files and processes of captures for proofs in the nodes.
func captures(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, n := range nodes {
		all.WriteString(in(t, n, "cd /run; ls | grep ^labctl-proof; pgrep -f ^labctl-proof || :"))
	}
	return all.String()
}

// workersOfProofsEnd: nodes' workers end with the proof, also where it is interrupted; one that a labctl left
// which was killed does not stand in the way of the next.
func workersOfProofsEnd(t *testing.T) {
	ended := func() bool {
		for _, n := range nodes {
			if in(t, n, "grep -l ^perl$ /proc/[0-9]*/comm 2>/dev/null; :") != "" {
				return false
			}
		}
		return captures(t) == ""
	}
	ends := func(signal syscall.Signal) int {
		cmd := command(t, "verify")
		return finish(t, cmd, func(said string) bool {
			return strings.Contains(said, "marked frames are sent") && cmd.Process.Signal(signal) == nil
		}).code
	}
	must(t, "verify")
	eventually(t, "the workers have ended", ended)
	if code := ends(syscall.SIGINT); code != 130 {
		t.Errorf("verify that was interrupted: exit %d", code)
	}
	eventually(t, "the workers have ended", ended)
	ends(syscall.SIGKILL)
	if ended() {
		t.Error("a verify that was killed has ended the workers")
	}
	must(t, "verify")
	eventually(t, "the workers have ended", ended)
}
