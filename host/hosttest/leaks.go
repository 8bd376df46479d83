package hosttest

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// endMost is how long goroutines that are to end may take: on a busy machine that is longer than goleak waits.
const endMost = time.Minute

// NoLeaks runs a package's tests, as testing.M does, and fails where a goroutine
// that they began goes on after them.
func NoLeaks(tests interface{ Run() int }) (exit int) {
	exit = tests.Run()
	if exit != 0 {
		return exit
	}
	err := goleak.Find()
	for end := time.Now().Add(endMost); err != nil && time.Now().Before(end); {
		err = goleak.Find()
	}
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "after all tests: %v\n", err)
		return 1
	}
	return 0
}
