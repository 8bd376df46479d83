package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// A chronyd answers with the time that it believes in, to which it slews the clock
// over seconds. What programs in a node read is its kernel's clock, which the kernel
// itself tells: by ICMP timestamps, milliseconds since midnight UTC (RFC 792). Many
// of them, at other moments within the millisecond, tell far more than one.
const (
	stamps    = 64
	stampTime = 200 * time.Millisecond // for one answer
	stampUnit = time.Millisecond
	stampWrap = 24 * time.Hour
)

// Types of ICMP messages, and the length of these two (bytes).
const (
	icmpTimestamp      = 13
	icmpTimestampReply = 14
	icmpTimestampBytes = 20
)

// readStamps reads the clock of a node's kernel, which is near to coarse: a timestamp
// does not tell the day. It needs root.
func readStamps(ctx context.Context, at netip.Addr, coarse reading) ([]reading, error) {
	c, err := net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: at.AsSlice()})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	id := uint16(rand.Uint32())
	var rs []reading
	var last error
	for seq := range uint16(stamps) {
		if ctx.Err() != nil || len(rs) == 0 && seq == failuresMost {
			break
		}
		time.Sleep(rand.N(stampUnit))
		if r, err := readStamp(c, id, seq, coarse); err != nil {
			last = err
		} else {
			rs = append(rs, r)
		}
	}
	return rs, last
}

func readStamp(c *net.IPConn, id, seq uint16, coarse reading) (reading, error) {
	question := make([]byte, icmpTimestampBytes)
	question[0] = icmpTimestamp
	binary.BigEndian.PutUint16(question[4:], id)
	binary.BigEndian.PutUint16(question[6:], seq)
	binary.BigEndian.PutUint16(question[2:], checksum(question))
	answer := make([]byte, 1500)
	asked := time.Now()
	if err := c.SetDeadline(asked.Add(stampTime)); err != nil {
		return reading{}, err
	}
	if _, err := c.Write(question); err != nil {
		return reading{}, err
	}
	for { // other messages of the node's come here too
		n, _, err := c.ReadFromIP(answer)
		answered := time.Now()
		if err != nil {
			return reading{}, err
		}
		if a := answer[:n]; isAnswer(a, id, seq) {
			return stamped(a, asked, answered, coarse)
		}
	}
}

func isAnswer(a []byte, id, seq uint16) bool {
	return len(a) >= icmpTimestampBytes && a[0] == icmpTimestampReply && a[1] == 0 && checksum(a) == 0 &&
		binary.BigEndian.Uint16(a[4:]) == id && binary.BigEndian.Uint16(a[6:]) == seq
}

// stamped is what an answer tells that came between asked and answered, by the host's clock.
func stamped(a []byte, asked, answered time.Time, coarse reading) (reading, error) {
	received, sent := sinceMidnight(a[12:]), sinceMidnight(a[16:])
	if max(received, sent) >= stampWrap {
		return reading{}, errors.New("its timestamps are not of this day's")
	}
	near := answered.Add(coarse.least + coarse.width()/2) // what the clock shows, but for some of the wrap
	on := func(since time.Duration) time.Time {
		shown := near.Truncate(stampWrap).Add(since) // of absolute time: days in UTC
		return shown.Add(near.Sub(shown).Round(stampWrap))
	}
	// the rest of a millisecond is cut off
	return newReading(asked, on(received).Add(stampUnit), on(sent), answered)
}

func sinceMidnight(ms []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(ms)) * stampUnit
}

// checksum is that of RFC 1071; 0 over a message that has its own right.
func checksum(message []byte) uint16 {
	var sum uint32
	for i, b := range message {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
