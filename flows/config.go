package flows

import "time"

// Client is when and how iperf3's client runs.
type Client struct {
	At []time.Duration `yaml:"-"` // since the run's beginning, sorted
	ClientConfig
}

// Server is when and how iperf3's server runs.
type Server struct {
	At time.Duration `yaml:"-"` // not after the client's first start
	ServerConfig
}

// Config is what trafic's client and server configurations share.
type Config struct {
	Bind           string  `yaml:"bind"`
	File           string  `yaml:"file"`
	ForceFlush     bool    `yaml:"forceflush"`
	ReportInterval float64 `yaml:"report-interval-s"` // s
	Port           int     `yaml:"server-port"`
}

// ClientConfig is how iperf3's client runs, by trafic's keys.
type ClientConfig struct {
	Config            `yaml:",inline"`
	ServerAddress     string  `yaml:"server-address"`
	Length            string  `yaml:"length"` // bytes of a write or datagram, with K, M or G of 1024
	ClientPort        int     `yaml:"cport"`
	CongestionControl string  `yaml:"congestion-ctrl"`
	ConnectTimeout    int     `yaml:"connect-timeout-ms"` // ms
	DSCP              string  `yaml:"dscp"`
	NoDelay           bool    `yaml:"no-delay"`
	Bytes             string  `yaml:"bytes"`
	Seconds           float64 `yaml:"time-s"`
	Blocks            string  `yaml:"blockcount"`
	FQRate            string  `yaml:"fq-rate"` // bit/s
	MSS               int     `yaml:"set-mss"`
	Omit              float64 `yaml:"omit-s"`
	PacingTimer       int     `yaml:"pacing-timer-ms"` // in truth µs, as iperf3 takes it
	Parallel          int     `yaml:"parallel"`
	Reverse           *bool   `yaml:"reverse"`           // nil and true: from server to client, as trafic always does
	GetServerOutput   bool    `yaml:"get-server-output"` // has no effect: both ends' output is kept
	Bitrate           string  `yaml:"target-bitrate"`    // bit/s, with K, M or G
	Title             string  `yaml:"title"`             // the flow's id in InfluxDB
	TOS               int     `yaml:"tos"`
	UDP               bool    `yaml:"udp"`
	Counters64        bool    `yaml:"udp-counters-64bit"`
	Username          string  `yaml:"username"`
	RSAPublicKey      string  `yaml:"rsa-public-key-path"`
	V4                bool    `yaml:"v4"`
	V6                bool    `yaml:"v6"`
	Window            string  `yaml:"window"`
	ZeroCopy          bool    `yaml:"zerocopy"`
}

// ServerConfig is how iperf3's server runs, by trafic's keys.
type ServerConfig struct {
	Config          `yaml:",inline"`
	OneOff          bool   `yaml:"one-off"`
	AuthorizedUsers string `yaml:"authorized-users-path"`
	PIDFile         string `yaml:"pidfile"`
	RSAPrivateKey   string `yaml:"rsa-private-key-path"`
}

// Upload says whether the client sends: trafic's flows go from server to client.
func (c ClientConfig) Upload() bool { return c.Reverse != nil && !*c.Reverse }
