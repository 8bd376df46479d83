package probe

import (
	"math"
	"time"

	"github.com/mami-project/labctl/topology"
)

// plan is how frames are sent: batches of them at an even pace.
type plan struct {
	size    int           // bytes of a frame
	frames  int           // at most
	batch   int           // frames at once
	every   time.Duration // from batch to batch
	within  time.Duration // sends no longer than that
	catchUp bool          // a late batch is made good, so that the pace is kept on average
	knock   bool          // ends with the first frame that comes
	bypass  int           // after so many batches a frame goes past the queueing discipline; 0: never
	tail    time.Duration // how long after the last one frames are waited for
	grace   time.Duration // how long for duplicates, when all have come
	keep    bool          // the bytes of what comes are kept
}

const (
	least = 60 // bytes of the shortest Ethernet frame without its check sequence

	pace     = time.Millisecond // that a sleeping thread keeps on a busy machine
	together = 20               // frames sent at once: about the work of a tenth of pace
	routable = 3                // the same through a router, which may be an emulated machine
	inFlight = 5000             // frames under way at once: more, and a queue may end there
	modest   = 0.5              // share of the rate that counted frames take, so that no queue builds up

	frequent   = 50    // events wanted of the rarest kind: an interval of about ±40 %
	fewest     = 10000 // frames that are counted where time and rate allow it: none lost of so many is less than 0.07 %
	most       = 40000 // in two seconds at the full pace
	countTime  = 2 * time.Second
	patient    = 2 * countTime // at a rate so low that hardly any frame passes in countTime
	hardlyAny  = 200
	firstFrame = 2 * time.Second // for a first frame beside its delay: ARP, and a router that wakes up

	slack = 300 * time.Millisecond // beyond the latest frame, for the host
	brief = 50 * time.Millisecond  // the same where nothing depends on the last frames

	overload  = 1.5 // times the rate: the queue builds up within the part that is not looked at
	floodTime = time.Second
	floodMost = 3 * time.Second // at a rate so low that floodTime carries few frames
	floodFew  = 100             // frames that show a rate
	floodMany = 400000          // and those that need not be more
	quarter   = 4               // batches while a full queue empties, so that it never does
)

// reach is how far beyond the delay a jitter goes: netem's tables end at four jitters.
func reach(set topology.Impair) time.Duration { return 4 * set.Jitter }

// serialised is the time that the rate takes for a frame; 0 where there is no rate.
func serialised(set topology.Impair, size int) time.Duration {
	if set.Rate == 0 {
		return 0
	}
	return time.Duration(float64(size) * 8 / float64(set.Rate) * float64(time.Second))
}

// warming sends a frame now and then until one comes.
func warming(set topology.Impair, size int) plan {
	within := firstFrame + set.Delay + reach(set)
	every := max(brief, 2*serialised(set, size))
	return plan{size: size, frames: int(within/every) + 1, batch: 1, every: every, within: within, knock: true, tail: every}
}

// counting sends as many small frames as the rarest event needs, and the time and the
// rate allow. latest is when frames come that come late.
func counting(set topology.Impair, size int, own bool, latest time.Duration) plan {
	p := plan{size: size, every: pace, keep: true, tail: latest + slack}
	perSecond := routable / pace.Seconds()
	if own {
		perSecond = together / pace.Seconds()
	}
	if latest > 0 {
		perSecond = min(perSecond, inFlight/latest.Seconds())
	}
	if set.Rate > 0 {
		perSecond = min(perSecond, modest*float64(set.Rate)/8/float64(size))
	}
	if p.batch = int(perSecond * pace.Seconds()); p.batch == 0 {
		p.batch = 1
		p.every = time.Duration(float64(time.Second) / perSecond)
	}
	perSecond = float64(p.batch) / p.every.Seconds()
	p.frames = fewest
	for _, share := range []float64{set.Loss, set.Duplicate, set.Reorder, set.Corrupt} {
		if share > 0 {
			p.frames = max(p.frames, int(min(frequent/share*max(1, 2*set.Burst-1), most)))
		}
	}
	p.within = countTime
	if perSecond*countTime.Seconds() < hardlyAny {
		p.within = patient
	}
	if set.Jitter > 0 { // spaced frames show it, and every batch has just one
		p.frames = max(p.frames, int(perSecond*countTime.Seconds()/2))
	}
	p.frames = max(1, min(p.frames, int(perSecond*p.within.Seconds())))
	p.within *= 2 // on a machine that does not keep the pace
	p.grace = brief + 2*reach(set)
	if set.Reorder > 0 {
		p.grace += set.Delay
	}
	if own {
		p.bypass = 5
	}
	return p
}

// flooding sends the longest frames faster than the rate, for a while.
func flooding(set topology.Impair, smallest, longest int, latest time.Duration) plan {
	rate := float64(set.Rate) / 8 // bytes a second
	long := time.Duration(floodFew * float64(longest) / rate * float64(time.Second))
	p := plan{within: min(max(floodTime, long), floodMost), catchUp: true}
	p.size = min(longest, max(smallest, int(rate*p.within.Seconds()/floodFew)))
	offered := overload * rate / float64(p.size) // frames a second
	offered /= max(1-set.Loss, 0.1)              // so that what is lost before the queue does not empty it
	if most := time.Duration(floodMany / offered * float64(time.Second)); most < p.within {
		p.within = most
	}
	empties := time.Duration(float64(set.Queue) / rate * float64(time.Second))
	p.every = min(pace, empties/quarter)
	if set.Queue == 0 {
		p.every = pace
	}
	p.every = max(p.every, pace/10, time.Duration(float64(time.Second)/offered))
	p.batch = int(math.Ceil(offered * p.every.Seconds() * (1 - 1e-9)))
	p.every = time.Duration(float64(p.batch) / offered * float64(time.Second))
	p.frames = int(offered * p.within.Seconds())
	drain := time.Duration((overload - 1) * float64(p.within))
	if set.Queue > 0 {
		drain = min(drain, empties)
	}
	p.tail = latest + drain + brief
	return p
}
