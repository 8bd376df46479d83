package topology

import (
	_ "embed"
	"slices"
)

//go:embed default.yaml
var defaultLab []byte

// Default is the built-in lab: its name for messages, and its text.
func Default() (name string, src []byte) {
	return "built-in lab", slices.Clone(defaultLab)
}
