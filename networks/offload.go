package networks

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// offloads are what lets frames longer than the MTU, or with a checksum still
// to be filled in, pass through a link.
var offloads = map[string]bool{
	"tx-checksum-ip-generic":       false,
	"tx-tcp-segmentation":          false,
	"tx-tcp-ecn-segmentation":      false,
	"tx-tcp-mangleid-segmentation": false,
	"tx-tcp6-segmentation":         false,
	"tx-udp-segmentation":          false,
	"tx-generic-segmentation":      false,
	"rx-gro":                       false,
}

func turnOffloadsOff(link string) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Change(link, offloads); err != nil {
		return fmt.Errorf("turn offloads off: %w", err)
	}
	return nil
}

func offloadsOff(link string) (bool, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return false, err
	}
	defer e.Close()
	features, err := e.Features(link)
	for name := range offloads {
		if features[name] {
			return false, err
		}
	}
	return err == nil, err
}
