package flows

import (
	"cmp"
	"net/netip"
	"strconv"
)

// ClientArgs are the arguments of iperf3's client, after the program's name: it
// runs at the address from, and reaches the server at to. Versions 3.9 to 3.18 take
// them alike; 3.9 never ends a test by bytes or blockcount that the server sends.
func (f Flow) ClientArgs(from, to netip.Addr) []string {
	c := f.Client
	a := arguments{"--json"}
	a.text("--client", to.String())
	a.common(c.Config, from)
	a.flag(c.UDP, "--udp")
	a.flag(!c.Upload(), "--reverse")
	switch {
	case c.Bytes != "":
		a.text("--bytes", c.Bytes)
	case c.Blocks != "":
		a.text("--blockcount", c.Blocks)
	default:
		a.number("--time", cmp.Or(c.Seconds, defaultSeconds))
	}
	a.number("--omit", c.Omit)
	a.text("--bitrate", c.Bitrate)
	a.text("--fq-rate", c.FQRate)
	a.text("--length", c.Length)
	a.text("--window", c.Window)
	if c.Parallel > 1 {
		a.number("--parallel", float64(c.Parallel))
	}
	a.number("--cport", float64(c.ClientPort))
	a.number("--connect-timeout", float64(c.ConnectTimeout))
	a.number("--pacing-timer", float64(c.PacingTimer))
	a.number("--set-mss", float64(c.MSS))
	a.text("--congestion", c.CongestionControl)
	a.number("--tos", float64(c.TypeOfService())) // never --dscp: a number is a whole byte to 3.9, and a code point later
	a.flag(c.NoDelay, "--no-delay")
	a.flag(c.ZeroCopy, "--zerocopy")
	a.flag(c.Counters64, "--udp-counters-64bit")
	a.text("--title", c.Title)
	return a
}

// ServerArgs are the arguments of iperf3's server at that address, after the
// program's name. Where it is given no report interval, it has its client's.
func (f Flow) ServerArgs(at netip.Addr) []string {
	s := f.Server
	a := arguments{"--json", "--server"}
	s.ReportInterval = cmp.Or(s.ReportInterval, f.Client.ReportInterval)
	a.common(s.Config, at)
	a.flag(s.OneOff, "--one-off")
	return a
}

// arguments are a program's; the zero value of an option is left out.
type arguments []string

func (a *arguments) flag(set bool, option string) {
	if set {
		*a = append(*a, option)
	}
}

func (a *arguments) text(option, value string) {
	if value != "" {
		*a = append(*a, option, value)
	}
}

func (a *arguments) number(option string, n float64) {
	if n != 0 {
		*a = append(*a, option, strconv.FormatFloat(n, 'f', -1, 64))
	}
}

// common are the arguments of both ends. Each is bound to its address: a UDP server
// answers from the address that the route chooses, and its client waits in vain.
func (a *arguments) common(c Config, at netip.Addr) {
	a.number("--port", float64(cmp.Or(c.Port, defaultPort)))
	a.text("--bind", at.String())
	if at.Is4() {
		a.flag(true, "--version4")
	} else {
		a.flag(true, "--version6")
	}
	a.number("--interval", c.ReportInterval)
	a.flag(c.ForceFlush, "--forceflush")
}
