package flows

import (
	"fmt"
	"strings"
)

// Match finds a server's view of the test that its client tells of, by the cookie
// that both have; nil if there is none.
func Match(client Test, server []Test) *Test {
	for i := range server {
		if client.Cookie != "" && server[i].Cookie == client.Cookie {
			return &server[i]
		}
	}
	return nil
}

// Combine is what came of a start of a flow, by both ends' views of it: what was sent
// by the end that sent, what was received by the end that received. started and ended are
// the client's instants since the run's beginning (s). A view that there is not is nil.
func Combine(f Flow, s Start, started, ended float64, client, server *Test) Result {
	r := Result{
		Label: f.Label, Nth: s.Nth, Class: f.Class, Protocol: f.Protocol(),
		Upload: f.Client.Upload(), TOS: f.Client.TOS,
		Planned: s.After.Seconds(), Started: started, Ended: ended,
	}
	sender, receiver := server, client
	if r.Upload {
		sender, receiver = client, server
	}
	if sender != nil && sender.Sends() {
		r.sent(*sender)
	}
	if receiver != nil && !receiver.Sends() {
		r.received(*receiver)
		r.Series = series(receiver, sender, started)
	}
	r.Failed = failure(f, r, client, server)
	return r
}

// sent takes over what the sending end knows best.
func (r *Result) sent(t Test) {
	all := total(t.Intervals)
	r.Sent, r.Retransmits, r.Packets = t.Sent.Bytes, t.Sent.Retransmits, t.Sent.Packets
	if !t.Whole {
		r.Sent, r.Retransmits, r.Packets = all.Bytes, all.Retransmits, all.Packets
	}
	for _, i := range t.Intervals {
		r.RTT += i.RTT / float64(len(t.Intervals))
	}
}

// received takes over what the receiving end knows best.
func (r *Result) received(t Test) {
	got, all := t.Received, total(t.Intervals)
	if !t.Whole {
		got = Sum{Bytes: all.Bytes, Seconds: all.Seconds, Lost: all.Lost, Jitter: all.Jitter}
	}
	r.Received, r.Seconds, r.Lost, r.OutOfOrder, r.Jitter = got.Bytes, got.Seconds, got.Lost, got.OutOfOrder, got.Jitter
}

// series are the receiving end's intervals, with what only the sending end knows of
// them: each of its intervals counts in the one that its middle falls in.
func series(receiver, sender *Test, started float64) []Interval {
	is := make([]Interval, len(receiver.Intervals))
	copy(is, receiver.Intervals)
	if sender != nil && receiver.Protocol == TCP && len(is) > 0 && len(sender.Intervals) > 0 {
		at, known := 0, make([]bool, len(is))
		for _, s := range sender.Intervals {
			for at < len(is)-1 && s.At+s.Seconds/2 >= is[at+1].At {
				at++
			}
			i := &is[at]
			i.Retransmits += s.Retransmits
			i.Cwnd, i.RTT, i.RTTVar, known[at] = s.Cwnd, s.RTT, s.RTTVar, true
		}
		last := sender.Intervals[0]
		for n := range is {
			if known[n] {
				last = is[n]
			}
			// Where the sender reports less often, its last word holds.
			is[n].Cwnd, is[n].RTT, is[n].RTTVar = last.Cwnd, last.RTT, last.RTTVar
		}
	}
	for n := range is {
		is[n].At += started
	}
	return is
}

// failure is why a start of a flow failed, the nearest to the cause; "" if it did not.
func failure(f Flow, r Result, client, server *Test) string {
	switch {
	case client == nil:
		return "iperf3's client has not said anything"
	case client.Error != "":
		return clientError(client, server)
	case client.Cookie == "" || client.Protocol == "":
		return "iperf3's client ended before the test began"
	case server == nil:
		return "iperf3's server has not told of this test: its view is missing"
	case server.Error != "":
		return "iperf3's server: " + server.Error
	case !client.Whole || !server.Whole:
		return "iperf3 broke off: there is no sum of the whole test"
	case client.Server || !server.Server || client.Cookie != server.Cookie:
		return "the outputs are not of the two ends of one test"
	case client.Protocol != r.Protocol || server.Protocol != r.Protocol || client.Reverse == r.Upload || server.Reverse == r.Upload:
		return fmt.Sprintf("iperf3 ran another test than the flow: %s, %s", client.Protocol, direction(!client.Reverse))
	case r.Received == 0:
		return "no data was received"
	}
	if why := short(f, r); why != "" {
		return why
	}
	return disagreement(r, *client, *server)
}

func clientError(client, server *Test) string {
	why := "iperf3's client: " + client.Error
	switch {
	case strings.Contains(client.Error, "server is busy"):
		why += " (another test on its port has not ended)"
	case server != nil && server.Error != "":
		why += "; its server: " + server.Error
	}
	return why
}

func direction(upload bool) string {
	if upload {
		return "from client to server"
	}
	return "from server to client"
}
