package flows

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/mami-project/labctl/topology"
)

// flowChecker looks for mistakes in a flow file, and completes its flow.
type flowChecker struct {
	doc   *topology.Document
	file  *flowFile
	whole bool // all of the file could be read: what is missing is not there
	flow  Flow
}

var flowChecks = []func(*flowChecker){
	checkLabel, checkTimes, checkPorts, checkAddresses, checkForeign, checkEnd, checkReports, checkAmounts, checkNumbers, checkWords, checkMeaning,
}

// starts tells of a mistake in when an end starts: "client" or "server".
func (k *flowChecker) starts(end, msg, hint string) { k.doc.Add(msg, hint, end, "at") }

// wrong tells of the value of a key of one end's configuration.
func (k *flowChecker) wrong(end, key string, value any, hint string) {
	if s, ok := value.(string); ok {
		value = quote(s)
	}
	k.doc.Add(fmt.Sprintf("%s of %s config is %v", key, end, value), hint, end, "config", key)
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_#@+][A-Za-z0-9._#@+-]{0,63}$`)

const labelHint = "it names files of the run: expected up to 64 letters, digits and . _ # @ + - of which neither . nor - comes first"

func checkLabel(k *flowChecker) {
	switch label := k.file.Label; {
	case label == "" && !k.whole:
	case label == "":
		k.doc.Add("the flow has no label", "it tells the flow's results from others: add label: NAME", "label")
	case !fileName.MatchString(label):
		k.doc.Add("label is "+quote(label), labelHint, "label")
	}
}

func checkTimes(k *flowChecker) {
	k.flow.Client.At = k.instants("client", k.file.Client.At)
	at := k.instants("server", k.file.Server.At)
	if len(at) > 0 {
		k.flow.Server.At = at[0]
	}
	if len(k.file.Client.At) == 0 && k.whole {
		k.starts("client", "the client has no start", "expected when it starts, such as at: [0s, 10s]")
	}
	if n := len(k.file.Server.At); n > 1 {
		k.starts("server", fmt.Sprintf("the server starts %d times", n), "one start serves all of its client's: keep the first")
	}
}

func (k *flowChecker) instants(end string, texts []string) []time.Duration {
	const most = 10_000
	if len(texts) > most {
		k.starts(end, fmt.Sprintf("the %s has %d starts", end, len(texts)), fmt.Sprintf("expected at most %d", most))
		return nil
	}
	var all []time.Duration
	for i, text := range texts {
		d, err := parseInstant(text)
		if err != nil {
			k.doc.Add(fmt.Sprintf("a start of the %s is %s", end, quote(text)), err.Error(), end, "at", i)
			continue
		}
		all = append(all, d)
	}
	return all
}

func checkPorts(k *flowChecker) {
	const most = math.MaxUint16
	hint := fmt.Sprintf("expected 1 to %d", most)
	c, s := k.file.Client.Config, k.file.Server.Config
	good := k.whole
	for _, e := range []struct {
		end  string
		port int
	}{{"client", c.Port}, {"server", s.Port}} {
		if e.port < 1 || e.port > most {
			k.wrong(e.end, "server-port", e.port, hint)
			good = false
		}
	}
	if good && c.Port != s.Port {
		k.wrong("server", "server-port", s.Port, fmt.Sprintf("its client's is %d, and %d is iperf3's own where none is given: expected the same at both ends", c.Port, defaultPort))
	}
	if last := c.ClientPort + max(c.Parallel, 1) - 1; c.ClientPort < 0 || last > most {
		k.wrong("client", "cport", c.ClientPort, hint+", for every one of the flow's streams")
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$`)

func checkAddresses(k *flowChecker) {
	c, s := k.file.Client.Config, k.file.Server.Config
	const hint = "expected a node's name or an IP address"
	if c.ServerAddress == "" && k.whole {
		k.doc.Add("the client has no server-address", hint, "client", "config", "server-address")
	}
	for _, a := range []struct{ end, key, value string }{{"client", "server-address", c.ServerAddress}, {"client", "bind", c.Bind}, {"server", "bind", s.Bind}} {
		ip, err := netip.ParseAddr(a.value)
		switch {
		case a.value == "":
		case err != nil && !hostName.MatchString(a.value), ip.Zone() != "":
			k.wrong(a.end, a.key, a.value, hint)
		case err == nil && (c.V4 && !ip.Is4() || c.V6 && ip.Is4()):
			k.wrong(a.end, a.key, a.value, "v4 and v6 ask for the other kind of address: remove them, it decides")
		}
	}
	if c.V4 && c.V6 {
		k.doc.Add("both v4 and v6 are asked for", "keep one, or none: the address decides", "client", "config", "v6")
	}
	for _, v := range []struct {
		given       *bool
		wrong, good string
	}{{c.Version4, "version4", "v4"}, {c.Version6, "version6", "v6"}} {
		if v.given != nil {
			k.doc.Add("unknown key "+v.wrong+" in client config", "the key is "+v.good+": trafic's own blueprint has it wrong", "client", "config", v.wrong)
		}
	}
}

// checkForeign refuses what would send or overwrite files of a node, or wait for a person.
func checkForeign(k *flowChecker) {
	c, s := k.file.Client.Config, k.file.Server.Config
	const (
		content = "iperf3 would send that file of the node, or overwrite it: remove the key, the payload is iperf3's own"
		login   = "iperf3 would ask for a password, which nobody types in a run: remove the key, a lab's servers are for its own clients"
		pid     = "iperf3 would overwrite that file of the node: remove the key, labctl knows its servers"
	)
	for _, f := range []struct{ end, key, value, why string }{
		{"client", "file", c.File, content},
		{"server", "file", s.File, content},
		{"client", "username", c.Username, login},
		{"client", "rsa-public-key-path", c.RSAPublicKey, login},
		{"server", "rsa-private-key-path", s.RSAPrivateKey, login},
		{"server", "authorized-users-path", s.AuthorizedUsers, login},
		{"server", "pidfile", s.PIDFile, pid},
	} {
		if f.value != "" {
			k.doc.Add(f.key+" of "+f.end+" config is not supported", f.why, f.end, "config", f.key)
		}
	}
}

// checkEnd looks at how long a test is.
func checkEnd(k *flowChecker) {
	c := k.file.Client.Config
	var ends []string
	if c.Seconds != absent {
		ends = append(ends, "time-s")
		if c.Seconds != math.Trunc(c.Seconds) || c.Seconds < 1 || c.Seconds > longest.Seconds() {
			k.wrong("client", "time-s", c.Seconds, fmt.Sprintf("iperf3 takes whole seconds, 1 to %g", longest.Seconds()))
		}
	}
	for _, e := range []struct{ key, value string }{{"bytes", c.Bytes}, {"blockcount", c.Blocks}} {
		if e.value == "" {
			continue
		}
		ends = append(ends, e.key)
		if n, err := parseAmount(e.value, binary); err != nil {
			k.wrong("client", e.key, e.value, err.Error())
		} else if n < 1 {
			k.wrong("client", e.key, e.value, "expected at least 1")
		}
	}
	if len(ends) > 1 {
		k.doc.Add("a test ends by one of time-s, bytes and blockcount, and several are given", "keep one", "client", "config", ends[len(ends)-1])
	}
	const most = 60 // 3.9's; later ones take more
	if c.Omit != math.Trunc(c.Omit) || c.Omit < 0 || c.Omit > most {
		k.wrong("client", "omit-s", c.Omit, fmt.Sprintf("iperf3 takes whole seconds, 0 to %d", most))
	}
}

func checkReports(k *flowChecker) {
	const least, most = 0.1, 60
	for _, e := range []struct {
		end string
		n   float64
	}{{"client", k.file.Client.Config.ReportInterval}, {"server", k.file.Server.Config.ReportInterval}} {
		if e.n != absent && (e.n < least || e.n > most) {
			k.wrong(e.end, "report-interval-s", e.n, fmt.Sprintf("iperf3 takes %g to %d s", least, most))
		}
	}
}

func checkAmounts(k *flowChecker) {
	c := k.file.Client.Config
	least, most := 1.0, float64(1<<20)
	if c.UDP {
		least, most = 16, 65507 // iperf3's header; an IPv4 datagram's payload
	}
	for _, a := range []struct {
		key, value        string
		kilo, least, most float64
	}{
		{"length", c.Length, binary, least, most},
		{"window", c.Window, binary, 1, 512 << 20},
		{"fq-rate", c.FQRate, decimal, 0, 1e15},
	} {
		if a.value == "" {
			continue
		}
		if n, err := parseAmount(a.value, a.kilo); err != nil {
			k.wrong("client", a.key, a.value, err.Error())
		} else if n < a.least || n > a.most {
			k.wrong("client", a.key, a.value, fmt.Sprintf("iperf3 takes %.0f to %.0f", a.least, a.most))
		}
	}
	if c.Bitrate != "" {
		if _, err := parseBitrate(c.Bitrate); err != nil {
			k.wrong("client", "target-bitrate", c.Bitrate, err.Error())
		}
	}
}

func checkNumbers(k *flowChecker) {
	c := k.file.Client.Config
	for _, n := range []struct {
		key                string
		value, least, most int
	}{
		{"parallel", c.Parallel, 1, 128},
		{"tos", c.TOS, 0, math.MaxUint8},
		{"set-mss", c.MSS, 0, 9 * 1024},
		{"connect-timeout-ms", c.ConnectTimeout, 0, 3_600_000},
		{"pacing-timer-ms", c.PacingTimer, 0, 1_000_000},
	} {
		if n.value < n.least || n.value > n.most {
			k.wrong("client", n.key, n.value, fmt.Sprintf("expected %d to %d", n.least, n.most))
		}
	}
}

var algorithm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,14}$`)

func checkWords(k *flowChecker) {
	c := k.file.Client.Config
	if c.DSCP != "" {
		if _, err := parseDSCP(c.DSCP); err != nil {
			k.wrong("client", "dscp", c.DSCP, err.Error())
		}
		if c.TOS > 0 && c.TOS <= math.MaxUint8 {
			k.wrong("client", "tos", c.TOS, "dscp sets the same byte: keep one of them")
		}
	}
	if c.CongestionControl != "" && !algorithm.MatchString(c.CongestionControl) {
		k.wrong("client", "congestion-ctrl", c.CongestionControl, "expected the kernel's name of it, such as cubic, reno or bbr")
	}
	const most = 256
	if t := c.Title; strings.HasPrefix(t, "-") || len(t) > most || strings.ContainsFunc(t, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		k.wrong("client", "title", t, fmt.Sprintf("expected up to %d printable characters, the first of them no dash", most))
	}
}

// checkMeaning refuses what one protocol takes and the other passes over.
func checkMeaning(k *flowChecker) {
	c := k.file.Client.Config
	for _, o := range []struct {
		key string
		set bool
		udp bool
	}{
		{"congestion-ctrl", c.CongestionControl != "", false},
		{"set-mss", c.MSS != 0, false},
		{"no-delay", c.NoDelay, false},
		{"udp-counters-64bit", c.Counters64, true},
	} {
		if o.set && o.udp != c.UDP {
			protocol, other := TCP, UDP
			if o.udp {
				protocol, other = other, protocol
			}
			k.doc.Add(fmt.Sprintf("%s of client config is for %s", o.key, strings.ToUpper(protocol)), "the flow is "+strings.ToUpper(other)+", and iperf3 would pass over it: remove it", "client", "config", o.key)
		}
	}
}
