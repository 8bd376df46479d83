package images

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mami-project/labctl/topology"
)

// all are the keys' files, by name.
func (k Keys) all(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, p := range slices.Concat(k.private(), k.certified(), []string{k.KnownHosts()}) {
		text, err := os.ReadFile(p)
		must(t, err)
		files[filepath.Base(p)] = string(text)
	}
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeysOfBefore(t *testing.T) {
	name, src := topology.Default()
	lab := builtInLab(t)
	was := madeKeys(t, lab)
	store := t.TempDir() + "/kept"
	must(t, was.KeepIn(store))
	for file := range was.all(t) {
		i, err := os.Stat(filepath.Join(store, file))
		if err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", file, err)
		}
	}
	must(t, was.KeepIn(store)) // again

	for what, test := range map[string]struct {
		from, to string   // of the file
		other    []string // what is made anew
	}{
		"the same lab":    {"", "", nil},
		"another address": {"10.7.1.", "10.7.9.", []string{"authority.crt", "https-influxdb.crt", "https-influxdb.key", "known_hosts"}},
		"a node more":     {"\nnodes:\n", "\nnodes:\n  more: {nics: [{network: control}]}\n", []string{"known_hosts"}},
	} {
		t.Run(what, func(t *testing.T) {
			now := bytes.ReplaceAll(src, []byte(test.from), []byte(test.to))
			if test.from == "" {
				now = src
			} else if bytes.Equal(now, src) {
				t.Fatalf("the built-in lab does not hold %q", test.from)
			}
			k := Keys{Dir: t.TempDir() + "/keys", Lab: decided(t, name, now), From: store}
			must(t, k.Create(t.Context()))
			before, after := was.all(t), k.all(t)
			for file, text := range before {
				if anew := after[file] != text; anew != slices.Contains(test.other, file) {
					t.Errorf("%s is made anew: %v", file, anew)
				}
			}
			if _, ok := after["host-more"]; ok != strings.Contains(string(now), "more:") {
				t.Error("the new node has no key")
			}
			if !k.certificatesFit() {
				t.Error("a certificate is for other names or addresses")
			}
		})
	}
}

// Keys that are there are the lab's, whatever was kept.
func TestKeysStay(t *testing.T) {
	l := builtInLab(t)
	k, other := madeKeys(t, l), madeKeys(t, l)
	before := k.all(t)
	k.From = other.Dir
	must(t, k.Create(t.Context()))
	for file, text := range k.all(t) {
		if text != before[file] {
			t.Errorf("%s is another", file)
		}
	}
}

func TestSpoiltCertificateOfBefore(t *testing.T) {
	l := builtInLab(t)
	was := madeKeys(t, l)
	crt, _ := was.certificate("influxdb")
	must(t, os.WriteFile(crt, []byte("spoilt"), 0o600))
	k := Keys{Dir: t.TempDir() + "/keys", Lab: l, From: was.Dir}
	must(t, k.Create(t.Context()))
	if !k.certificatesFit() {
		t.Error("it was taken")
	}
}
