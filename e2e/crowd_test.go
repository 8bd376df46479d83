//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

// crowdLab is one node on two networks whose subnets are left open.
const crowdLab = `
name: NAME
image: debian-slim
networks: {control: {}, inner: {uplink: none}}
nodes:
  one:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control}, {network: inner}]
`

func crowdFile(t *testing.T, name string) string {
	t.Helper()
	return write(t, name+".yaml", strings.ReplaceAll(crowdLab, "NAME", name))
}

// atOnce runs labctl with each of those words, at once.
func atOnce(t *testing.T, all ...[]string) []result {
	t.Helper()
	results := make([]result, len(all))
	var running sync.WaitGroup
	for i, words := range all {
		cmd := command(t, words...)
		running.Go(func() { results[i] = finish(t, cmd, nil) })
	}
	running.Wait()
	return results
}

// TestCrowd brings eight labs up at once and takes them down at once, from as many
// processes: they do not meet.
func TestCrowd(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		untouched := hosttest.Foreign(t)
		isClean := clean(t)
		const labs = 8
		var ups, downs [][]string
		for n := range labs {
			name := fmt.Sprintf("crowd-%d", n)
			ups = append(ups, []string{"up", "--timeout", "20m", crowdFile(t, name)})
			downs = append(downs, []string{"down", name})
		}
		for _, r := range atOnce(t, ups...) {
			r.check(t, 0)
		}
		var subnets []netip.Prefix
		for n := range labs {
			s := status(t, fmt.Sprintf("crowd-%d", n))
			if s.State != lab.Whole {
				t.Errorf("%s is %s", s.Name, s.State)
			}
			for _, network := range s.Networks {
				p := netip.MustParsePrefix(network.Subnet)
				if slices.ContainsFunc(subnets, p.Overlaps) {
					t.Errorf("%s of %s has %s, of which another lab has a part", network.Name, s.Name, p)
				}
				subnets = append(subnets, p)
			}
		}
		if len(subnets) != 2*labs {
			t.Errorf("%d subnets", len(subnets))
		}
		for _, r := range atOnce(t, downs...) {
			r.check(t, 0)
		}
		if d := untouched(); d != "" {
			t.Errorf("foreign things were touched:\n%s", d)
		}
		isClean()
	})
}

// TestOneLabTwice works on one lab from two processes at once.
func TestOneLabTwice(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		file := crowdFile(t, "twice")
		waits := func(t *testing.T, doing string, both []result) {
			t.Helper()
			said := both[0].err + both[1].err
			if strings.Count(said, "another labctl works on it: process ") != 1 || !strings.Contains(said, "("+doing+")") {
				t.Errorf("not just one says who holds the lab:\n%s", said)
			}
		}
		t.Run("up and up", func(t *testing.T) {
			both := atOnce(t, []string{"up", file}, []string{"up", file})
			for _, r := range both {
				r.check(t, 0)
			}
			waits(t, "labctl up", both)
			if n := strings.Count(both[0].err+both[1].err, "create machine/one: done"); n != 1 {
				t.Errorf("the machine was made %d times", n)
			}
		})
		t.Run("down and down", func(t *testing.T) {
			for _, r := range atOnce(t, []string{"down", "twice"}, []string{"down", "twice"}) {
				r.check(t, 0)
			}
			isClean()
		})
		t.Run("down under up", func(t *testing.T) {
			down := make(chan result, 1)
			up := finish(t, command(t, "up", file), func(stderr string) bool {
				if !strings.Contains(stderr, "create network/control: done") {
					return false
				}
				cmd := command(t, "down", "twice")
				go func() { down <- finish(t, cmd, nil) }()
				return true
			})
			up.check(t, 0)
			d := <-down
			d.check(t, 0, "another labctl works on it: process ", "(labctl up)")
			if !strings.Contains(d.out, "lab twice is gone") {
				t.Errorf("down says %q", d.out)
			}
			isClean()
		})
	})
}
