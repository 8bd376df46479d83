package domains

import (
	"testing"
	"time"
)

func TestApart(t *testing.T) {
	const ms = time.Millisecond
	asked := time.Now()
	for name, test := range map[string]struct{ said, answered, least, most time.Duration }{
		"right, and quick":    {ms, 2 * ms, 0, ms},
		"right, and slow":     {20 * ms, 300 * ms, 0, 280 * ms},
		"behind":              {-50 * ms, 10 * ms, 50 * ms, 60 * ms},
		"ahead":               {200 * ms, 10 * ms, 190 * ms, 200 * ms},
		"ahead, nobody knows": {300 * ms, 300 * ms, 0, 300 * ms},
	} {
		least, most := apart(asked.Add(test.said), asked, asked.Add(test.answered))
		if least != test.least || most != test.most {
			t.Errorf("%s: %v to %v, want %v to %v", name, least, most, test.least, test.most)
		}
	}
}
