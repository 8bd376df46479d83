package flows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// local is this machine in a node's place, with what iperf3 and ss do replaced.
type local struct {
	t    *testing.T
	dir  string   // of all that is a node's own
	runs *os.File // the end of a pipe that each process of it has open
}

// What stands in for iperf3: a server listens until it is ended, or, on port 1, ends
// at once; a client runs for as long as its port's number says, in tenths of a second.
const fakeIperf = `#!/bin/bash
echo "$@" >>"$NODE/called"
while [ $# -gt 0 ]; do
	case $1 in --server) server=1 ;; --port) port=$2 ;; esac
	shift
done
if [ "$server" ]; then
	[ "$port" = 1 ] && { echo '{"error": "unable to start listener"}'; exit 1; }
	trap 'echo ended >>"$NODE/called"; exit' TERM
	echo "LISTEN 0 1 10.0.0.1:$port 0.0.0.0:*" >>"$NODE/listening"
	while :; do sleep 0.05; done
fi
trap 'echo "{\"error\": \"interrupt\"}"; exit 1' TERM
echo "sends on $port" >>"$NODE/called"
for ((i = 0; i < port % 1000 * 2; i++)); do sleep 0.05; done
echo "{}"
exit $((port / 9000))
`

func newLocal(t *testing.T) local {
	t.Helper()
	dir := t.TempDir()
	left, runs, err := os.Pipe()
	must(t, err)
	l := local{t, dir, runs}
	for name, text := range map[string]string{"iperf3": fakeIperf, "ss": "#!/bin/bash\ncat \"$NODE/listening\" 2>/dev/null\n:\n"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		defer left.Close()
		if _, err := l.Bash(context.Background(), forgetScript); err != nil {
			t.Error(err)
		}
		_ = runs.Close()
		must(t, left.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := io.Copy(io.Discard, left); err != nil { // what still ends would write into a folder that is being removed
			t.Errorf("processes of the node do not end: %v", err)
		}
	})
	return l
}

func (l local) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/bash", "-s")
	// on a busy machine clients may take longer to end than they may in a node
	own := strings.NewReplacer(nodeDir, l.dir+"/run", groupFile, l.dir+"/group", "SECONDS < 10;", "SECONDS < 50;")
	cmd.Stdin = strings.NewReader(own.Replace(script))
	cmd.Env = append(os.Environ(), "PATH="+l.dir+":"+os.Getenv("PATH"), "NODE="+l.dir)
	cmd.ExtraFiles = []*os.File{l.runs}
	return cmd
}

func (l local) Bash(ctx context.Context, script string) ([]byte, error) {
	var said bytes.Buffer
	cmd := l.command(ctx, script)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &said)
	}
	return out, err
}

func (l local) Fetch(ctx context.Context, script string, to io.Writer) error {
	cmd := l.command(ctx, script)
	cmd.Stdout = to
	return cmd.Run()
}

// called is what its iperf3 was called with.
func (l local) called() string {
	text, _ := os.ReadFile(filepath.Join(l.dir, "called"))
	return string(text)
}

// begun is a node in which something happens once the script of its clients has begun, before anybody waits for them.
type begun struct {
	local
	then func()
}

func (b begun) Bash(ctx context.Context, script string) ([]byte, error) {
	out, err := b.local.Bash(ctx, script)
	if strings.Contains(script, "\nzero=") {
		b.then()
	}
	return out, err
}

// has waits until a file of the node's says something.
func (l local) has(file, what string) {
	l.t.Helper()
	eventually(l.t, file+" says "+what, func() bool {
		text, _ := os.ReadFile(filepath.Join(l.dir, file))
		return strings.Contains(string(text), what)
	})
}

// flowAt is a flow to a port, that starts at those instants (ms).
func flowAt(label string, port int, at ...int) Flow {
	f := Flow{Label: label}
	f.Server.Port, f.Client.Port = port, port
	f.Client.Seconds = float64(port%1000) / 10
	for _, ms := range at {
		f.Client.At = append(f.Client.At, time.Duration(ms)*time.Millisecond)
	}
	return f
}

func experiment(t *testing.T, fs ...Flow) (Experiment, local, local) {
	t.Helper()
	client, server := newLocal(t), newLocal(t)
	return Experiment{
		Flows: fs, Client: client, Server: server, From: netip.MustParseAddr("10.0.0.2"), To: netip.MustParseAddr("10.0.0.1"),
		Grace: 10 * time.Minute, Tell: func(what string) { t.Log(what) },
	}, client, server
}

func gather(t *testing.T, e Experiment) (Times, string) {
	t.Helper()
	dir := t.TempDir()
	times, err := e.Gather(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return times, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestExperiment(t *testing.T) {
	e, client, server := experiment(t, flowAt("one", 5003, 0, 600), flowAt("two's", 6001, 300), flowAt("failing", 9001, 0))
	must(t, e.Listen(t.Context()))
	before := time.Now()
	zero, err := e.Send(t.Context())
	must(t, err)
	if d := zero.Sub(before); d < 0 || d > time.Minute {
		t.Errorf("it began %s after it was told to", d)
	}
	times, dir := gather(t, e)
	for _, s := range Schedule(e.Flows) {
		ran := times.Of(s)
		if plan := s.After.Seconds(); ran.Began < plan || ran.Ended < ran.Began+e.Flows[s.Flow].Client.Seconds {
			t.Errorf("start %d of flow %s, planned at %g, ran %v", s.Nth, e.Flows[s.Flow].Label, plan, ran)
		}
		if failed := e.Flows[s.Flow].Label == "failing"; (ran.Code != 0) != failed {
			t.Errorf("flow %s ended with %d", e.Flows[s.Flow].Label, ran.Code)
		}
		if text, err := os.ReadFile(ClientFile(dir, e.Flows[s.Flow], s.Nth)); string(text) != "{}\n" {
			t.Errorf("start %d of %s printed %q, %v", s.Nth, e.Flows[s.Flow].Label, text, err)
		}
	}
	if !strings.Contains(client.called(), "--client 10.0.0.1") || !strings.Contains(client.called(), "--bind 10.0.0.2") || !strings.Contains(server.called(), "--bind 10.0.0.1") {
		t.Errorf("the client called iperf3 with\n%s\nthe server with\n%s", client.called(), server.called())
	}
	must(t, e.End(t.Context()))
	eventually(t, "the servers end", func() bool { return strings.Count(server.called(), "ended") == 3 })
	for _, l := range []local{client, server} {
		if _, err := os.Stat(filepath.Join(l.dir, "run")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what the run made is left: %v", err)
		}
	}
}

// eventually waits for what follows an act.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	e, _, _ := experiment(t, flowAt("good", 5003, 0), flowAt("bad", 1, 0))
	err := e.Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the server of flow bad does not start: it ended") || !strings.Contains(err.Error(), "unable to start listener") {
		t.Error(err)
	}
	must(t, e.End(t.Context()))
}

// A flow that does not end is ended, and the others' results are kept.
func TestFlowThatOutlivesItsTime(t *testing.T) {
	e, client, _ := experiment(t, flowAt("short", 5001, 0), flowAt("long", 5999, 0))
	e.Flows[1].Client.Seconds = 0.1
	e.Grace = time.Second
	must(t, e.Listen(t.Context()))
	e.Client = begun{client, func() { // however long a busy machine takes for a short flow
		client.has("run/ended", "0.0 ")
		client.has("called", "sends on 5999")
	}}
	_, err := e.Send(t.Context())
	if !errors.As(err, new(Overdue)) {
		t.Errorf("%v", err)
	}
	times, dir := gather(t, e)
	if ran := times.Of(Start{Flow: 0}); ran.Ended < 0 || ran.Code != 0 {
		t.Errorf("the short flow ran %v", ran)
	}
	if ran := times.Of(Start{Flow: 1}); ran.Ended < 0 || ran.Code == 0 {
		t.Errorf("the long flow ran %v", ran)
	}
	if text, _ := os.ReadFile(ClientFile(dir, e.Flows[1], 0)); !strings.Contains(string(text), "interrupt") {
		t.Errorf("it said %q", text)
	}
	must(t, e.End(t.Context()))
}

func TestRunInterrupted(t *testing.T) {
	e, client, _ := experiment(t, flowAt("long", 5999, 0), flowAt("later", 5001, 3_600_000))
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	must(t, e.Listen(ctx))
	e.Client = begun{client, func() {
		client.has("run/began", "0.0 ") // it is known by then what is to be ended
		cancel(interrupted)
	}}
	if _, err := e.Send(ctx); !errors.Is(err, interrupted) {
		t.Error(err)
	}
	times, _ := gather(t, e)
	if ran := times.Of(Start{Flow: 0}); ran.Began < 0 || ran.Ended < 0 {
		t.Errorf("the long flow ran %v", ran)
	}
	if ran := times.Of(Start{Flow: 1}); ran.Began >= 0 {
		t.Errorf("the later flow ran %v", ran)
	}
	must(t, e.End(t.Context()))
}

// What an earlier run left, whose labctl was killed, is ended by the next.
func TestRunAfterAKilledOne(t *testing.T) {
	e, client, server := experiment(t, flowAt("long", 5999, 0))
	must(t, e.Listen(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	killed := e
	killed.Tell = func(string) {}
	killed.Client = deaf{begun{client, func() {
		client.has("run/began", "0.0 ")
		client.has("called", "--client ")
		cancel()
	}}}
	_, _ = killed.Send(ctx)
	e.Flows = []Flow{flowAt("short", 5001, 0)}
	must(t, e.Listen(t.Context()))
	eventually(t, "the first server ends", func() bool { return strings.Contains(server.called(), "ended") })
	_, err := e.Send(t.Context())
	must(t, err)
	must(t, e.End(t.Context()))
}

// deaf is a node whose clients are not stopped by the run that ends.
type deaf struct{ begun }

func (d deaf) Bash(ctx context.Context, script string) ([]byte, error) {
	if script == stopScript {
		return nil, nil
	}
	return d.begun.Bash(ctx, script)
}

// lost is a node whose agent is lost once its clients run.
type lost struct{ local }

var errGone = errors.New("no agent")

func (l lost) Bash(ctx context.Context, script string) ([]byte, error) {
	if script == progressScript {
		return nil, errGone
	}
	return l.local.Bash(ctx, script)
}

func TestLostClient(t *testing.T) {
	e, client, _ := experiment(t, flowAt("long", 5999, 0))
	must(t, e.Listen(t.Context()))
	e.Client = lost{client}
	if _, err := e.Send(t.Context()); !errors.Is(err, errGone) || !strings.Contains(err.Error(), "the client is lost") {
		t.Error(err)
	}
	must(t, e.End(t.Context()))
}

// A node whose processes are gone says so at once.
func TestClientThatLostItsFlows(t *testing.T) {
	e, client, _ := experiment(t, flowAt("long", 5999, 0))
	must(t, e.Listen(t.Context()))
	e.Client = begun{client, func() {
		client.has("called", "--client ")
		if _, err := client.Bash(t.Context(), endScript); err != nil {
			t.Error(err)
		}
	}}
	if _, err := e.Send(t.Context()); err == nil || !strings.Contains(err.Error(), "has lost its flows") {
		t.Error(err)
	}
	must(t, e.End(t.Context()))
}
