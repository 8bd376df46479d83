package topology

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder reads a YAML tree into a File, strictly, by the yaml tags of its
// types. It stands in for yaml.v3's own strict mode, which names Go types in
// its messages, forgets the order of maps, and compares each key of a mapping
// with every other.
type decoder struct {
	problems *collector
	fields   map[reflect.Type]*fields
	order    map[string][]string // the keys of the top-level maps, as they come in the file
	budget   int                 // values still to be read, so that aliases cannot multiply without end
}

// fields are the keys of a struct.
type fields struct {
	names   []string
	index   map[string][]int // as reflect counts fields
	scalar  int              // the field that a plain value stands for; -1 if none
	scratch bool             // unknown keys whose value carries an anchor serve aliases alone
}

// decode is the file whose tree has this root, with what could be read of it;
// false means that it was given up.
func decode(root *yaml.Node, name string, src []byte, problems *collector) (File, bool) {
	f := File{source: name, text: string(src), lines: newLines(root)}
	d := newDecoder(src, problems)
	d.read(root, &f)
	f.networks, f.nodes = d.order["networks"], d.order["nodes"]
	return f, !d.spent()
}

func newDecoder(src []byte, problems *collector) *decoder {
	return &decoder{
		problems: problems,
		fields:   make(map[reflect.Type]*fields),
		order:    make(map[string][]string),
		budget:   100_000 + len(src), // without aliases there are fewer values than bytes
	}
}

// read reads the tree with this root into the struct that into points to.
func (d *decoder) read(root *yaml.Node, into any) {
	d.value(root, nil, reflect.ValueOf(into).Elem())
	if d.budget < 0 {
		d.problems.add(1, "the file's aliases stand for too many values", "write out what they repeat, or use fewer of them")
	}
}

// spent says whether to stop reading.
func (d *decoder) spent() bool { return d.budget < 0 || d.problems.full() }

// value reads n, which stands at p, into v.
func (d *decoder) value(n *yaml.Node, p path, v reflect.Value) {
	line := n.Line
	n = resolve(n)
	d.budget--
	if n.ShortTag() == "!!null" {
		return
	}
	switch v.Kind() {
	case reflect.Interface: // whatever stands there serves aliases alone
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, p, v.Elem())
	case reflect.Struct:
		d.object(n, p, v)
	case reflect.Map:
		d.named(n, p, v)
	case reflect.Slice:
		if !d.is(n, yaml.SequenceNode, line, p) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, p.to(i), v.Index(i))
		}
	default:
		if !d.is(n, yaml.ScalarNode, line, p) {
			return
		}
		d.scalar(n, line, p, v)
	}
}

// scalar reads a single value: a number or a word is a text as it is written.
func (d *decoder) scalar(n *yaml.Node, line int, p path, v reflect.Value) {
	tag, expected := "!!int", "a whole number" // Decode alone would cut 1.5 to 1
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		return
	case reflect.Bool:
		tag, expected = "!!bool", "true or false"
	case reflect.Float64:
		d.number(n, line, p, v)
		return
	}
	if n.ShortTag() != tag || n.Decode(v.Addr().Interface()) != nil {
		d.problems.add(line, fmt.Sprintf("%s is %s", p, show(n.Value)), "expected "+expected+", without quotes")
	}
}

// number reads a number that may have a fraction.
func (d *decoder) number(n *yaml.Node, line int, p path, v reflect.Value) {
	var f float64
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" || n.Decode(&f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.problems.add(line, fmt.Sprintf("%s is %s", p, show(n.Value)), "expected a number, without quotes")
		return
	}
	v.SetFloat(f)
}

// object reads a mapping of known keys.
func (d *decoder) object(n *yaml.Node, p path, v reflect.Value) {
	fs := d.fieldsOf(v.Type())
	if n.Kind == yaml.ScalarNode && fs.scalar >= 0 {
		d.value(n, p, v.Field(fs.scalar))
		return
	}
	if !d.is(n, yaml.MappingNode, n.Line, p) {
		return
	}
	d.pairs(n, p, func(key, value *yaml.Node) {
		i, ok := fs.index[key.Value]
		switch {
		case !ok && fs.scratch && value.Anchor != "":
			return
		case !ok:
			where := ""
			if len(p) > 0 {
				where = " in " + p.String()
			}
			d.problems.add(key.Line, fmt.Sprintf("unknown key %s%s", show(key.Value), where), meant(key.Value, "keys", fs.names))
			return
		}
		d.value(value, p.to(key.Value), v.FieldByIndex(i))
	})
}

// named reads a mapping of things by name.
func (d *decoder) named(n *yaml.Node, p path, v reflect.Value) {
	if !d.is(n, yaml.MappingNode, n.Line, p) {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	d.pairs(n, p, func(key, value *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(value, p.to(key.Value), e)
		v.SetMapIndex(reflect.ValueOf(key.Value), e)
		if len(p) == 1 {
			top := p[0].(string)
			d.order[top] = append(d.order[top], key.Value)
		}
	})
}

// pairs calls do for each key of a mapping, and then for those it merges (<<)
// and does not have itself.
func (d *decoder) pairs(n *yaml.Node, p path, do func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	d.merged(n, p, seen, 0, do)
}

func (d *decoder) merged(n *yaml.Node, p path, seen map[string]int, depth int, do func(key, value *yaml.Node)) {
	const deepest = 16 // merges may form a circle, and the stack has an end
	if depth > deepest {
		d.budget = -1
		return
	}
	var merges []*yaml.Node
	own := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && !d.spent(); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.problems.add(n.Content[i].Line, "a key of "+p.String()+" is a list or a map", "expected a word")
		case key.ShortTag() == "!!merge":
			merges = append(merges, value)
		case own[key.Value] && depth == 0:
			d.problems.add(n.Content[i].Line, fmt.Sprintf("%s is given twice", p.to(key.Value)), fmt.Sprintf("it is there on line %d already: keep one", seen[key.Value]))
		case seen[key.Value] != 0:
			// what stands nearer wins over what is merged
		default:
			own[key.Value], seen[key.Value] = true, n.Content[i].Line
			do(key, value)
		}
		d.budget--
	}
	for _, m := range merges {
		of := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			of = m.Content
		}
		for _, m := range of {
			if m := resolve(m); m.Kind == yaml.MappingNode {
				d.merged(m, p, seen, depth+1, do)
			} else {
				d.problems.add(m.Line, "<< of "+p.String()+" is not a map", "expected the alias of a map, such as <<: *common")
			}
		}
	}
}

// is reports a value of another kind than expected.
func (d *decoder) is(n *yaml.Node, kind yaml.Kind, line int, p path) bool {
	if n.Kind == kind {
		return true
	}
	words := map[yaml.Kind]string{yaml.MappingNode: "a map", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}
	d.problems.add(line, fmt.Sprintf("%s is %s", p, words[n.Kind]), "expected "+words[kind])
	return false
}

func (d *decoder) fieldsOf(t reflect.Type) *fields {
	if fs, ok := d.fields[t]; ok {
		return fs
	}
	fs := &fields{index: make(map[string][]int), scalar: -1}
	for i := range t.NumField() {
		key, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		switch option {
		case "scalar":
			fs.scalar = i
		case "scratch":
			fs.scratch = true
		case "inline":
			inner := d.fieldsOf(t.Field(i).Type)
			fs.names = append(fs.names, inner.names...)
			for key, at := range inner.index {
				fs.index[key] = append([]int{i}, at...)
			}
		}
		if key != "" && key != "-" {
			fs.names, fs.index[key] = append(fs.names, key), []int{i}
		}
	}
	slices.Sort(fs.names)
	d.fields[t] = fs
	return fs
}
