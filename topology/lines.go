package topology

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// path leads to a value in a lab file: keys, and indices of lists.
type path []any

// to is the path of a value below.
func (p path) to(steps ...any) path {
	return append(p[:len(p):len(p)], steps...)
}

// String names the value in the user's words: "NIC 2 of node tshark".
func (p path) String() string {
	if len(p) == 0 {
		return "the file"
	}
	up, last := p[:len(p)-1], p[len(p)-1]
	if i, ok := last.(int); ok {
		list := up[len(up)-1].(string)
		if list == "nics" {
			return fmt.Sprintf("NIC %d of %s", i+1, up[:len(up)-1])
		}
		return fmt.Sprintf("value %d in %s", i+1, up)
	}
	key := show(last.(string))
	switch {
	case len(up) == 0:
		return key
	case len(up) == 1:
		return strings.TrimSuffix(up[0].(string), "s") + " " + key // networks, nodes and images hold things by name
	case up[len(up)-1] == "uplinks":
		return "uplink of side " + key + " of " + up[:len(up)-1].String()
	default:
		return key + " of " + up.String()
	}
}

// lines finds the line of a value. It looks only when there is something to
// report, and then goes through each mapping once.
type lines struct {
	root *yaml.Node
	keys map[*yaml.Node]map[string]place
}

// place is where a key and its value stand.
type place struct{ key, value *yaml.Node }

func newLines(root *yaml.Node) *lines {
	return &lines{root: root, keys: make(map[*yaml.Node]map[string]place)}
}

// line is the line of the value at p, or of the nearest thing around it which
// is in the file.
func (l *lines) line(p path) int {
	at, line := l.root, max(l.root.Line, 1)
	for _, step := range p {
		at = resolve(at)
		switch step := step.(type) {
		case string:
			found, ok := l.index(at)[step]
			if !ok {
				return line
			}
			at, line = found.value, found.key.Line
		case int:
			if at.Kind != yaml.SequenceNode || step >= len(at.Content) {
				return line
			}
			at = at.Content[step]
			line = at.Line
		}
	}
	return line
}

func (l *lines) index(mapping *yaml.Node) map[string]place {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	index, ok := l.keys[mapping]
	if !ok {
		index = make(map[string]place, len(mapping.Content)/2)
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			k := mapping.Content[i]
			if _, twice := index[k.Value]; !twice {
				index[k.Value] = place{k, mapping.Content[i+1]}
			}
		}
		l.keys[mapping] = index
	}
	return index
}

// resolve is the value that an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
