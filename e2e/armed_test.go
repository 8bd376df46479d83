//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab"
)

// capturesMayListenBefore: a proof takes those that were armed for it, once; those that
// nobody used disturb no other, and are ended by it.
func capturesMayListenBefore(t *testing.T) {
	h, err := host.Connect("", host.DefaultDir)
	fatal(t, err)
	defer h.Close()
	b, err := lab.Open(h, "trafic")
	fatal(t, err)
	tell := timed(t)

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
