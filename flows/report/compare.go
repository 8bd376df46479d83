package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/mami-project/labctl/flows"
)

// difference is something in which runs' manifests are not the same.
type difference struct {
	Name   string
	Values []string // by run, "–" where it has none
}

// differences are those of what the runs stand on: the lab, versions, and how they were set up.
func differences(runs []flows.Run) []difference {
	facts := make([]map[string]string, len(runs))
	names := map[string]bool{}
	for k, r := range runs {
		facts[k] = flat(r.Manifest)
		for name := range facts[k] {
			names[name] = true
		}
	}
	var all []difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := difference{Name: name}
		same := true
		for k := range runs {
			v, ok := facts[k][name]
			if !ok {
				v = "–"
			}
			d.Values = append(d.Values, v)
			same = same && v == d.Values[0]
		}
		if !same {
			all = append(all, d)
		}
	}
	return all
}

// flat is what of a manifest may differ and matter, by path.
func flat(m flows.Manifest) map[string]string {
	all := map[string]string{
		"lab": m.Lab, "client": m.Client, "server": m.Server, "flows": strconv.Itoa(m.Flows),
		"seconds": number(m.Seconds),
	}
	for name, v := range m.Versions {
		all["version of "+name] = v
	}
	for _, a := range m.Captures {
		name := "capture on " + a.Node + ": "
		all[name+"filter"], all[name+"snap length"] = a.Filter, strconv.Itoa(a.Snaplen)
	}
	var provenance any
	if json.Unmarshal(m.Provenance, &provenance) == nil {
		flatten(all, "", provenance)
	}
	maps.DeleteFunc(all, func(name, v string) bool { return v == "" || passing.MatchString(name) })
	return all
}

// passing is what of a lab's status belongs to the moment alone.
var passing = regexp.MustCompile(`counters|(^|\.)(state|ready|hostState)$|^resources|^strays`)

func flatten(into map[string]string, path string, v any) {
	within := func(part string) string {
		if path == "" {
			return part
		}
		return path + "." + part
	}
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for k, e := range v {
			flatten(into, within(k), e)
		}
	case []any:
		for k, e := range v {
			flatten(into, within(nameOf(e, k)), e)
		}
	case float64:
		into[path] = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		into[path] = fmt.Sprint(v)
	}
}

// nameOf is what an element of a list is called: by its own name where it has one.
func nameOf(element any, k int) string {
	if fields, ok := element.(map[string]any); ok {
		if name, ok := fields["name"].(string); ok {
			return name
		}
	}
	return strconv.Itoa(k)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
