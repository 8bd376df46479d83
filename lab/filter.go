package lab

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// filter is what dumpcap takes: datagrams to the proof's port whose mark begins like
// this proof's. libpcap counts bytes of UDP only over IPv4; IPv6 is counted from its header.
// Source: pcap-filter(7).
func (e experiment) filter() string {
	nonce := fmt.Sprintf("0x%x", e.prefix())
	marked := "udp[21:4] = " + nonce
	if slices.ContainsFunc(e.flows, flow.six) {
		marked = fmt.Sprintf("(%s or ip6[61:4] = %s)", marked, nonce)
	}
	return fmt.Sprintf("udp dst port %d and %s", proofPort, marked)
}

// check is a part of a filter: what it loads is that, or has none of those bits.
type check struct {
	load []bpf.Instruction
	is   bpf.JumpTest
	that uint32
}

// program is the same filter for a worker's sockets. A frame with a VLAN's tag, which these would show without
// it, is none that was sent.
func (e experiment) program() []bpf.Instruction {
	nonce := binary.BigEndian.Uint32([]byte(e.prefix()))
	const ip, ip6, udp = 0x0800, 0x86dd, 17
	load := func(offset uint32, bytes int) []bpf.Instruction {
		return []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: bytes}}
	}
	behindIP := func(offset uint32, bytes int) []bpf.Instruction {
		return []bpf.Instruction{bpf.LoadMemShift{Off: frameHeader}, bpf.LoadIndirect{Off: frameHeader + offset, Size: bytes}}
	}
	untagged := check{[]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}}, bpf.JumpEqual, 0}
	return either([]check{
		untagged,
		{load(12, 2), bpf.JumpEqual, ip},
		{load(frameHeader+9, 1), bpf.JumpEqual, udp},
		{load(frameHeader+6, 2), bpf.JumpBitsNotSet, 0x1fff}, // a fragment's offset
		{behindIP(2, 2), bpf.JumpEqual, proofPort},
		{behindIP(21, 4), bpf.JumpEqual, nonce},
	}, []check{
		untagged,
		{load(12, 2), bpf.JumpEqual, ip6},
		{load(frameHeader+6, 1), bpf.JumpEqual, udp},
		{load(frameHeader+40+2, 2), bpf.JumpEqual, proofPort},
		{load(frameHeader+40+21, 4), bpf.JumpEqual, nonce},
	})
}

// either is a program that takes frames which pass all checks of one of the kinds.
func either(kinds ...[]check) []bpf.Instruction {
	const whole, nothing = 1 << 18, 0
	var program []bpf.Instruction
	for _, checks := range kinds {
		kind := []bpf.Instruction{bpf.RetConstant{Val: whole}}
		for _, c := range slices.Backward(checks) {
			jump := bpf.JumpIf{Cond: c.is, Val: c.that, SkipFalse: uint8(len(kind))} //nolint:gosec // some instructions
			kind = slices.Concat(c.load, []bpf.Instruction{jump}, kind)
		}
		program = append(program, kind...)
	}
	return append(program, bpf.RetConstant{Val: nothing})
}
