package flows

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mami-project/labctl/topology"
)

const (
	largestFile = 8 << 20 // bytes
	mostFiles   = 1000
	mostFlows   = 1000
	mostStarts  = 100_000
)

// Load reads flow files, mix descriptions, and folders of both: of a folder, every
// *.yaml in it and below, sorted, but for what begins with a dot. The error is a
// topology.Problems with every mistake in any of them, or that of reading them. Flow
// files that share a label, as trafic's of one kind do, are told apart by their names.
func Load(paths ...string) ([]Flow, error) {
	var files []string
	for _, p := range paths {
		found, err := filesOf(p)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) > mostFiles {
		return nil, topology.Problems{{File: paths[0], Line: 1, Msg: fmt.Sprintf("%d files", len(files)), Hint: fmt.Sprintf("expected at most %d in a run", mostFiles)}}
	}
	var all loaded
	for _, file := range files {
		src, err := readFile(file)
		if err != nil {
			return nil, err
		}
		all.add(file, src)
	}
	all.check()
	if err := all.err(); err != nil {
		return nil, err
	}
	return all.flows, nil
}

// filesOf are the files that a path stands for.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
		case e.IsDir():
		case filepath.Ext(p) == ".yml":
			return topology.Problems{{File: p, Line: 1, Msg: "the file's name ends in .yml", Hint: "of a folder, files that end in .yaml are read: rename it, or move it away"}}
		case filepath.Ext(p) == ".yaml":
			files = append(files, p)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = topology.Problems{{File: path, Line: 1, Msg: "there are no flows in the folder", Hint: "expected files that end in .yaml; flows/mixes has some to start from"}}
	}
	return files, err
}

// readFile is a file's text, or as much of it as shows that it is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return src, nil
}

// loaded is what was read so far.
type loaded struct {
	flows []Flow
	from  []origin             // by flow
	docs  []*topology.Document // by file
}

// origin is where a flow stands: in a file of its own, or at a place in a mix.
type origin struct {
	doc   *topology.Document
	mix   []any
	whole bool // it has no mistake of its own
}

// add reads the text of one file: a flow or a mix, by its keys.
func (l *loaded) add(file string, src []byte) {
	if isMix(src) {
		kinds, doc := parseMix(file, src)
		l.docs = append(l.docs, doc)
		for i, flows := range kinds {
			for _, f := range flows {
				l.flows, l.from = append(l.flows, f), append(l.from, origin{doc, []any{"flows", i}, doc.Err() == nil})
			}
		}
		return
	}
	f, doc := parseFlow(file, src)
	l.docs = append(l.docs, doc)
	if f.Label != "" {
		l.flows, l.from = append(l.flows, f), append(l.from, origin{doc: doc, whole: doc.Err() == nil})
	}
}

// isMix says whether the text is a mix description: it has keys that no flow file has.
func isMix(src []byte) bool {
	var root yaml.Node
	if len(src) > largestFile || yaml.Unmarshal(src, &root) != nil || len(root.Content) == 0 {
		return false
	}
	for i, n := range root.Content[0].Content {
		switch {
		case root.Content[0].Kind != yaml.MappingNode || i%2 == 1:
		case n.Value == "flows", n.Value == "total-bandwidth", n.Value == "total-time":
			return true
		}
	}
	return false
}

// check looks for what flows of one run may not share.
func (l *loaded) check() {
	l.tellApart()
	labels, ports := make(map[string]Flow), make(map[int]Flow)
	for i, f := range l.flows {
		if o, twice := labels[f.Label]; twice {
			l.wrong(i, "the label "+f.Label+" is taken", fmt.Sprintf("%s:%d has it: results are told apart by it", o.File, o.Line), "label")
		} else {
			labels[f.Label] = f
		}
		if o, twice := ports[f.Server.Port]; !l.from[i].whole {
			continue // the port may not be what was meant
		} else if twice {
			l.wrong(i, fmt.Sprintf("the server port %d of flow %s is taken", f.Server.Port, f.Label), fmt.Sprintf("flow %s at %s:%d has it: a server takes one test at a time, and iperf3's control connection is TCP for UDP as well", o.Label, o.File, o.Line), "server", "config", "server-port")
		} else {
			ports[f.Server.Port] = f
		}
	}
	starts := 0
	for i, f := range l.flows {
		if starts += len(f.Client.At); starts > mostStarts {
			l.wrong(i, fmt.Sprintf("more than %d starts, up to those of flow %s", mostStarts, f.Label), "expected no more in a run", "client", "at")
			break
		}
	}
	if n := len(l.flows); n > mostFlows {
		l.wrong(mostFlows, fmt.Sprintf("%d flows", n), fmt.Sprintf("expected at most %d in a run", mostFlows))
	}
}

// wrong tells of a mistake at a key of a flow, or where its mix has it.
func (l *loaded) wrong(i int, msg, hint string, path ...any) {
	if at := l.from[i].mix; at != nil {
		path = at
	}
	l.from[i].doc.Add(msg, hint, path...)
}

// tellApart names flows by their files where several files give one label, as those
// that trafic makes do: the label is that of a kind there.
func (l *loaded) tellApart() {
	same, taken := make(map[string]int), make(map[string]int)
	for _, f := range l.flows {
		same[f.Label]++
	}
	names := make([]string, len(l.flows))
	for i, f := range l.flows {
		names[i] = f.Label
		if file := strings.TrimSuffix(filepath.Base(f.File), ".yaml"); same[f.Label] > 1 && l.from[i].mix == nil && fileName.MatchString(file) {
			names[i] = file
		}
		taken[names[i]]++
	}
	for i, name := range names {
		if taken[name] == 1 {
			l.flows[i].Label = name
		}
	}
}

// err are the problems of all files, in their order.
func (l *loaded) err() error {
	var all topology.Problems
	for _, d := range l.docs {
		if ps, ok := errors.AsType[topology.Problems](d.Err()); ok {
			all = append(all, ps...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
