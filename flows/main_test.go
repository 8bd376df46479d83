package flows

import (
	"os"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

func TestMain(m *testing.M) { os.Exit(hosttest.NoLeaks(m)) }
