//go:build e2e

package e2e

import (
	"testing"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/topology"
)

// defaultBuild is the built-in lab on this host, not yet made, with its base images.
func defaultBuild(t *testing.T, h *host.Host) lab.Build {
	t.Helper()
	name, src := topology.Default()
	f, err := topology.Load(name, src, topology.Known{Recipes: images.Recipes()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := lab.Prepare(h, f, name)
	if err != nil {
		t.Fatal(err)
	}
	b.Bases = map[string]images.Base{}
	for _, n := range b.Lab.Nodes {
		r, err := images.BuiltIn(n.Image)
		if err != nil {
			t.Fatal(err)
		}
		if b.Bases[n.Name], err = images.Open(t.Context(), h.ImageDir(), r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestDownOfAnUnreadableFile takes down a lab whose marks hold a file that this
// labctl cannot read: all of it goes, what bears no mark too.
func TestDownOfAnUnreadableFile(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		isClean := clean(t)
		h, err := host.Connect("", host.DefaultDir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		b := defaultBuild(t, h)
		b.Tag.File = "name: trafic\nas: nobody writes it\n"
		for _, stage := range b.Resources() {
			for _, r := range stage {
				if err := r.Create(t.Context()); err != nil {
					t.Fatalf("create %s: %v", r, err)
				}
			}
		}
		r := labctl(t, "down", "trafic")
		r.check(t, 0, "as")
		isClean()
	})
}

// TestResourceContract holds every resource of a lab with each kind of them to
// what all promise: nothing there can be destroyed, what is there can be created,
// both as often as one likes, and what is destroyed leaves no trace.
func TestResourceContract(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		before := hosttest.Baseline(t)
		h, err := host.Connect("", host.DefaultDir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		b := defaultBuild(t, h)
		is := func(r lab.Resource, want host.State) {
			t.Helper()
			if got, err := r.State(t.Context()); err != nil || got != want {
				t.Fatalf("%s is %s where it is to be %s, %v", r, got, want, err)
			}
		}
		must := func(r lab.Resource, what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s %s: %v", what, r, err)
			}
		}
		kinds := 0
		for _, stage := range b.Resources() {
			for _, r := range stage {
				kinds++
				is(r, host.Absent)
				must(r, "destroy absent", r.Destroy(t.Context()))
				must(r, "create", r.Create(t.Context()))
				is(r, host.Present)
				must(r, "create present", r.Create(t.Context()))
				is(r, host.Present)
				must(r, "destroy", r.Destroy(t.Context()))
				is(r, host.Absent)
				must(r, "create again", r.Create(t.Context()))
				is(r, host.Present)
			}
		}
		if kinds < 16 {
			t.Errorf("the lab has %d resources", kinds)
		}
		if n, err := lab.Down(t.Context(), h, "trafic", func(lab.Event) {}); err != nil || n != kinds {
			t.Errorf("down found %d of %d resources, %v", n, kinds, err)
		}
		if d := hosttest.Diff(before, hosttest.Snapshot(t)); d != "" {
			t.Errorf("the host is not as before:\n%s", d)
		}
	})
}
