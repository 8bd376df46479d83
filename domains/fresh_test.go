package domains

import (
	"testing"
	"time"
)

func TestApart(t *testing.T) {
	const ms = time.Millisecond
	asked := time.Now()
	for name, test := range map[string]struct{ sent, said, answered, least, most time.Duration }{
		"right, and quick":    {-ms, ms, 2 * ms, 0, ms},
		"right, and slow":     {-ms, 20 * ms, 300 * ms, 0, 280 * ms},
		"behind":              {-ms, -50 * ms, 10 * ms, 49 * ms, 60 * ms},
		"behind, set slowly":  {-500 * ms, -490 * ms, 10 * ms, 0, 500 * ms},
		"ahead":               {-ms, 200 * ms, 10 * ms, 190 * ms, 200 * ms},
		"ahead, nobody knows": {-ms, 300 * ms, 300 * ms, 0, 300 * ms},
	} {
		least, most := apart(asked.Add(test.said), asked.Add(test.sent), asked, asked.Add(test.answered))
		if least != test.least || most != test.most {
			t.Errorf("%s: %v to %v, want %v to %v", name, least, most, test.least, test.most)
		}
	}
}
