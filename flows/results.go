package flows

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
)

// Results are what came of every start of the flows: what both ends printed into a
// folder that Gather filled, joined. What cannot be read of it is a failed start.
func Results(dir string, fs []Flow, times Times) []Result {
	servers := make([][]Test, len(fs))
	wrong := make([]error, len(fs))
	for i, f := range fs {
		servers[i], wrong[i] = readServer(ServerFile(dir, f))
	}
	var all []Result
	for _, s := range Schedule(fs) {
		f, ran := fs[s.Flow], times.Of(s)
		client := readClient(ClientFile(dir, f, s.Nth))
		var server *Test
		if client != nil {
			server = Match(*client, servers[s.Flow])
		}
		r := Combine(f, s, ran.Began, ran.Ended, client, server)
		switch {
		case ran.Began < 0:
			r.Failed = "it never began"
		case r.Failed != "" && server == nil && wrong[s.Flow] != nil:
			r.Failed += fmt.Sprintf(" (the server's output: %v)", wrong[s.Flow])
		case ran.Ended < 0:
			r.Failed = cmp.Or(r.Failed, "it did not end")
		case ran.Code != 0:
			r.Failed = cmp.Or(r.Failed, fmt.Sprintf("iperf3's client ended with status %d", ran.Code))
		}
		all = append(all, r)
	}
	return all
}

// readServer reads the tests that a server told of.
func readServer(name string) ([]Test, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadTests(f)
}

// readClient reads what a client told, on its standard output and, of some versions'
// errors, its standard error; nil where it told nothing.
func readClient(name string) *Test {
	out, oerr := os.Open(name)
	if oerr == nil {
		defer out.Close()
	}
	errs, eerr := os.Open(strings.TrimSuffix(name, ".json") + ".err")
	if eerr == nil {
		defer errs.Close()
	}
	var t Test
	switch {
	case oerr != nil && eerr != nil:
		return nil
	case eerr != nil:
		t = ReadTest(out)
	case oerr != nil:
		t = ReadTest(errs)
	default:
		t = ReadTest(io.MultiReader(out, errs))
	}
	return &t
}
