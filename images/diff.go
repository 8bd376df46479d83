package images

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is one difference between two base images.
type Change struct {
	Kind string `json:"kind"` // "image", "recipe", "package", "input" or "file"
	Name string `json:"name"`
	A    string `json:"a,omitempty"` // "" where the first has none
	B    string `json:"b,omitempty"` // "" where the second has none
}

func (c Change) String() string {
	switch {
	case c.A == "":
		return fmt.Sprintf("+ %s %s %s", c.Kind, c.Name, c.B)
	case c.B == "":
		return fmt.Sprintf("- %s %s %s", c.Kind, c.Name, c.A)
	default:
		return fmt.Sprintf("~ %s %s %s -> %s", c.Kind, c.Name, c.A, c.B)
	}
}

// Diff is how the base image b differs from a, by their manifests: none where they
// are the same.
func Diff(a, b Manifest) ([]Change, error) {
	var all []Change
	for _, part := range []struct {
		kind string
		of   func(Manifest) (map[string]string, error)
	}{{"image", traits}, {"recipe", recipeTraits}, {"package", packageTraits}, {"input", inputTraits}, {"file", fileTraits}} {
		as, err := part.of(a)
		if err != nil {
			return nil, err
		}
		bs, err := part.of(b)
		if err != nil {
			return nil, err
		}
		names := slices.Concat(slices.Collect(maps.Keys(as)), slices.Collect(maps.Keys(bs)))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if as[name] != bs[name] {
				key, _, _ := strings.Cut(name, listed)
				all = append(all, Change{part.kind, key, as[name], bs[name]})
			}
		}
	}
	return all, nil
}

// traits are what an image is as a whole: the manifest's single values, by their keys.
func traits(m Manifest) (map[string]string, error) {
	m.Keys, m.Inputs, m.Packages, m.Files = nil, nil, nil, nil // told one by one
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, err
	}
	is := make(map[string]string)
	for key, v := range values {
		if s := plain(v); s != "" && s != "null" {
			is[key] = s
		}
	}
	return is, nil
}

// recipeTraits are the recipe's keys; of a list each value is one.
func recipeTraits(m Manifest) (map[string]string, error) {
	is := make(map[string]string)
	for key, v := range m.Keys {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, v := range list {
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			name := key
			if ok {
				name += listed + plain(text)
			}
			is[name] = plain(text)
		}
	}
	return is, nil
}

// listed stands between the key of a list and one of its values, which has no name of its own.
const listed = "\x00"

func packageTraits(m Manifest) (map[string]string, error) { return m.Packages, nil }

func inputTraits(m Manifest) (map[string]string, error) {
	is := make(map[string]string)
	for place, in := range m.Inputs {
		is[place] = fmt.Sprintf("%s (%s)", in.From, in.Sum)
	}
	return is, nil
}

func fileTraits(m Manifest) (map[string]string, error) {
	is := make(map[string]string)
	for name, s := range m.Files {
		is[name] = s.String()
	}
	return is, nil
}

func (s Sum) String() string { return fmt.Sprintf("%.12s, %d bytes", s.SHA256, s.Bytes) }

// plain is a JSON value without the quotes of a text.
func plain(text []byte) string { return strings.Trim(string(text), `"`) }
