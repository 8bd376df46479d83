package images

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// builtInLab is the built-in lab.
func builtInLab(t testing.TB) topology.Lab {
	t.Helper()
	name, src := topology.Default()
	return decided(t, name, src)
}

func decided(t testing.TB, name string, src []byte) topology.Lab {
	t.Helper()
	f, err := topology.Load(name, src, topology.Known{Recipes: Recipes()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topology.Decide(f, nil, topology.Chosen{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func node(t testing.TB, l topology.Lab, name string) topology.Node {
	t.Helper()
	n, ok := l.Node(name)
	if !ok {
		t.Fatalf("the lab has no node %s", name)
	}
	return n
}

func madeKeys(t testing.TB, l topology.Lab) Keys {
	t.Helper()
	k := Keys{Dir: t.TempDir() + "/keys", Lab: l}
	if err := k.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

// resource is what every resource of a lab has.
type resource interface {
	State(context.Context) (host.State, error)
	Create(context.Context) error
	Destroy(context.Context) error
}

func TestKeysContract(t *testing.T) {
	k := Keys{Dir: t.TempDir() + "/keys", Lab: builtInLab(t)}
	contract(t, k)
}

// contract is what holds for every resource.
func contract(t *testing.T, r resource) {
	t.Helper()
	is := func(want host.State) {
		t.Helper()
		got, err := r.State(t.Context())
		if err != nil || got != want {
			t.Fatalf("it is %v, %v; want %v", got, err, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is(host.Absent)
	must(r.Destroy(t.Context()))
	must(r.Create(t.Context()))
	is(host.Present)
	must(r.Create(t.Context()))
	is(host.Present)
	must(r.Destroy(t.Context()))
	is(host.Absent)
}

func TestKeysAreMadeOnce(t *testing.T) {
	k := madeKeys(t, builtInLab(t))
	before := readAll(t, k)
	if err := os.Remove(k.hostKey("tshark")); err != nil {
		t.Fatal(err)
	}
	if s, err := k.State(t.Context()); s != host.Partial || err != nil {
		t.Errorf("without a key they are %v, %v", s, err)
	}
	if err := k.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p, text := range readAll(t, k) {
		if same := bytes.Equal(text, before[p]); same == (p == k.hostKey("tshark")) {
			t.Errorf("%s: the same as before is %v", p, same)
		}
	}
}

func readAll(t *testing.T, k Keys) map[string][]byte {
	t.Helper()
	texts := make(map[string][]byte)
	for _, p := range k.private() {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		texts[p] = text
	}
	return texts
}

func TestKeysAreRootsAlone(t *testing.T) {
	k := madeKeys(t, builtInLab(t))
	entries, err := os.ReadDir(k.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), i.Mode(), err)
		}
	}
	if i, err := os.Stat(k.Dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", i.Mode(), err)
	}
	// one of the lab's, one a node, one for tshark, known_hosts
	if want := 1 + 4 + 1 + 1; len(entries) != want {
		t.Errorf("%d files, want %d", len(entries), want)
	}
}

func TestKnownHosts(t *testing.T) {
	k := madeKeys(t, builtInLab(t))
	check, err := knownhosts.New(k.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	key, err := publicKey(k.hostKey("iperf-client"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iperf-client", "iperf-client.test", "iperf-client.control", "10.7.1.40", "10.7.2.40"} {
		if err := check(name+":22", address(name), key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if check("iperf-server:22", address(""), key) == nil {
		t.Error("iperf-client's key is taken for iperf-server's")
	}
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return "192.0.2.1:22" }

func TestAuthorizedKeys(t *testing.T) {
	l := builtInLab(t)
	k := madeKeys(t, l)
	for name, want := range map[string][]string{
		"iperf-client": {k.Identity(), k.nodeKey("tshark")},
		"iperf-server": {k.Identity(), k.nodeKey("tshark")},
		"tshark":       {k.Identity()},
		"influxdb":     {k.Identity()},
	} {
		text, err := k.authorized(node(t, l, name))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			got = append(got, line)
		}
		if len(got) != len(want) {
			t.Errorf("%s admits %d keys, want %d", name, len(got), len(want))
		}
		for _, p := range want {
			key, err := publicKey(p)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(got, string(ssh.MarshalAuthorizedKey(key))) {
				t.Errorf("%s does not admit %s", name, p)
			}
		}
	}
}
