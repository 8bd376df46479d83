package flows

import (
	"fmt"
	"strconv"
)

// The numbers in iperf3's JSON. Where they are not numbers (cJSON writes null), below
// 0 or beyond all measure, the document is refused.
type (
	number float64
	count  int64
	signed int64 // lost datagrams that come late after all are taken off
)

const largest = 1e15 // a petabyte; exact as a float64

func (n *number) UnmarshalJSON(src []byte) error {
	f, err := within(src, 0)
	*n = number(f)
	return err
}

func (n *count) UnmarshalJSON(src []byte) error {
	const wrapped = 20 // digits of a number below 0 in 64 bits, as 3.12 counts datagrams with omitted seconds
	if len(src) == wrapped && string(src) >= "18446744000000000000" {
		return nil
	}
	f, err := within(src, 0)
	*n = count(f)
	return err
}

func (n *signed) UnmarshalJSON(src []byte) error {
	f, err := within(src, -largest)
	*n = signed(f)
	return err
}

// within is the number in src, which must not be below least.
func within(src []byte, least float64) (float64, error) {
	f, err := strconv.ParseFloat(string(src), 64)
	if err != nil || !(f >= least && f <= largest) {
		return 0, fmt.Errorf("%s is not a number between %g and %g", printable(string(src)), least, largest)
	}
	return f, nil
}
