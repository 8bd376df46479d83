//go:build e2e

package host_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// Links that come back at once, each called as another was, get their own names.
func TestRename(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		was := map[string]netlink.Link{}
		is := map[string]string{"a": "c", "b": "a", "c": "b"}
		for name, now := range is {
			done(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: now}, PeerName: now + ".peer"}))
			l, err := netlink.LinkByName(now)
			done(t, err)
			was[name] = l
		}
		var group errgroup.Group
		for name, l := range was {
			group.Go(func() error { return host.Rename(t.Context(), l, name) })
		}
		done(t, group.Wait())
		for name, l := range was {
			if got := index(t, name); got != l.Attrs().Index {
				t.Errorf("%s is link %d, want %d", name, got, l.Attrs().Index)
			}
		}

		// one whose name another keeps
		done(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "d"}, PeerName: "d.peer"}))
		l, err := netlink.LinkByName("d")
		done(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := host.Rename(ctx, l, "a"); err == nil || !strings.Contains(err.Error(), "ip link set a name NAME") {
			t.Errorf("%v does not say what to rename", err)
		}
	})
}
