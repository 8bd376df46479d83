package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// The kernel of the tests' own network answers, by the host's clock.
func TestStampsOfKernel(t *testing.T) {
	hasLoopback(t)
	for _, days := range []int{0, 1, -400} {
		far := time.Duration(days) * stampWrap
		coarse := reading{least: far - time.Hour, most: far + 2*time.Hour}
		eventually(t, func() error {
			rs, err := readStamps(t.Context(), netip.MustParseAddr("127.0.0.1"), coarse)
			if err != nil || len(rs) != stamps {
				return fmt.Errorf("%d readings: %w", len(rs), err)
			}
			r, err := narrow(rs)
			must(t, err)
			t.Logf("%v to %v", r.least, r.most)
			if r.least > far || r.most < far {
				t.Errorf("the host is ahead of itself by %v to %v, %d days", r.least, r.most, days)
			}
			if r.width() > time.Millisecond {
				return fmt.Errorf("the host is ahead of itself by %v to %v, %d days", r.least, r.most, days)
			}
			return nil
		})
	}
	eventually(t, func() error {
		rs, err := readStamps(t.Context(), netip.MustParseAddr("127.0.0.1"), reading{})
		if err != nil || len(rs) == 0 {
			return fmt.Errorf("%d readings: %w", len(rs), err)
		}
		return nil
	})
}

func TestStamp(t *testing.T) {
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		asked, coarse time.Duration // since midnight; the clock's offset
		ms            uint32
		least, most   time.Duration
	}{
		"as the host's":          {time.Hour, 0, 3600_003, 3*time.Millisecond - 5*time.Millisecond, 4 * time.Millisecond},
		"behind, yesterday":      {time.Second, -2 * time.Second, 86399_000, -2*time.Second - 5*time.Millisecond, -2*time.Second + time.Millisecond},
		"ahead, tomorrow":        {24*time.Hour - time.Second, 2 * time.Second, 1000, 2*time.Second - 5*time.Millisecond, 2*time.Second + time.Millisecond},
		"ahead by more than day": {time.Hour, 49 * time.Hour, 7200_000, 49*time.Hour - 5*time.Millisecond, 49*time.Hour + time.Millisecond},
	} {
		a := make([]byte, icmpTimestampBytes)
		binary.BigEndian.PutUint32(a[12:], test.ms)
		binary.BigEndian.PutUint32(a[16:], test.ms)
		asked := midnight.Add(test.asked)
		r, err := stamped(a, asked, asked.Add(5*time.Millisecond), reading{least: test.coarse, most: test.coarse})
		if err != nil || r.least != test.least || r.most != test.most {
			t.Errorf("%s: %v to %v, want %v to %v; %v", name, r.least, r.most, test.least, test.most, err)
		}
	}
}

func TestStampThatLies(t *testing.T) {
	answer := func(change func([]byte)) []byte {
		a := make([]byte, icmpTimestampBytes)
		a[0], a[5], a[7] = icmpTimestampReply, 7, 9
		change(a)
		binary.BigEndian.PutUint16(a[2:], checksum(a))
		return a
	}
	if !isAnswer(answer(func([]byte) {}), 7, 9) {
		t.Error("an answer is none")
	}
	for name, a := range map[string][]byte{
		"nothing":           nil,
		"short":             answer(func([]byte) {})[:19],
		"a question":        answer(func(a []byte) { a[0] = icmpTimestamp }),
		"to another's":      answer(func(a []byte) { a[5] = 8 }),
		"to another of his": answer(func(a []byte) { a[7] = 8 }),
		"damaged":           append(answer(func([]byte) {})[:19], 1),
	} {
		if isAnswer(a, 7, 9) {
			t.Errorf("%s: it is taken for an answer", name)
		}
	}
	now := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC) // what is nearer by way of midnight is another day's
	for name, change := range map[string]func([]byte){
		"not standard":        func(a []byte) { a[12], a[16] = 0x80, 0x80 },
		"more than a day":     func(a []byte) { binary.BigEndian.PutUint32(a[16:], 86400_000) },
		"before it was asked": func(a []byte) { binary.BigEndian.PutUint32(a[12:], 1000) },
	} {
		a := answer(func(a []byte) { binary.BigEndian.PutUint32(a[16:], 9000_000); change(a) })
		if r, err := stamped(a, now, now, reading{}); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
