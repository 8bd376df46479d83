package hosttest

import (
	"fmt"
	"os"

	"go.uber.org/goleak"
)

// NoLeaks runs a package's tests, as testing.M does, and fails where a goroutine
// that they began goes on after them.
func NoLeaks(tests interface{ Run() int }) (exit int) {
	exit = tests.Run()
	if exit != 0 {
		return exit
	}
	if err := goleak.Find(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "after all tests: %v\n", err)
		return 1
	}
	return 0
}
