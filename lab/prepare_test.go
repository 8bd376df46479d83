package lab

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
)

func subnets(b Build) map[string]string {
	all := map[string]string{}
	for _, n := range b.Lab.Networks {
		all[n.Name] = n.Segments[0].Subnet.String()
	}
	return all
}

func TestPrepareKeepsWhatWasChosen(t *testing.T) {
	h := newHost(t)
	first := prepare(t, h, chosenLab)
	if again := prepare(t, h, chosenLab); cmp.Diff(subnets(first), subnets(again)) != "" {
		t.Error("a choice depends on something beside the file and the host")
	}
	// what is chosen on an empty host is another's claim now
	rival := prepare(t, h, named(chosenLab, "rival"))
	for _, n := range rival.Lab.Networks {
		rival.Tag.Chosen = append(rival.Tag.Chosen, host.Chosen{Network: "x" + n.Name, Subnet: first.Tag.Subnets()[n.Name]})
	}
	must(t, rival.folder().Create(t.Context()))
	second := prepare(t, h, chosenLab)
	for name, s := range subnets(second) {
		for _, c := range rival.Tag.Chosen {
			if netip.MustParsePrefix(s).Overlaps(c.Subnet) {
				t.Errorf("%s of network %s is claimed by another lab", s, name)
			}
		}
	}
	if d := cmp.Diff([]string{"control", "test"}, []string{second.Tag.Chosen[0].Network, second.Tag.Chosen[1].Network}); d != "" {
		t.Errorf("not marked as chosen:\n%s", d)
	}
	// claimed, it stays: also when what would be chosen now is another one
	must(t, second.folder().Create(t.Context()))
	must(t, rival.folder().Destroy(t.Context()))
	third := prepare(t, h, chosenLab)
	if d := cmp.Diff(subnets(second), subnets(third)); d != "" || !third.Tag.Equal(second.Tag) {
		t.Errorf("a claim was given up (-want +got)\n%s", d)
	}
}

func TestPrepareChangesNothing(t *testing.T) {
	h := newHost(t)
	prepare(t, h, chosenLab)
	if m, err := FindMarks(h); err != nil || len(m.Labs()) > 0 {
		t.Errorf("%v, %v", m.Labs(), err)
	}
}

func TestPrepareOfAChangedFile(t *testing.T) {
	h := newHost(t)
	put(t, prepare(t, h, plainLab))
	must(t, prepare(t, h, "# a comment\n"+plainLab+"\n\n").folder().Create(t.Context()))
	if kept := prepare(t, h, "# another comment\n"+plainLab); strings.Contains(kept.Tag.File, "comment") {
		t.Error("the mark changed with a comment")
	}
	_, err := Prepare(h, loadFile(t, strings.NewReplacer("one: {", "one: {cpus: 2, memory: 1GiB, ", "1.11", "1.12").Replace(plainLab)), "lab.yaml")
	var changed Changed
	if !errors.As(err, &changed) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"nodes.one.cpus: 1 → 2", "nodes.one.memory: 512 MiB → 1024 MiB", "nodes.two.nics"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	for _, way := range []string{"--replace", "labctl down plain"} {
		if !strings.Contains(err.Error(), way) {
			t.Errorf("no way out %q in %q", way, err)
		}
	}
}

func TestPrepareOfANewerLabctlsLab(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	b.Tag.Format++
	put(t, b)
	if _, err := Prepare(h, loadFile(t, plainLab), "lab.yaml"); !errors.As(err, new(Changed)) || !strings.Contains(err.Error(), "newer labctl") {
		t.Errorf("%v", err)
	}
}

func publishing(name, subnet, publish string) string {
	return `
name: ` + name + `
networks:
  control: {subnet: ` + subnet + `}
nodes:
  n: {memory: 128MiB, nics: [{network: control}], publish: [` + publish + `]}
`
}

func TestPreflightOfALab(t *testing.T) {
	noTools(t)
	for name, test := range map[string]struct {
		theirs, ours, tool string
		want               []string
	}{
		"apart":                {`"40000:22"`, `"40001:22"`, "sh", nil},
		"the same port":        {`"40000:22"`, `"40000:80"`, "sh", []string{"port 40000/tcp of the host is published by lab theirs already", "labctl down theirs"}},
		"another protocol":     {`"40000:22"`, `"40000:22/udp"`, "sh", nil},
		"one of all addresses": {`"40000:22"`, `"127.0.0.1:40000:22"`, "sh", []string{"published by lab theirs"}},
		"different addresses":  {`"127.0.0.2:40000:22"`, `"127.0.0.1:40000:22"`, "sh", nil},
		"all that is wrong":    {`"40000:22"`, `"40000:80"`, "no-such-tool", []string{"published by lab theirs", "no-such-tool"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			must(t, prepare(t, h, publishing("theirs", "10.9.1.0/24", test.theirs)).folder().Create(t.Context()))
			// a mark that cannot be read does not hold this lab up
			must(t, Folder{On: h, Tag: host.Tag{Lab: "broken", File: "nodes: ["}}.Create(t.Context()))
			tools = []string{test.tool}
			b := prepare(t, h, publishing("ours", "10.9.2.0/24", test.ours))
			p, err := PlanUp(t.Context(), b.Resources())
			must(t, err)
			err = b.Preflight(t.Context(), p)
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("%v; want %q", err, test.want)
			}
			for _, w := range test.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %q", w, err)
				}
				if !errors.As(err, new(host.Unfits)) {
					t.Errorf("%T is not that the host is not fit", err)
				}
			}
		})
	}
}

// What runs already has what it needs.
func TestNeedsAreOfWhatIsMissing(t *testing.T) {
	h := newHost(t)
	b := prepare(t, h, plainLab)
	needs := func() host.Needs {
		p, err := PlanUp(t.Context(), b.Resources())
		must(t, err)
		n, err := b.needs(t.Context(), p, Marks{})
		must(t, err)
		return n
	}
	if n := needs(); n.MemoryMiB != 1024 || n.DiskBytes != 2*overlayAtLeast || len(n.Subnets) != 1 || n.KVM {
		t.Errorf("of an empty host: %+v", n)
	}
	put(t, b)
	if n := needs(); n.MemoryMiB != 0 || len(n.Subnets) != 0 {
		t.Errorf("of a running lab: %+v", n)
	}
	b.Lab.Accel = "kvm"
	if !needs().KVM {
		t.Error("accel: kvm does not need KVM")
	}
}
