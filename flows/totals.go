package flows

// Total is what came of all starts of a flow.
type Total struct {
	Label, Class, Protocol string
	Upload                 bool
	Starts, Failed         int
	Sent, Received         int64   // bytes of payload
	Seconds                float64 // that its starts took, all together
	Retransmits            int64
	Packets, Lost          int64
	RTT, Jitter            float64 // means of its starts that did not fail (ms)
}

// Bits is the mean rate while it ran (bit/s).
func (t Total) Bits() float64 {
	if t.Seconds <= 0 {
		return 0
	}
	return float64(t.Received) * 8 / t.Seconds
}

// Totals are those of the run's flows, in the order of their first starts.
func (r Run) Totals() []Total {
	var all []Total
	index := map[string]int{}
	for _, s := range r.Results {
		i, ok := index[s.Label]
		if !ok {
			i, index[s.Label] = len(all), len(all)
			all = append(all, Total{Label: s.Label, Class: s.Class, Protocol: s.Protocol, Upload: s.Upload})
		}
		t := &all[i]
		t.Starts++
		if s.Failed != "" {
			t.Failed++
		} else {
			n := float64(t.Starts - t.Failed)
			t.RTT += (s.RTT - t.RTT) / n
			t.Jitter += (s.Jitter - t.Jitter) / n
		}
		t.Sent += s.Sent
		t.Received += s.Received
		t.Seconds += s.Seconds
		t.Retransmits += s.Retransmits
		t.Packets += s.Packets
		t.Lost += s.Lost
	}
	return all
}
