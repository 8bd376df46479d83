package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/ntp"
	"github.com/vishvananda/netlink"
)

// eventually tries what a busy machine can hold up, again and again: what comes late at each of many tries is wrong.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for left := 20; ; left-- {
		err := try()
		if err == nil {
			return
		}
		if left == 1 {
			t.Error(err)
			return
		}
		t.Logf("it is tried again: %v", err)
	}
}

// fakeClock answers NTP on loopback as a node does whose clock is ahead.
type fakeClock struct {
	ahead     time.Duration
	way       time.Duration // that a packet takes, to it and back again
	stratum   byte
	reference [4]byte
	lie       func(answer []byte, nth int) []byte // changes the answer
}

// hasLoopback brings the loopback of the tests' own network up, with addresses as of nodes.
func hasLoopback(t *testing.T, addresses ...string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	for _, a := range addresses {
		a, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrAdd(lo, a))
		t.Cleanup(func() { must(t, netlink.AddrDel(lo, a)) })
	}
}

// serve answers at an address of the host's until the test ends, and returns it and
// the number of questions.
func (f fakeClock) serve(t *testing.T, at string) (string, *atomic.Int32) {
	t.Helper()
	c, err := net.ListenPacket("udp4", at)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	asked := new(atomic.Int32)
	go func() {
		for {
			question := make([]byte, 512)
			_, from, err := c.ReadFrom(question)
			if err != nil {
				return
			}
			time.Sleep(f.way)
			now := time.Now().Add(f.ahead)
			answer := make([]byte, 48)
			answer[0], answer[1], answer[3] = 4<<3|4, f.stratum, 0xe9 // version and mode, precision 2^-23 s
			copy(answer[12:], f.reference[:])
			copy(answer[24:], question[40:48])
			putTime(answer[32:], now)
			putTime(answer[40:], now)
			nth := int(asked.Add(1))
			if f.lie != nil {
				answer = f.lie(answer, nth)
			}
			time.Sleep(f.way)
			_, _ = c.WriteTo(answer, from)
		}
	}()
	return c.LocalAddr().String(), asked
}

// putTime writes an NTP timestamp.
func putTime(to []byte, at time.Time) {
	since := at.Sub(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC))
	const from1900 = 2208988800
	binary.BigEndian.PutUint32(to, uint32(int64(since/time.Second)+from1900))
	binary.BigEndian.PutUint32(to[4:], uint32((uint64(since%time.Second)<<32)/uint64(time.Second)))
}

func TestClockIsRead(t *testing.T) {
	hasLoopback(t)
	year := 365 * 24 * time.Hour
	for name, f := range map[string]fakeClock{
		"as the host's":   {},
		"ahead":           {ahead: 5 * time.Second},
		"behind":          {ahead: -5 * time.Second},
		"far":             {ahead: 30 * year, way: time.Millisecond},
		"over a slow way": {ahead: time.Second, way: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			f.stratum = 8
			eventually(t, func() error {
				at, asked := f.serve(t, "127.0.0.1:0")
				rs, last, err := readNTP(t.Context(), at)
				if err != nil {
					return err
				}
				r, err := narrow(rs)
				must(t, err)
				if f.ahead < r.least || f.ahead > r.most {
					t.Errorf("it is ahead by %v to %v, and not by %v", r.least, r.most, f.ahead)
				}
				if last.Stratum != 8 || asked.Load() != clockReadings {
					t.Errorf("stratum %d, %d questions", last.Stratum, asked.Load())
				}
				if r.width() > 2*f.way+20*time.Millisecond {
					return fmt.Errorf("it is ahead by %v to %v", r.least, r.most)
				}
				return nil
			})
		})
	}
}

func TestClockThatLies(t *testing.T) {
	hasLoopback(t)
	for name, test := range map[string]struct {
		lie  func([]byte, int) []byte
		says string
	}{
		"another mode":            {func(a []byte, _ int) []byte { a[0] = 4<<3 | 3; return a }, ntp.ErrInvalidMode.Error()},
		"short":                   {func(a []byte, _ int) []byte { return a[:3] }, "makes no sense"},
		"nothing":                 {func(a []byte, _ int) []byte { return nil }, "makes no sense"},
		"a precision of 2^-128 s": {func(a []byte, _ int) []byte { a[3] = 0x80; return a }, "makes no sense"},
		"a poll of 2^-128 s":      {func(a []byte, _ int) []byte { a[2] = 0x80; return a }, "makes no sense"},
		"to another question":     {func(a []byte, _ int) []byte { a[30] ^= 1; return a }, ntp.ErrServerResponseMismatch.Error()},
		"before it was asked": {func(a []byte, _ int) []byte {
			putTime(a[32:], time.Now().Add(-time.Hour))
			putTime(a[40:], time.Now().Add(time.Hour))
			return a
		}, "before it was asked"},
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, func() error {
				at, asked := fakeClock{lie: test.lie}.serve(t, "127.0.0.1:0")
				rs, _, err := readNTP(t.Context(), at)
				if len(rs) > 0 || err == nil {
					t.Errorf("%d readings, %v", len(rs), err)
				}
				if err != nil && !strings.Contains(err.Error(), test.says) || asked.Load() != failuresMost {
					return fmt.Errorf("asked %d times: %w", asked.Load(), err)
				}
				return nil
			})
		})
	}
}

func TestClockThatIsSet(t *testing.T) {
	hasLoopback(t)
	eventually(t, func() error {
		at, _ := fakeClock{lie: func(a []byte, nth int) []byte {
			if nth > clockReadings/2 {
				putTime(a[32:], time.Now().Add(5*time.Second))
				putTime(a[40:], time.Now().Add(5*time.Second))
			}
			return a
		}}.serve(t, "127.0.0.1:0")
		rs, _, err := readNTP(t.Context(), at)
		if err != nil {
			return err
		}
		if r, err := narrow(rs); err == nil || !strings.Contains(err.Error(), "its clock moved by 4.") {
			return fmt.Errorf("%+v, %w", r, err)
		}
		return nil
	})
}

// One answer that is lost does not hide the others, and a silent node does not hold up for long.
func TestClockThatIsSilent(t *testing.T) {
	hasLoopback(t)
	eventually(t, func() error {
		at, _ := fakeClock{lie: func(a []byte, nth int) []byte {
			if nth == 1 {
				return nil
			}
			return a
		}}.serve(t, "127.0.0.1:0")
		if rs, _, err := readNTP(t.Context(), at); len(rs) != clockReadings-1 {
			return fmt.Errorf("%d readings: %w", len(rs), err)
		}
		return nil
	})
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	eventually(t, func() error {
		start := time.Now()
		rs, _, err := readNTP(t.Context(), silent.LocalAddr().String())
		took := time.Since(start)
		if len(rs) > 0 || err == nil || took < failuresMost*readingTime {
			t.Errorf("%d readings in %v, %v", len(rs), took, err)
		}
		if took > clockTime {
			return fmt.Errorf("it took %v", took)
		}
		return nil
	})
	if _, err := narrow(nil); err == nil {
		t.Error("no reading tells something")
	}
}

// The best bounds of any two readings hold, as far as clocks may have moved between them.
func TestReadingsNarrow(t *testing.T) {
	now := time.Now()
	ms := time.Millisecond
	r, err := narrow([]reading{
		{now, 10 * ms, 20 * ms},
		{now.Add(time.Second), 14 * ms, 40 * ms},
		{now.Add(-time.Second / 2), -10 * ms, 18 * ms},
	})
	must(t, err)
	if want := (reading{now, 12 * ms, 19 * ms}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
}
