package host

import (
	"fmt"
	"slices"

	"github.com/safchain/ethtool"
)

// offloads are what lets frames longer than the MTU, or with a checksum still
// to be filled in, pass through a link.
var offloads = []string{
	"tx-checksum-ip-generic",
	"tx-tcp-segmentation",
	"tx-tcp-ecn-segmentation",
	"tx-tcp-mangleid-segmentation",
	"tx-tcp6-segmentation",
	"tx-udp-segmentation",
	"tx-generic-segmentation",
	"rx-gro",
	"rx-gro-hw",
	"rx-lro",
}

// Offloads are the offloads of a link that are on and could be off: without them
// its frames are as on the wire. The names are the kernel's, as ethtool -k knows them.
func Offloads(link string) ([]string, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err
	}
	defer e.Close()
	features, err := e.FeaturesWithState(link)
	if err != nil {
		return nil, fmt.Errorf("read the offloads of %s: %w", link, err)
	}
	var on []string
	for _, name := range offloads {
		if f := features[name]; f.Active && f.Available && !f.NeverChanged {
			on = append(on, name)
		}
	}
	return on, nil
}

// SetOffloads turns those offloads of a link on, and all its others off.
func SetOffloads(link string, on ...string) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return err
	}
	defer e.Close()
	features, err := e.FeaturesWithState(link)
	if err != nil {
		return fmt.Errorf("read the offloads of %s: %w", link, err)
	}
	change := map[string]bool{}
	for _, name := range offloads {
		f, known := features[name]
		if want := slices.Contains(on, name); known && f.Available && !f.NeverChanged && f.Active != want {
			change[name] = want
		}
	}
	if len(change) == 0 {
		return nil
	}
	if err := e.Change(link, change); err != nil {
		return fmt.Errorf("change the offloads of %s: %w", link, err)
	}
	return nil
}
