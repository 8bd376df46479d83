package networks

import (
	"errors"
	"fmt"

	"github.com/mami-project/labctl/networks/shape"
	"github.com/mami-project/labctl/topology"
)

// Impaired is what a wire's end does now to the frames that leave its side; the zero
// Impair where it is as plain as a cable, or not there. Another's link is not there.
func Impaired(end topology.WireEnd) (topology.Impair, error) {
	l, err := ownLink(end.Link, end.MAC)
	if errors.Is(err, errForeign) {
		return topology.Impair{}, nil
	}
	if l == nil || err != nil {
		return topology.Impair{}, err
	}
	i, _, err := shape.Get(l)
	return i, err
}

// Impair has a wire's end do that to the frames that leave its side, in the place of
// what it did before. The wire must be there.
func Impair(end topology.WireEnd, i topology.Impair, mtu int) error {
	l, err := ownLink(end.Link, end.MAC)
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("link %s is not there: labctl up makes it", end.Link)
	}
	return shape.Set(l, i, mtu)
}
