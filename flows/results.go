package flows

import (
	"cmp"
	"fmt"
	"os"
)

// Results are what came of every start of the flows: what both ends printed into a
// folder that Gather filled, joined. What cannot be read of it is a failed start.
func Results(dir string, fs []Flow, times Times) []Result {
	servers := make([][]Test, len(fs))
	wrong := make([]error, len(fs))
	for i, f := range fs {
		servers[i], wrong[i] = readTests(ServerFile(dir, f))
	}
	var all []Result
	for _, s := range Schedule(fs) {
		f, ran := fs[s.Flow], times.Of(s)
		tests, err := readTests(ClientFile(dir, f, s.Nth))
		var client, server *Test
		if len(tests) > 0 {
			client, server = &tests[0], Match(tests[0], servers[s.Flow])
		}
		r := Combine(f, s, ran.Began, ran.Ended, client, server)
		switch {
		case ran.Began < 0:
			r.Failed = "it never began"
		case r.Failed != "" && client == nil && err != nil:
			r.Failed = fmt.Sprintf("iperf3's client: %v", err)
		case r.Failed != "" && server == nil && wrong[s.Flow] != nil:
			r.Failed += fmt.Sprintf(" (%v)", wrong[s.Flow])
		case ran.Ended < 0:
			r.Failed = cmp.Or(r.Failed, "it did not end")
		case ran.Code != 0:
			r.Failed = cmp.Or(r.Failed, fmt.Sprintf("iperf3's client ended with status %d", ran.Code))
		}
		all = append(all, r)
	}
	return all
}

func readTests(name string) ([]Test, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadTests(f)
}
