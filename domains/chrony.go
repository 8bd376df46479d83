package domains

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"github.com/mami-project/labctl/host"
)

// How far a clock must be off that chronyd steps, and how many of its next updates it looks
// at so: it makes one a second at first.
const (
	stepFrom = 0.0005 // s
	stepFor  = 10
)

// Packets between chronyc and chronyd begin with this version of their protocol, and their kind; what is
// asked for is a number, and so is whether it was done.
// Source: chrony, candm.h: PROTO_VERSION_NUMBER, PKT_TYPE_*, REQ_MODIFY_MAKESTEP, STT_SUCCESS.
const (
	chronyVersion  = 6
	chronyRequest  = 1
	chronyReply    = 2
	modifyMakestep = 50
	chronySuccess  = 0
)

// makestep is the packet by which chronyc's `makestep THRESHOLD LIMIT` asks: CMD_Request with
// REQ_Modify_Makestep. Numbers are in network order.
func makestep(threshold float64, limit int32) []byte {
	b := []byte{chronyVersion, chronyRequest, 0, 0}
	b = binary.BigEndian.AppendUint16(b, modifyMakestep)
	b = append(b, make([]byte, 2+4+4+4)...) // the attempt, a number of its own, and padding
	b = binary.BigEndian.AppendUint32(b, uint32(limit))
	return binary.BigEndian.AppendUint32(b, chronyFloat(threshold))
}

// chronyFloat is a positive number as chrony's packets have it: seven bits of exponent, 25 of
// coefficient, both signed; it is coefficient × 2^(exponent-25). Source: chrony, candm.h, Float.
func chronyFloat(x float64) uint32 {
	fraction, exponent := math.Frexp(x) // x = fraction × 2^exponent, from 0.5 to 1
	const bits = 24                     // one is the sign
	coefficient := uint32(math.RoundToEven(fraction * (1 << bits)))
	return uint32(exponent+25-bits)<<25 | coefficient
}

// chronyDid says what chronyd answered, in hex, to a request to be done.
func chronyDid(answer []byte) error {
	b, err := hex.DecodeString(string(answer))
	if err != nil || len(b) < 10 || b[0] != chronyVersion || b[1] != chronyReply {
		return fmt.Errorf("chronyd answered %s", host.Excerpt(answer))
	}
	if binary.BigEndian.Uint16(b[8:]) != chronySuccess {
		return errors.New("chronyd refuses")
	}
	return nil
}
