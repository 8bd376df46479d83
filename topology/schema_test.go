package topology

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("lab.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("lab.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate is what the schema has against a lab file.
func validate(t *testing.T, s *jsonschema.Schema, src []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(src, &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func goodFiles(t *testing.T) map[string][]byte {
	t.Helper()
	name, src := Default()
	good := map[string][]byte{name: src}
	for _, file := range examples(t) {
		good[file] = read(t, file)
	}
	return good
}

// examples are the lab files in examples/.
func examples(t testing.TB) []string {
	t.Helper()
	labs, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(labs) < 5 {
		t.Fatalf("examples: %v, %v", labs, err)
	}
	return append(labs, "../examples/ci/direct.yaml", "../examples/ci/routed.yaml")
}

// TestGoodFiles: the schema, Load and Decide take the built-in lab and every example.
func TestGoodFiles(t *testing.T) {
	s := compiled(t)
	for name, src := range goodFiles(t) {
		if err := validate(t, s, src); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		decided(t, string(src))
	}
	if err := validate(t, s, []byte(openLab)); err != nil {
		t.Error(err)
	}
}

// TestSchemaRefuses: what an editor can tell without labctl, it tells.
func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	for _, bad := range []string{
		"accel", "cpus", "lab-name", "lab-name-missing", "memory", "mtu", "network-name", "nic-kind", "no-nics", "no-nodes",
		"node-name", "not-a-map", "publish", "service", "sides", "under-test", "unknown-keys", "uplink", "wrong-kinds-plain",
	} {
		src := []byte("name: x\nnodes: {a: {cpus: two, nics: [{network: a}]}}\n")
		if bad != "wrong-kinds-plain" {
			src = read(t, "testdata/bad/"+bad+".yaml")
		}
		if validate(t, s, src) == nil {
			t.Errorf("the schema takes %s", bad)
		}
	}
}

func TestSchemaIsStable(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", string(b))
}

// TestEveryKey: the example names each key of a lab file.
func TestEveryKey(t *testing.T) {
	src, err := os.ReadFile("../examples/every-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var look func(t reflect.Type) []string
	look = func(t reflect.Type) (keys []string) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice:
			return look(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
				if key == "" {
					continue // labctl's own
				}
				if key != "-" {
					keys = append(keys, key)
				}
				keys = append(keys, look(t.Field(i).Type)...)
			}
		}
		return keys
	}
	keys := look(reflect.TypeFor[File]())
	if len(keys) < 30 {
		t.Fatalf("only %v", keys)
	}
	for _, key := range keys {
		if !regexp.MustCompile(`(?m)[ {#-]` + regexp.QuoteMeta(key) + `:|^` + regexp.QuoteMeta(key) + `:`).Match(src) {
			t.Errorf("%s: is not in examples/every-key.yaml", key)
		}
	}
}
