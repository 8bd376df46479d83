package shape

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

// TestRead reads answers that the tc of Debian's iproute2 6.1.0 gave in a guest.
func TestRead(t *testing.T) {
	for name, want := range map[string]topology.Impair{
		"stack": {
			Rate: 50e6, Delay: 92 * ms, Jitter: 2 * ms, Distribution: topology.SpreadNormal, Loss: 0.00025,
			Duplicate: 0.0001, Reorder: 0.03, Corrupt: 0.04, Queue: 1_050_000, AQM: topology.AQMFqCoDel,
		},
		"bursts": {Rate: 400e9, Loss: 0.01, Burst: 5, Queue: 1_050_000_000, AQM: topology.AQMPIE},
		// without -r: the queue by how long it lasts
		"slow": {Rate: 8000, Queue: 24224, AQM: topology.AQMFIFO},
	} {
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if got, ours, err := Read(text); err != nil || !ours || got != want {
			t.Errorf("%s: %v, %v\n got %+v\nwant %+v", name, ours, err, got, want)
		}
	}
}

// TestAlike: what tc cannot tell makes no difference, and all else does.
func TestAlike(t *testing.T) {
	asked := impairs["all"]
	with := func(change func(*topology.Impair)) topology.Impair { i := asked; change(&i); return i }
	for name, c := range map[string]struct {
		read topology.Impair
		want bool
	}{
		"itself":          {asked, true},
		"a µs less":       {with(func(i *topology.Impair) { i.Jitter -= time.Microsecond }), true},
		"the sixth digit": {with(func(i *topology.Impair) { i.Loss *= 1.000009; i.Burst *= 0.999999 }), true},
		"two µs less":     {with(func(i *topology.Impair) { i.Jitter -= 2 * time.Microsecond }), false},
		"more delay":      {with(func(i *topology.Impair) { i.Delay += ms }), false},
		"more loss":       {with(func(i *topology.Impair) { i.Loss *= 1.0001 }), false},
		"no loss":         {with(func(i *topology.Impair) { i.Loss = 0 }), false},
		"another spread":  {with(func(i *topology.Impair) { i.Distribution = topology.SpreadPareto }), false},
		"another rate":    {with(func(i *topology.Impair) { i.Rate += 8 }), false},
		"another queue":   {with(func(i *topology.Impair) { i.Queue++ }), false},
		"another AQM":     {with(func(i *topology.Impair) { i.AQM = topology.AQMPIE }), false},
	} {
		if got := Alike(c.read, asked); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

const aNetem = `[{"kind":"netem","handle":"6c61:","root":true,"options":{%s}}]`

// TestReadOthers: what is not ours is no impairment, and no error.
func TestReadOthers(t *testing.T) {
	for _, text := range []string{
		`[]`, `null`,
		`[{"kind":"noqueue","handle":"0:","root":true,"refcnt":2,"options":{}}]`,
		`[{"kind":"mq","handle":"0:","root":true},{"kind":"fq_codel","handle":"0:","parent":":1","options":{}},{"kind":"fq_codel","handle":"0:","parent":":2","options":{}}]`,
		`[{"kind":"netem","handle":"8001:","root":true,"options":{"delay":{"delay":1}}}]`,
		`[{"kind":"pie","handle":"6c65:","root":true,"options":{}}]`,
		`[{"kind":"clsact","handle":"ffff:","parent":"ffff:fff1","options":{}}]`,
	} {
		if i, ours, err := Read([]byte(text)); err != nil || ours || !i.IsZero() {
			t.Errorf("%s is %s, %v, %v", text, i, ours, err)
		}
	}
}

// bad are answers that no tc gives, or not of what Set makes.
var bad = []string{
	``, `{}`, `[`, `[1]`, `[{}] x`, `"6c60:"`, `[{"kind":5}]`, `[{"handle":"x:"}]`, `[{"handle":"1:2:3"}]`, `[{"handle":"12345:"}]`, `[{"handle":"0:","parent":"-1:"}]`,
	`[{"kind":"netem","handle":"6c60:","root":true}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":-1,"limit":1}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":1e30,"limit":1}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":18446744073709551615,"limit":1}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":1000,"lat":18446744073709551615}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":1000,"limit":4294967296}}]`,
	`[{"kind":"tbf","handle":"6c64:","root":true,"options":{"rate":1000,"limit":5,"peakrate":5}}]`,
	fmt.Sprintf(aNetem, `"delay":{"delay":1e300}`), fmt.Sprintf(aNetem, `"delay":{"delay":-1}`), fmt.Sprintf(aNetem, `"delay":{"delay":1,"jitter":1e9}`),
	fmt.Sprintf(aNetem, `"delay":{"delay":1,"correlation":0.1}`), fmt.Sprintf(aNetem, `"delay":[]`), fmt.Sprintf(aNetem, `"delay":{"delay":"1"}`),
	fmt.Sprintf(aNetem, `"loss-random":{"loss":1.1}`), fmt.Sprintf(aNetem, `"corrupt":{"corrupt":-0.1}`), fmt.Sprintf(aNetem, `"duplicate":{"duplicate":0.1,"correlation":1}`),
	fmt.Sprintf(aNetem, `"loss-gemodel":{}`), fmt.Sprintf(aNetem, `"loss-gemodel":{"p":0.1,"r":0,"1-h":1}`), fmt.Sprintf(aNetem, `"loss-gemodel":{"p":0.1,"r":0.1,"1-h":0.5}`),
	fmt.Sprintf(aNetem, `"loss-state":{"p13":1}`), fmt.Sprintf(aNetem, `"rate":{"rate":1}`), fmt.Sprintf(aNetem, `"slot":{}`), fmt.Sprintf(aNetem, `"ecn":true`),
	fmt.Sprintf(aNetem, `"gap":1`), fmt.Sprintf(aNetem, `"gap":5,"reorder":{"reorder":0.1}`), fmt.Sprintf(aNetem, `"reorder":{"reorder":0.1}`),
	`[{"kind":"netem","handle":"6c61:","root":true,"options":{}},{"kind":"htb","handle":"1:","parent":"6c61:1"}]`,
	`[{"kind":"netem","handle":"6c61:","root":true,"options":{}},{"kind":"netem","handle":"6c62:","parent":"6c61:1","options":{}}]`,
	`[{"kind":"netem","handle":"6c61:","root":true,"options":{}},{"kind":"netem","handle":"6c61:","parent":"6c61:1","options":{}}]`,
	`[{"kind":"netem","handle":"6c61:","root":true,"options":{}},{"kind":"pie","handle":"6c65:","parent":"6c61:1","options":{}}]`,
}

func TestReadBad(t *testing.T) {
	for _, text := range append(bad, "["+strings.Repeat(" ", mostText)+"]", strings.Repeat("[", mostText)) {
		if i, ours, err := Read([]byte(text)); err == nil {
			t.Errorf("%.200s is %s, %v", text, i, ours)
		}
	}
}

// FuzzRead: whatever a guest says, what is read of it can be.
func FuzzRead(f *testing.F) {
	for _, text := range bad {
		f.Add([]byte(text))
	}
	for _, name := range []string{"stack", "bursts", "slow"} {
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		i, ours, err := Read(text)
		if (err != nil || !ours) && !i.IsZero() {
			t.Errorf("%+v, %v, %v", i, ours, err)
		}
		for _, s := range []float64{i.Loss, i.Duplicate, i.Reorder, i.Corrupt} {
			if !(s >= 0 && s <= 1) {
				t.Errorf("a share of %g", s)
			}
		}
		if i.Rate < 0 || i.Queue < 0 || i.Delay < 0 || i.Jitter < 0 || i.Delay > 1<<21*time.Second || (i.Burst != 0 && !(i.Burst >= 1)) {
			t.Errorf("%+v", i)
		}
	})
}
