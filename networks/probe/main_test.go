package probe

import (
	"os"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

func TestMain(m *testing.M) { os.Exit(hosttest.NoLeaks(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
