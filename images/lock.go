package images

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parseLock reads a lock file: NAME=VERSION lines, and comments from a # on.
func parseLock(file, text string) (map[string]string, error) {
	locked := make(map[string]string)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, version, ok := strings.Cut(line, "=")
		if !ok || name == "" || version == "" || strings.ContainsAny(line, " \t<>~@") {
			return nil, fmt.Errorf("%s:%d: %q is no NAME=VERSION", file, n, line)
		}
		if _, twice := locked[name]; twice {
			return nil, fmt.Errorf("%s:%d: %s is there twice", file, n, name)
		}
		locked[name] = version
	}
	return locked, nil
}

// Lock is the text of a lock file that pins the base's packages: a recipe that
// names it installs exactly these.
func (b Base) Lock() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# what %s has, built from %s %s\n", b.ID(), b.System, b.Release)
	for _, name := range slices.Sorted(maps.Keys(b.Packages)) {
		fmt.Fprintf(&s, "%s=%s\n", name, b.Packages[name])
	}
	return s.String()
}
