package probe

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A payload begins with
//
//	record, record   the same one twice, so that a damaged bit spoils only one
//	balance          makes the 16-bit words so far add up to those of zeros
//	zeros            to the frame's length
//
// and a record is
//
//	mark 4   of this measurement
//	number 4 of the frame in it
//	check 4  CRC-32 of both
//
// Because of the balance, headers that hold a checksum of the payload are the same for
// all frames of a length.
const (
	recordSize   = 12
	payloadLeast = 2*recordSize + 4
)

// experimental is the EtherType of local experiments (IEEE 802), which nothing answers.
const experimental = 0x88b5

// Wire is the path through a veth pair whose In end's queueing discipline is the
// direction. Its frames are for Out's own MAC, so that Out's bridge hands them to the
// host, which knows no such protocol, and to no port.
func Wire(in, out string) (Path, error) {
	from, err := net.InterfaceByName(in)
	if err != nil {
		return Path{}, fmt.Errorf("link %s: %w", in, err)
	}
	to, err := net.InterfaceByName(out)
	if err != nil {
		return Path{}, fmt.Errorf("link %s: %w", out, err)
	}
	head := append(append(append([]byte{}, to.HardwareAddr...), from.HardwareAddr...), experimental>>8, experimental&0xff)
	return Path{In: in, Out: out, Own: true, Head: func(int) []byte { return head }}, nil
}

// Routed is the path through a router between the taps of its two NICs: from an address
// of the one side to a node's on the other. Its frames are echo replies that nobody
// asked for, which hosts drop without an answer.
func Routed(in, out string, from, router net.HardwareAddr, src, dst netip.Addr) (Path, error) {
	head := func(payload int) ([]byte, error) {
		b := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: from, DstMAC: router, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: experimental},
			gopacket.Payload(make([]byte, payload)))
		if err != nil {
			return nil, err
		}
		return b.Bytes()[:len(b.Bytes())-payload], nil
	}
	if !src.Is4() || !dst.Is4() || len(from) != 6 || len(router) != 6 {
		return Path{}, fmt.Errorf("from %s (%s) by %s to %s: expected IPv4 addresses and Ethernet MACs", src, from, router, dst)
	}
	if _, err := head(payloadLeast); err != nil {
		return Path{}, err
	}
	return Path{In: in, Out: out, Head: func(payload int) []byte {
		h, _ := head(payload) // as above
		return h
	}}, nil
}

// blank is a frame of a size (bytes) that bears no number yet.
func (p Path) blank(size int) []byte {
	offset := len(p.Head(payloadLeast))
	f := make([]byte, size)
	copy(f, p.Head(size-offset))
	return f
}

// number makes a frame the one of that number.
func number(f []byte, offset int, mark, n uint32) {
	p := f[offset : offset+payloadLeast]
	binary.BigEndian.PutUint32(p, mark)
	binary.BigEndian.PutUint32(p[4:], n)
	binary.BigEndian.PutUint32(p[8:], crc32.ChecksumIEEE(p[:8]))
	copy(p[recordSize:], p[:recordSize])
	sum := 0
	for i := 0; i < 2*recordSize; i += 2 {
		sum += int(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[2*recordSize:], ^uint16(sum))
}

// numberOf is the number of a frame that bears the mark.
func numberOf(f []byte, offset int, mark uint32) (n uint32, ok bool) {
	for at := offset; at <= offset+recordSize && at+recordSize <= len(f); at += recordSize {
		r := f[at : at+recordSize]
		if binary.BigEndian.Uint32(r) == mark && binary.BigEndian.Uint32(r[8:]) == crc32.ChecksumIEEE(r[:8]) {
			return binary.BigEndian.Uint32(r[4:]), true
		}
	}
	return 0, false
}
