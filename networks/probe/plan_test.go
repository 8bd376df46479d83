package probe

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mami-project/labctl/topology"
)

// Whatever is set, counted frames leave half the rate free, and the measurement is short.
func TestPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1)
		set := topology.Impair{
			Rate:    rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(8e3, 400e9)).Draw(t, "rate"),
			Delay:   time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "delay")),
			Loss:    share.Draw(t, "loss"),
			Burst:   rapid.Float64Range(0, 1e6).Draw(t, "burst"),
			Corrupt: share.Draw(t, "corrupt"),
			Queue:   rapid.Int64Range(0, 1<<30).Draw(t, "queue"),
		}
		p := counting(set, least, true, set.Delay)
		perSecond := float64(p.batch) / p.every.Seconds()
		if r := counting(set, least, false, set.Delay); float64(r.batch)/r.every.Seconds() > min(perSecond, 3000)*1.001 {
			t.Errorf("through a router: %+v", r)
		}
		if set.Rate > 0 && perSecond*least*8 > modest*float64(set.Rate)*1.001 {
			t.Errorf("%v frames a second at %d bit/s", perSecond, set.Rate)
		}
		if perSecond*set.Delay.Seconds() > inFlight*1.001 {
			t.Errorf("%v frames under way", perSecond*set.Delay.Seconds())
		}
		if p.frames < 1 || p.frames > most || float64(p.frames)/perSecond > patient.Seconds()*1.3 {
			t.Errorf("%+v", p)
		}
		if set.Rate == 0 {
			return
		}
		f := flooding(set, least, 1514, set.Delay)
		offered := float64(f.batch) / f.every.Seconds() * float64(f.size) * 8
		if offered*max(1-set.Loss, 0.1) < 1.2*float64(set.Rate) || f.frames < floodFew/3 || f.frames > floodMany || f.size < least || f.size > 1514 || f.within > floodMost || f.every < pace/10 {
			t.Errorf("%+v offers %.4g of %d bit/s", f, offered, set.Rate)
		}
		if empties := float64(set.Queue) * 8 / float64(set.Rate); set.Queue > 0 && f.batch > 1 && f.every.Seconds() > max(empties/2, 2*pace.Seconds()/10) {
			t.Errorf("%+v lets a queue run empty that does so in %v s", f, empties)
		}
	})
}

func TestPlansOfUsualRates(t *testing.T) {
	for _, set := range []topology.Impair{
		{},
		{Rate: 2e6, Delay: 300 * time.Millisecond, Queue: 150000},
		{Rate: 50e6, Delay: 92 * time.Millisecond, Queue: 1050000, Loss: 0.00025},
		{Rate: 200e6, Queue: 24224},
	} {
		took := time.Duration(0)
		for _, p := range []plan{counting(set, least, true, set.Delay), flooding(set, least, 1514, set.Delay)} {
			if set.Rate == 0 && !p.keep {
				continue
			}
			took += time.Duration(float64(p.frames)/float64(p.batch)*float64(p.every)) + p.tail
		}
		if took > 4500*time.Millisecond {
			t.Errorf("%v takes %v", set, took)
		}
	}
	if p := counting(topology.Impair{Loss: 0.00025}, least, true, 0); p.frames != most {
		t.Errorf("a rare loss is looked for in %d frames", p.frames)
	}
	if p := counting(topology.Impair{Loss: 0.01, Burst: 10}, least, true, 0); p.frames != most {
		t.Errorf("a loss in bursts is looked for in %d frames", p.frames)
	}
}
