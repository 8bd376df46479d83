package flows

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Multiples of a unit letter, as iperf3 has them.
const (
	binary  = 1024 // bytes, blocks
	decimal = 1000 // bit/s
)

var amount = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,15})?)([KMGTkmgt]?)$`)

// Rate is a rate in bit/s of a number and K, M, G or T of 1000, as iperf3's
// target-bitrate has it without its burst.
func Rate(s string) (float64, error) { return parseAmount(s, decimal) }

// parseAmount is a number with one of iperf3's letters behind it.
func parseAmount(s string, kilo float64) (float64, error) {
	m := amount.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("expected a number, and K, M, G or T of %g behind it where it is large, such as 1.8M", kilo)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, errors.New("expected a number")
	}
	n *= math.Pow(kilo, float64(strings.Index(" KMGT", strings.ToUpper(m[2] + " ")[:1])))
	const most = 1e15 // more than any link, and far from where numbers stop being exact
	if n > most {
		return 0, errors.New("expected at most 900T")
	}
	return n, nil
}

// amountOf is an amount that was checked before, 0 where there is none.
func amountOf(s string, kilo float64) float64 {
	n, err := parseAmount(s, kilo)
	if err != nil {
		return 0
	}
	return n
}

// parseBitrate is a rate in bit/s, behind which may stand how many writes or
// datagrams are sent at a time.
func parseBitrate(s string) (float64, error) {
	number, burst, given := strings.Cut(s, "/")
	rate, err := Rate(number)
	if err != nil || !given {
		return rate, err
	}
	const most = 1000 // iperf3's own limit
	if n, err := strconv.ParseUint(burst, 10, 16); err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("expected a burst of 1 to %d behind the /", most)
	}
	return rate, nil
}

// parseInstant is a time since the run's beginning.
func parseInstant(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, errors.New("expected a number with its unit, such as 0s, 1.5s or 2m")
	case d < 0:
		return 0, errors.New("expected an instant after the run's beginning, which is 0s")
	case d > longest:
		return 0, fmt.Errorf("expected at most %s", longest)
	}
	return d, nil
}

// longest is the longest test of iperf3's, and the latest start.
const longest = 24 * time.Hour

// seconds is a number of seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// showRate is a rate as people write it.
func showRate(bits float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if bits >= u.of {
			return strconv.FormatFloat(math.Round(bits/u.of*100)/100, 'f', -1, 64) + " " + u.name
		}
	}
	return strconv.FormatFloat(math.Round(bits), 'f', -1, 64) + " bit/s"
}

// quote is a user's text as it may stand in a message.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most] + "…")
	}
	return strconv.Quote(s)
}
