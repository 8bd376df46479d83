package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mami-project/labctl/flows"
)

// How long what ends a run may take: large captures are copied out of the node.
const finishTime = 30 * time.Minute

// finish ends what the run has started, and keeps what came of it, whatever ended it.
func (r *running) finish(ctx context.Context, tell Tell, ended error) (flows.Run, error) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	m := &r.run.Manifest
	m.Seconds = time.Since(m.Began).Seconds()
	tell.note("run", "lab/"+r.Lab.Name, "results are gathered")
	r.endCaptures(work)
	times, gathered := r.traffic.Gather(work, filepath.Join(r.run.Dir, "iperf3"))
	forgotten := r.traffic.End(work)
	m.After = r.Clocks(work)
	r.run.Results = flows.Results(filepath.Join(r.run.Dir, "iperf3"), r.Flows, times)
	for _, err := range []error{ended, gathered, forgotten} {
		if err != nil {
			m.Wrong = append(m.Wrong, err.Error())
		}
	}
	m.State = r.state(ctx, errors.Join(ended, gathered))
	r.store(work, tell)
	r.judge()
	return r.run, errors.Join(r.run.Write(), ended)
}

func (r *running) state(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return flows.Interrupted
	case err != nil:
		return flows.Failed
	}
	for _, a := range r.run.Manifest.Captures {
		if a.Failed != "" {
			return flows.Failed
		}
	}
	for _, s := range r.run.Results {
		if s.Failed != "" {
			return flows.Failed
		}
	}
	return flows.Done
}

// judge says whether the run's numbers can be believed, and why not.
func (r *running) judge() {
	m := &r.run.Manifest
	m.Trusted = m.State == flows.Done
	failed := 0
	for _, s := range r.run.Results {
		if s.Failed != "" {
			failed++
		}
	}
	if failed > 0 {
		m.Wrong = append(m.Wrong, fmt.Sprintf("%d of %d starts of flows failed", failed, len(r.run.Results)))
	}
	for _, a := range m.Captures {
		missing, of := a.Missing(), a.Mirrored.Frames
		switch {
		case a.Failed != "":
			m.Wrong = append(m.Wrong, fmt.Sprintf("the capture at %s: %s", a.Node, a.Failed))
		case float64(missing) > r.Most*float64(of):
			m.Trusted = false
			m.Wrong = append(m.Wrong, fmt.Sprintf("the capture at %s lacks %d of %d frames, more than %.3g %%: %s", a.Node, missing, of, r.Most*100, a.Where()))
		}
	}
	m.Wrong = append(m.Wrong, Apart(m.Before)...)
	m.Wrong = append(m.Wrong, Apart(m.After)...)
	if m.Stored != nil && m.Stored.Failed != "" {
		m.Wrong = append(m.Wrong, m.Stored.Failed)
	}
}

// versions are those of what measures, in the nodes that take part.
func (r *running) versions(ctx context.Context) map[string]string {
	all := map[string]string{}
	for _, n := range r.Lab.Nodes {
		out, err := guest{r.Build, n}.Bash(ctx, `for p in iperf3 dumpcap chronyd influxd bash; do
	case $p in influxd) words=$(influxd version) ;; *) words=$($p --version) ;; esac 2>/dev/null
	[ "$words" ] && echo "$p ${words%%$'\n'*}"
done
echo "kernel $(uname -r)"`)
		if err != nil {
			continue // a node that is lost is told elsewhere
		}
		for line := range strings.Lines(string(out)) {
			program, version, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok && len(version) < 200 {
				all[n.Name+"/"+program] = version
			}
		}
	}
	return all
}
