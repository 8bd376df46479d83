package shape

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const ms = time.Millisecond

// impairs are impairments of every kind, by the names of their golden files.
var impairs = map[string]topology.Impair{
	"delay":        {Delay: 92 * ms},
	"uniform":      {Delay: 92 * ms, Jitter: 1500 * time.Microsecond, Distribution: topology.SpreadUniform},
	"normal":       {Delay: 92 * ms, Jitter: 2 * ms, Distribution: topology.SpreadNormal},
	"pareto":       {Delay: 123456789, Jitter: 2 * time.Second / 100, Distribution: topology.SpreadPareto},
	"paretonormal": {Delay: 30 * time.Second, Jitter: 2 * time.Second, Distribution: topology.SpreadParetoNormal},
	"loss":         {Loss: 0.00025},
	"all-lost":     {Loss: 1},
	"bursts":       {Loss: 0.01, Burst: 5},
	"duplicate":    {Duplicate: 0.0001},
	"reorder":      {Delay: 10 * ms, Reorder: 0.03},
	"corrupt":      {Corrupt: 0.04},
	"rate":         {Rate: 50e6, Queue: 1_050_000, AQM: topology.AQMFIFO},
	"slow":         {Rate: 8000, Queue: 24224, AQM: topology.AQMFIFO},
	"fast":         {Rate: 400e9, Queue: 1 << 30, AQM: topology.AQMFIFO},
	"fq_codel":     {Rate: 1e9, Queue: 12_500_000, AQM: topology.AQMFqCoDel},
	"pie":          {Rate: 10e6, Queue: 1514, AQM: topology.AQMPIE},
	"all": {
		Rate: 10e6, Delay: 50 * ms, Jitter: 5 * ms, Distribution: topology.SpreadNormal, Loss: 0.02, Burst: 3,
		Duplicate: 0.01, Reorder: 0.05, Corrupt: 0.001, Queue: 125_000, AQM: topology.AQMFqCoDel,
	},
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", name, d)
	}
}

// TestMessages: what the kernel is told, byte for byte, in the words of its headers.
func TestMessages(t *testing.T) {
	for name, i := range impairs {
		t.Run(name, func(t *testing.T) {
			qs, err := stack(i, 1500)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, q := range qs {
				b.WriteString(told(t, q.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 7).Serialize()))
			}
			golden(t, name+".message", b.String())
		})
	}
}

// told is a message about a queueing discipline in the words of the kernel's headers.
func told(t *testing.T, m []byte) string {
	t.Helper()
	u32 := binary.NativeEndian.Uint32
	if int(u32(m)) != len(m) {
		t.Errorf("the message says it has %d bytes of %d", u32(m), len(m))
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("type %d, flags %#x, ifindex %d, handle %#x, parent %#x", binary.NativeEndian.Uint16(m[4:]), binary.NativeEndian.Uint16(m[6:]), u32(m[20:]), u32(m[24:]), u32(m[28:]))
	var kind string
	walk(t, m[36:], func(attr uint16, v []byte) {
		switch attr {
		case nl.TCA_KIND:
			kind = string(v)
			line("%q", kind)
		case nl.TCA_OPTIONS:
			fields := options[strings.TrimRight(kind, "\x00")]
			if strings.HasPrefix(kind, "netem") {
				line("  latency %d, limit %d, loss %#x, gap %d, duplicate %#x, jitter %d", u32(v), u32(v[4:]), u32(v[8:]), u32(v[12:]), u32(v[16:]), u32(v[20:]))
				v = v[24:]
			}
			walk(t, v, func(attr uint16, v []byte) {
				show, ok := fields[attr]
				if !ok {
					t.Errorf("%s has an attribute %#x", kind, attr)
					return
				}
				line("  %s", show(v))
			})
		default:
			t.Errorf("an attribute %d", attr)
		}
	})
	return b.String()
}

func walk(t *testing.T, b []byte, each func(attr uint16, v []byte)) {
	t.Helper()
	for len(b) > 0 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			t.Fatalf("an attribute of %d bytes in %d", n, len(b))
		}
		each(binary.NativeEndian.Uint16(b[2:]), b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// options are the attributes of the kinds, by their numbers in linux/pkt_sched.h.
var options = map[string]map[uint16]func([]byte) string{
	"netem": {
		2: func(v []byte) string {
			u16 := binary.NativeEndian.Uint16
			return fmt.Sprintf("TCA_NETEM_DELAY_DIST of %d, from %d to %d", len(v)/2, int16(u16(v)), int16(u16(v[len(v)-2:])))
		},
		3:  words32("TCA_NETEM_REORDER", "probability", "correlation"),
		4:  words32("TCA_NETEM_CORRUPT", "probability", "correlation"),
		10: func(v []byte) string { return fmt.Sprintf("TCA_NETEM_LATENCY64 %d", binary.NativeEndian.Uint64(v)) },
		11: func(v []byte) string { return fmt.Sprintf("TCA_NETEM_JITTER64 %d", binary.NativeEndian.Uint64(v)) },
		0x8005: func(v []byte) string {
			if len(v) != 20 || binary.NativeEndian.Uint32(v) != 2<<16|20 {
				return fmt.Sprintf("TCA_NETEM_LOSS %x", v)
			}
			return "TCA_NETEM_LOSS " + words32("NETEM_LOSS_GE", "p", "r", "h", "k1")(v[4:])
		},
	},
	"tbf": {
		1: func(v []byte) string {
			u16, u32 := binary.NativeEndian.Uint16, binary.NativeEndian.Uint32
			return fmt.Sprintf("TCA_TBF_PARMS rate {cell_log %d, linklayer %d, overhead %d, cell_align %d, mpu %d, rate %d}, peakrate %x, limit %d, buffer %d, mtu %d",
				v[0], v[1], u16(v[2:]), u16(v[4:]), u16(v[6:]), u32(v[8:]), v[12:24], u32(v[24:]), u32(v[28:]), u32(v[32:]))
		},
		4: func(v []byte) string { return fmt.Sprintf("TCA_TBF_RATE64 %d", binary.NativeEndian.Uint64(v)) },
		6: words32("TCA_TBF_BURST", ""),
	},
	"fq_codel": {2: words32("TCA_FQ_CODEL_LIMIT", ""), 9: words32("TCA_FQ_CODEL_MEMORY_LIMIT", "")},
	"pie":      {2: words32("TCA_PIE_LIMIT", "")},
}

func words32(name string, fields ...string) func([]byte) string {
	return func(v []byte) string {
		s := name
		if len(v) != 4*len(fields) {
			return fmt.Sprintf("%s of %d bytes", name, len(v))
		}
		for i, f := range fields {
			s += fmt.Sprintf(" %s %d", f, binary.NativeEndian.Uint32(v[4*i:]))
		}
		return s
	}
}

// TestAs: what is read back is what was asked for, wherever the kernel has numbers for it.
func TestAs(t *testing.T) {
	for name, i := range impairs {
		if got, err := As(i, 1500); err != nil || got != i {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, i)
		}
	}
	for in, want := range map[topology.Impair]topology.Impair{
		{}: {},
		{Rate: 8001, Queue: 2000, AQM: topology.AQMFIFO}: {Rate: 8000, Queue: 2000, AQM: topology.AQMFIFO},
		{Loss: 1. / 3}: {Loss: 0.3333333333}, // ten digits are what 32 bits can tell
	} {
		got, err := As(in, 1500)
		if err != nil || got != want {
			t.Errorf("%+v is %+v, %v; want %+v", in, got, err, want)
		}
		if again, err := As(got, 1500); err != nil || again != got {
			t.Errorf("%+v comes to %+v, %v", got, again, err)
		}
	}
}

// TestChangedByHand: what Set never makes is told, and not taken for what it made.
func TestChangedByHand(t *testing.T) {
	good := func() []qdisc {
		qs, err := stack(impairs["all"], 1500)
		if err != nil {
			t.Fatal(err)
		}
		return qs
	}
	attr := func(kind int, v ...uint32) *nl.RtAttr {
		var b []byte
		for _, n := range v {
			b = binary.NativeEndian.AppendUint32(b, n)
		}
		return nl.NewRtAttr(kind, b)
	}
	for name, change := range map[string]func([]qdisc) []qdisc{
		"a correlation": func(qs []qdisc) []qdisc {
			qs[0].options = payload(qs[0].options, attr(nl.TCA_NETEM_CORR, 0, 1, 0))
			return qs
		},
		"a rate in netem": func(qs []qdisc) []qdisc {
			qs[0].options = payload(qs[0].options, attr(nl.TCA_NETEM_RATE, 1, 0, 0, 0))
			return qs
		},
		"marks": func(qs []qdisc) []qdisc { qs[0].options = payload(qs[0].options, attr(nl.TCA_NETEM_ECN, 1)); return qs },
		"slots": func(qs []qdisc) []qdisc { qs[0].options = payload(qs[0].options, attr(netemSlot, 1, 1)); return qs },
		"another loss model": func(qs []qdisc) []qdisc {
			qs[0].options = payload(qs[0].options, nl.NewRtAttr(nl.TCA_NETEM_LOSS, payload(nil, attr(lossStates, 1, 1, 1, 1, 1))))
			return qs
		},
		"not all lost": func(qs []qdisc) []qdisc {
			qs[0].options = payload(qs[0].options, nl.NewRtAttr(nl.TCA_NETEM_LOSS, payload(nil, attr(lossBursts, 1, 1, 1, 0))))
			return qs
		},
		"a gap":               func(qs []qdisc) []qdisc { binary.NativeEndian.PutUint32(qs[0].options[12:], 5); return qs },
		"cut short":           func(qs []qdisc) []qdisc { qs[0].options = qs[0].options[:20]; return qs },
		"a peak rate":         func(qs []qdisc) []qdisc { binary.NativeEndian.PutUint32(qs[1].options[4+20:], 5); return qs },
		"a red queue":         func(qs []qdisc) []qdisc { qs[2].kind = "red"; return qs },
		"a queue below netem": func(qs []qdisc) []qdisc { qs[2].parent = qs[1].parent; return []qdisc{qs[0], qs[2]} },
	} {
		if d, err := decode(change(good())); err == nil {
			t.Errorf("%s is %+v", name, d)
		}
		if same(change(good()), good()) {
			t.Errorf("%s is the same", name)
		}
	}
	for name, q := range map[string]qdisc{
		"another's netem":   {kind: netem, handle: 0x80010000},
		"netem of tbf's":    {kind: netem, handle: 0x6c640000},
		"pie at the root":   {kind: topology.AQMPIE, handle: 0x6c650000},
		"the default":       {kind: "noqueue"},
		"another's by name": {kind: "htb", handle: 0x6c600000},
	} {
		q.parent = 0xffffffff
		if _, ours := ourRoot([]qdisc{q}); ours {
			t.Errorf("%s is ours", name)
		}
	}
	if !same(good(), good()) {
		t.Error("an impairment is not the same as itself")
	}
	other := impairs["all"]
	other.Queue *= 2
	qs, _ := stack(other, 1500)
	if same(good(), qs) {
		t.Error("another queue is the same")
	}
	if larger, _ := stack(impairs["all"], 9000); same(good(), larger) {
		t.Error("a queue of other frames is the same")
	}
}
