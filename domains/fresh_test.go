package domains

import (
	"testing"
	"time"
)

func TestApart(t *testing.T) {
	const ms = time.Millisecond
	sent := time.Now()
	for name, test := range map[string]struct{ said, answered, want time.Duration }{
		"right, and quick":    {ms, 2 * ms, 0},
		"right, and slow":     {20 * ms, 300 * ms, 0},
		"behind":              {-50 * ms, 10 * ms, -50 * ms},
		"ahead":               {200 * ms, 10 * ms, 190 * ms},
		"ahead, nobody knows": {300 * ms, 300 * ms, 0},
	} {
		if got := apart(sent.Add(test.said), sent, sent.Add(test.answered)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
