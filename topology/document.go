package topology

// Document is a YAML file of another kind than lab files, read as strictly:
// every mistake in it is a Problem at its line.
type Document struct {
	problems *collector
	lines    *lines
}

// ReadDocument reads the one YAML document in src into the struct that into points
// to, by its yaml tags. kind is what such a file is called ("recipe"), start how
// to come by a first one. Err tells of what could not be read.
func ReadDocument(name string, src []byte, kind, start string, into any) *Document {
	d := &Document{problems: &collector{file: name}}
	root := parse(src, fileKind{kind, start}, d.problems)
	if root == nil {
		return d
	}
	d.lines = newLines(root)
	newDecoder(src, d.problems).read(root, into)
	return d
}

// Add tells of a mistake at the value that path leads to: keys, and indices of lists.
func (d *Document) Add(msg, hint string, path ...any) {
	d.problems.add(d.Line(path...), msg, hint)
}

// Line is the line of the value that path leads to, or of the nearest thing around
// it that is in the file.
func (d *Document) Line(path ...any) int {
	if d.lines == nil {
		return 1
	}
	return d.lines.line(path)
}

// Err is a Problems with every mistake found, nil if there is none.
func (d *Document) Err() error { return d.problems.err() }
