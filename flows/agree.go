package flows

import (
	"fmt"
	"math"
)

// short says that a flow of a certain time ended before it, or has far fewer intervals than asked for.
func short(f Flow, r Result) string {
	c := f.Client
	if c.Bytes != "" || c.Blocks != "" {
		return ""
	}
	every, seconds := c.ReportInterval, 10.0 // iperf3's own
	if r.Upload {
		every = f.Server.ReportInterval
	}
	if every == 0 {
		every = 1
	}
	if c.Seconds != 0 {
		seconds = math.Floor(c.Seconds) // it takes whole ones
	}
	got := total(r.Series).Seconds
	asked := int(seconds/every + 0.001)
	// The intervals have to cover the time. On a busy machine iperf3's timers are late, and
	// fewer of them do, each of them longer: that is told where it is half of them or less.
	if got < seconds-every-0.1 || len(r.Series) < asked/2 {
		return fmt.Sprintf("%d intervals of %.2f s in all, expected %d of %g s", len(r.Series), got, asked, seconds)
	}
	return ""
}

// disagreement says that the two ends' numbers are not of the same transfer.
func disagreement(r Result, client, server Test) string {
	told, own := client.Sent.Bytes, server.Sent.Bytes
	if r.Upload {
		told, own = client.Received.Bytes, server.Received.Bytes
	}
	if told != own {
		return fmt.Sprintf("client and server disagree: the server counts %d bytes, and told the client of %d", own, told)
	}
	missing, most := r.Sent-r.Received, inFlight(r, client, server)
	if r.Protocol == UDP && r.Packets > 0 {
		missing -= r.Sent / r.Packets * r.Lost
	}
	least := -most // UDP datagrams may be doubled, and the ends omit different bytes
	if r.Protocol == TCP && client.Omit == 0 {
		least = 0
	}
	if missing >= least && missing <= most {
		return ""
	}
	lost := ""
	if r.Protocol == UDP {
		lost = fmt.Sprintf(" and %d of %d datagrams lost", r.Lost, r.Packets)
	}
	return fmt.Sprintf("client and server disagree: %d bytes were sent, %d received%s; %d bytes may be under way at the end", r.Sent, r.Received, lost, most)
}

// inFlight is how many bytes may be under way when a test ends. UDP: what is sent in a
// second. TCP: four of the largest congestion windows (in flight, in each end's socket, grown
// between reports), 1 MiB a stream, and what is sent in the quarter of a second it takes to stop.
func inFlight(r Result, client, server Test) int64 {
	sender := server
	if r.Upload {
		sender = client
	}
	rate := float64(r.Sent) / max(1, sender.Sent.Seconds)
	if r.Protocol == UDP {
		return int64(rate)
	}
	var cwnd int64
	for _, i := range sender.Intervals {
		cwnd = max(cwnd, i.Cwnd)
	}
	return 4*cwnd + int64(max(1, sender.Streams))<<20 + int64(rate/4)
}
