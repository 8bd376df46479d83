package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// looked is a look's result.
type looked struct {
	s   lab.Status
	err error
}

// watched is a watch of looks in turn, two seconds apart; behind the last it is interrupted.
func watched(t *testing.T, show watcher, looks ...looked) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := -1
	w := watch{
		look: func(context.Context) (lab.Status, error) { n++; return looks[n].s, looks[n].err },
		wait: func(ctx context.Context) error {
			if n == len(looks)-1 {
				cancel()
			}
			return ctx.Err()
		},
		now:  func() time.Time { return epoch.Add(time.Duration(n) * 2 * time.Second) },
		show: show,
	}
	return w.run(ctx)
}

// aLab is a lab's status with a node in some state, and what its mirror has copied and its NIC sent.
func aLab(ready bool, frames, bytes uint64) lab.Status {
	state := lab.Whole
	if !ready {
		state = lab.Part
	}
	return lab.Status{
		Name: "demo", State: state, Provenance: lab.Provenance{Accelerator: "kvm"},
		Nodes: []lab.NodeStatus{{Name: "client", State: "present", Ready: ready, NICs: []lab.NICStatus{{
			Network: "test", Side: "a", Address: "10.9.2.1/24", Kind: "virtio", HostState: "up",
			Traffic: &networks.Traffic{Sent: networks.Passed{Frames: frames, Bytes: bytes}},
		}}}},
		Mirror: []lab.MirrorStatus{{
			From: "client", To: "tshark", At: "lct1", Point: "tap", State: "present",
			Counters: &networks.Counters{Sent: networks.Copied{Frames: frames, Bytes: bytes}},
		}},
		Resources: []lab.ResourceState{{Resource: "machine/client", State: "present"}},
	}
}

var (
	goneNow = looked{err: lab.Unknown{Lab: "demo"}}
	evil    = "\x1b]0;x\x07\u009b31m\u202e\r\nfake line"
)

func interrupted(t *testing.T, err error) {
	t.Helper()
	if got := exitCode(t.Context(), err); got != exitInterrupted {
		t.Errorf("%v: exit status %d, want %d", err, got, exitInterrupted)
	}
}

// Elsewhere than on a terminal only what changed is told.
func TestWatchTellsChanges(t *testing.T) {
	var b bytes.Buffer
	stray := aLab(true, 4_000, 1_000_000)
	stray.Strays = []string{evil}
	interrupted(t, watched(t, &changes{w: &b},
		looked{s: aLab(false, 0, 0)}, looked{s: aLab(true, 0, 0)}, looked{s: aLab(true, 0, 0)}, looked{s: aLab(true, 4_000, 1_000_000)},
		looked{err: errors.New("libvirt does not answer: " + evil)}, looked{err: errors.New("libvirt does not answer: " + evil)},
		looked{s: stray}, looked{s: aLab(true, 4_000, 1_000_000)}))
	const want = `2026-01-02T03:04:05Z lab demo: partial
2026-01-02T03:04:05Z node client: not ready
2026-01-02T03:04:05Z NIC of client, test/a: up
2026-01-02T03:04:05Z machine/client: present
2026-01-02T03:04:05Z mirror of client to tshark: copied 0 sent and 0 received, 0 dropped
2026-01-02T03:04:07Z lab demo: whole
2026-01-02T03:04:07Z node client: ready
2026-01-02T03:04:11Z mirror of client to tshark: copied 4000 sent and 0 received, 0 dropped; 2000 frames/s, 4.0 Mbit/s, 0/s dropped
2026-01-02T03:04:13Z error: libvirt does not answer: ?]0;x??31m? fake line
2026-01-02T03:04:17Z ?]0;x??31m? fake line: bears the lab's mark, and its file does not speak of it
2026-01-02T03:04:19Z ?]0;x??31m? fake line: gone
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A lab that goes away ends the watch well; one that was never there does not.
func TestWatchEnds(t *testing.T) {
	for name, show := range map[string]func(io.Writer) watcher{
		"changes": func(w io.Writer) watcher { return &changes{w: w} },
		"screen":  func(w io.Writer) watcher { return &screen{w: w, size: func() (int, int) { return 80, 24 }} },
		"JSON":    func(w io.Writer) watcher { return &watchedJSON{w} },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := watched(t, show(&b), looked{s: aLab(true, 0, 0)}, goneNow); err != nil {
				t.Error(err)
			}
			last := b.String()[strings.LastIndex(strings.TrimSpace(b.String()), "\n")+1:]
			if !strings.Contains(last, "lab demo is gone\n") && !strings.Contains(last, `"name":"demo","state":"absent"`) {
				t.Errorf("it ends with %q", last)
			}
			b.Reset()
			if err := watched(t, show(&b), goneNow); !errors.As(err, new(lab.Unknown)) || b.Len() > 0 {
				t.Errorf("%v after %q", err, b.String())
			}
			if err := watched(t, show(broken{}), looked{s: aLab(true, 0, 0)}, goneNow); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%v where nobody reads", err)
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// An interrupt does not wait for a look at a node that hangs.
func TestWatchIsInterruptedInALook(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	w := watch{
		look: func(context.Context) (lab.Status, error) { cancel(); <-hang; return lab.Status{}, nil },
		now:  time.Now, show: &changes{w: io.Discard},
	}
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	select {
	case err := <-ended:
		interrupted(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

// terminal keeps every write to it, and what it would show.
type terminal struct {
	wide, high int
	writes     []string
	rows       []string
}

// Write plays what a screen writes.
func (s *terminal) Write(p []byte) (int, error) {
	s.writes = append(s.writes, string(p))
	text, home := strings.CutPrefix(strings.TrimPrefix(string(p), otherPage), toTop)
	if !home {
		return len(p), nil
	}
	s.rows = nil
	for _, line := range strings.Split(strings.TrimSuffix(text, clearRest), "\r\n") {
		s.rows = append(s.rows, strings.TrimSuffix(line, "\x1b[K"))
	}
	return len(p), nil
}

// On a terminal each glance is one write, no larger than the terminal, and the last stays.
func TestWatchOnATerminal(t *testing.T) {
	tty := &terminal{wide: 64, high: 8}
	many := aLab(true, 5_000, 1_000_000)
	for range 30 {
		many.Strays = append(many.Strays, evil+strings.Repeat("長", 50))
	}
	show := &screen{w: tty, size: func() (int, int) { return tty.wide, tty.high }}
	frame := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, tty.rows); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	first := glance{At: epoch, Status: aLab(false, 1_000, 0)}
	must(t, show.seen(first))
	frame("lab demo is partial (kvm)  03:04:05", "",
		"client  not ready  test/a 10.9.2.1/24 (virtio)",
		"mirror  present    client to tshark copied 1000 sent and 0 recei")
	second := glance{At: epoch.Add(2 * time.Second), Status: aLab(true, 5_000, 1_000_000), Before: &first}
	tty.wide, tty.high = 120, 24
	must(t, show.seen(second))
	frame("lab demo is whole (kvm)  03:04:07", "",
		"client  ready    test/a 10.9.2.1/24 (virtio)",
		"mirror  present  client to tshark copied 5000 sent and 0 received, 0 dropped; 2000 frames/s, 4.0 Mbit/s, 0/s dropped", "",
		"client  test/a  sent 2000 frames/s, 4.0 Mbit/s  received 0 frames/s, 0 bit/s")
	tty.wide, tty.high = 40, 7
	must(t, show.seen(glance{At: epoch, Status: many, Before: &second}))
	if len(tty.rows) != 7 || tty.rows[6] == "" {
		t.Errorf("%d rows on 7: %q", len(tty.rows), tty.rows)
	}
	must(t, show.seen(glance{At: epoch, Err: errors.New(evil), Before: &second}))
	if len(tty.writes) != 4 {
		t.Errorf("%d writes of 4 glances", len(tty.writes))
	}
	show.close()
	all := strings.Join(tty.writes, "")
	for _, order := range []string{"\x1b]", "\x07", "\u009b", "\u202e"} {
		if strings.Contains(all, order) {
			t.Errorf("%q reaches the terminal", order)
		}
	}
	if last := tty.writes[4]; !strings.HasPrefix(last, firstPage+"lab demo is whole") || !strings.HasSuffix(last, "fake line\n") || strings.Count(all, otherPage) != 1 {
		t.Errorf("it ends with %q", last)
	}
}

// Counters that began anew, or went round, give no nonsense.
func TestRates(t *testing.T) {
	at := func(frames, bytes uint64) *glance { return &glance{At: epoch, Status: aLab(true, frames, bytes)} }
	for name, c := range map[string]struct {
		before *glance
		want   string
	}{
		"the first":    {nil, ""},
		"as before":    {at(500, 1_000), "; 0 frames/s, 0 bit/s, 0/s dropped"},
		"went round":   {at(1<<32-500, 0), "; 500 frames/s, 4.0 kbit/s, 0/s dropped"},
		"made anew":    {at(900, 2_000), ""},
		"not counted":  {&glance{At: epoch}, ""},
		"at one time":  {&glance{At: epoch.Add(2 * time.Second), Status: aLab(true, 0, 0)}, "; 0 frames/s, 0 bit/s, 0/s dropped"},
		"some kilobit": {at(0, 0), "; 250 frames/s, 4.0 kbit/s, 0/s dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			g := glance{At: epoch.Add(2 * time.Second), Status: aLab(true, 500, 1_000), Before: c.before}
			if got := g.mirrorRate(g.Status.Mirror[0]); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestWatchAsJSON(t *testing.T) {
	var b bytes.Buffer
	interrupted(t, watched(t, &watchedJSON{&b}, looked{s: aLab(true, 1, 2)}, looked{err: errors.New(evil)}, looked{s: aLab(false, 1, 2)}))
	var states, faults []string
	for _, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		var g jsonGlance
		must(t, json.Unmarshal([]byte(line), &g))
		if g.Time.Before(epoch) || g.Name != "demo" || g.Nodes == nil {
			t.Error(line)
		}
		states, faults = append(states, g.State), append(faults, g.Error)
	}
	if d := cmp.Diff([]string{"whole", "unknown", "partial"}, states); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if faults[0] != "" || faults[1] != host.Printable([]byte(evil)) || faults[2] != "" {
		t.Errorf("%q", faults)
	}
}

// What is watched is the host: a machine that goes off, and the lab that goes away.
func TestWatchTheHost(t *testing.T) {
	h := hosttest.New(t)
	before := host.LockDir
	host.LockDir = t.TempDir()
	t.Cleanup(func() { host.LockDir = before })
	const file = "name: plain\nimage: debian-slim\nnetworks: {control: {subnet: 10.9.1.0/24, uplink: none}}\nnodes: {one: {nics: [{network: control}]}}\n"
	f, err := load("lab.yaml", []byte(file))
	must(t, err)
	l, err := topology.Decide(f, nil, topology.Chosen{})
	must(t, err)
	b := lab.Build{On: h, Lab: l, Accel: topology.AccelTCG, Tag: host.Tag{Lab: "plain", Format: host.Format, From: "lab.yaml", Dir: h.Dir, File: file}}
	m := b.Machines()[0]
	must(t, m.Create(t.Context()))
	var out bytes.Buffer
	steps := []func(){
		func() {
			d, err := h.LookupDomainByName("labctl.plain.one")
			must(t, err)
			defer func() { _ = d.Free() }()
			must(t, d.Destroy())
		},
		func() { must(t, m.Destroy(t.Context())) },
	}
	w := watch{
		look: lookAgain(h, "plain"),
		wait: func(context.Context) error { steps[0](); steps = steps[1:]; return nil },
		now:  func() time.Time { return epoch }, show: &changes{w: &out},
	}
	must(t, w.run(t.Context()))
	for _, want := range []string{" node one: not ready\n", " machine/one: present\n", " node one: off\n", " machine/one: partial\n", " lab plain is gone\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
