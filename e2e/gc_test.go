//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// TestGC brings up a lab that expires at once beside one that is to stay: gc takes
// the one down and leaves the other whole, until that is renewed to expire as well.
func TestGC(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		t.Setenv("SUDO_USER", "alice")
		untouched := hosttest.Foreign(t)
		isClean := clean(t)
		stays := smallLab(t, "blue")
		if out := must(t, "up", stays); strings.Contains(out, "labctl gc") {
			t.Errorf("a lab that is to stay is told to go:\n%s", out)
		}
		if out := must(t, "up", "--ttl", "1s", smallLab(t, "red")); !strings.Contains(out, "labctl gc takes it down from 20") {
			t.Errorf("up does not tell when the lab expires:\n%s", out)
		}
		labs := listed(t)
		red, blue := labs["red"], labs["blue"]
		if len(labs) != 2 || red.State != lab.Whole || red.Nodes != 2 || red.Owner != "alice" || time.Since(red.MadeAt) > 15*time.Minute || !red.ExpiresAt.Equal(red.MadeAt.Add(time.Second)) {
			t.Errorf("red is listed as %+v", red)
		}
		if blue.State != lab.Whole || !blue.ExpiresAt.IsZero() {
			t.Errorf("blue is listed as %+v", blue)
		}
		if out := must(t, "gc"); !strings.Contains(out, "lab red is gone: ") || strings.Contains(out, "blue") {
			t.Errorf("gc says %q", out)
		}
		if s := status(t, "blue"); s.State != lab.Whole {
			t.Errorf("blue is %s", s.State)
		}
		must(t, "verify", "--lab", "blue")

		if r := labctl(t, "up", "--ttl", "1s", stays); r.code != 0 || !strings.Contains(r.err, "renew folder/blue: done") || strings.Contains(r.err, "complete ") {
			t.Error("up does not renew a whole lab, or does more than that")
		}
		eventually(t, "blue has expired", func() bool { return strings.Contains(must(t, "gc"), "lab blue is gone") })
		if d := untouched(); d != "" {
			t.Errorf("foreign things were touched:\n%s", d)
		}
		isClean()
	})
}

// listed are the labs on the host, by name.
func listed(t *testing.T) map[string]lab.Listed {
	t.Helper()
	var all []lab.Listed
	if err := json.Unmarshal([]byte(must(t, "list", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	labs := map[string]lab.Listed{}
	for _, l := range all {
		labs[l.Name] = l
	}
	return labs
}
