package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Known is what a lab file may name which other rooms provide.
type Known struct {
	Recipes []string // of base images; nil: whatever a file names is taken to be one
}

// largest is the size of a lab file, bytes; 10,000 nodes take about 1 MiB.
const largest = 8 << 20

// Load reads and checks a lab file. The error is a Problems with every mistake
// found in it.
func Load(name string, src []byte, known Known) (File, error) {
	problems := &collector{file: name}
	root := parse(src, fileKind{"lab", "labctl init writes a lab file to start from"}, problems)
	if root == nil {
		return File{}, problems.err()
	}
	f, ok := decode(root, name, src, problems)
	if !ok {
		return File{}, problems.err()
	}
	c := newChecker(f, known, problems)
	for _, r := range rules {
		r.check(c)
	}
	if err := problems.err(); err != nil {
		return File{}, err
	}
	return f, nil
}

// fileKind is what a file holds, and how to come by a first one, in the words of messages.
type fileKind struct{ holds, start string }

// parse is the one document in src; nil when it cannot be read.
func parse(src []byte, kind fileKind, problems *collector) *yaml.Node {
	const empty = "the file is empty"
	if len(src) > largest {
		problems.add(1, fmt.Sprintf("the file has %d MiB", len(src)>>20), fmt.Sprintf("a %s file has at most %d MiB", kind.holds, largest>>20))
		return nil
	}
	var doc, next yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(src))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		problems.add(1, empty, kind.start)
		return nil
	}
	if err == nil {
		err = dec.Decode(&next)
		if err == nil {
			problems.add(next.Line, "a second YAML document", fmt.Sprintf("a %[1]s file holds one %[1]s: remove it, and the --- before it", kind.holds))
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		problems.add(syntax(src, err))
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		problems.add(1, empty, kind.start)
		return nil
	}
	return root
}

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// yaml.v3 counts the lines of these from 0, and of all others from 1.
	fromZero = regexp.MustCompile(`^did not find expected (<.*>|node content|key|'-' indicator|',' or .*)$`)
	noAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntax is a mistake in the YAML itself.
func syntax(src []byte, err error) (line int, msg, hint string) {
	line, msg = 1, err.Error()
	if m := yamlError.FindStringSubmatch(msg); m != nil {
		msg = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if fromZero.MatchString(msg) {
				line++
			}
		}
	}
	if m := noAnchor.FindStringSubmatch(msg); m != nil {
		before, _, _ := bytes.Cut(src, []byte("*"+m[1]))
		line = 1 + bytes.Count(before, []byte("\n"))
		return line, "not YAML: alias *" + m[1] + " stands for nothing", "mark what it stands for with &" + m[1] + ", before it"
	}
	return line, "not YAML: " + msg, "look there and on the lines around: indentation (spaces, no tabs), a colon and a space after each key, quotes and brackets closed"
}
