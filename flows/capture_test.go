package flows

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// node is one that has words for each script, and a file to fetch.
type node struct {
	words map[string]string // by what the script has in it
	file  []byte
	fails error
}

func (s node) Bash(_ context.Context, script string) ([]byte, error) {
	for part, words := range s.words {
		if strings.Contains(script, part) {
			return []byte(words), s.fails
		}
	}
	return nil, s.fails
}

func (s node) Fetch(_ context.Context, _ string, to io.Writer) error {
	for part := range slices.Chunk(s.file, 7) {
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// asked is a node that remembers what it was to run.
type asked struct {
	node
	scripts []string
}

func (a *asked) Bash(_ context.Context, script string) ([]byte, error) {
	a.scripts = append(a.scripts, script)
	return nil, nil
}

func TestCaptureTakesWhatWasAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		filter  string
		snaplen int
		want    string
	}{
		"all":         {"", 0, `dumpcap -q -B 64 -i "$link" -w `},
		"a filter":    {"udp port 9", 0, `dumpcap -q -B 64 -i "$link" -f 'udp port 9' -w `},
		"a quote":     {"it's", 0, `dumpcap -q -B 64 -i "$link" -f 'it'\''s' -w `},
		"their heads": {"", 96, `dumpcap -q -B 64 -i "$link" -s 96 -w `},
		"both":        {"tcp", 96, `dumpcap -q -B 64 -i "$link" -f 'tcp' -s 96 -w `},
	} {
		t.Run(name, func(t *testing.T) {
			n := &asked{}
			must(t, Capture{Node: n, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Filter: test.filter, Snaplen: test.snaplen}.Begin(t.Context()))
			if len(n.scripts) != 1 || !strings.Contains(n.scripts[0], test.want) {
				t.Errorf("%q does not have %q", n.scripts, test.want)
			}
		})
	}
}

// sent is a file as a node sends it, but for the last bytes.
func sent(file []byte, but int) []byte {
	return fmt.Appendf(nil, "%d\n%s", len(file), file[:len(file)-but])
}

// captured is a pcapng file of frames that long on the wire, of which 64 bytes are kept.
func captured(t *testing.T, lengths ...int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	must(t, err)
	for _, n := range lengths {
		must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: min(n, 64), Length: n}, make([]byte, min(n, 64))))
	}
	must(t, w.Flush())
	return b.Bytes()
}

func TestKeepCountsWhatIsInTheFile(t *testing.T) {
	to := filepath.Join(t.TempDir(), "sub", "a.pcapng.gz")
	whole := captured(t, 60, 1514, 98)
	for name, test := range map[string]struct {
		file []byte
		want Frames
		says string
	}{
		"whole":              {sent(whole, 0), Frames{3, 60 + 1514 + 98}, ""},
		"cut short":          {sent(whole, 20), Frames{}, "bytes came: unexpected EOF"},
		"cut where one ends": {sent(whole, len(whole)-len(captured(t, 60, 1514))), Frames{}, "bytes came: unexpected EOF"},
		"cut short there":    {sent(whole[:len(whole)-20], 0), Frames{}, "EOF"},
		"no capture":         {sent([]byte("more words than a header"), 0), Frames{}, "magic"},
		"no length":          {bytes.Repeat([]byte("1"), 1000), Frames{}, "does not say how much"},
		"no number":          {[]byte("lots\n"), Frames{}, "does not say how much"},
		"nothing":            {nil, Frames{}, "EOF"},
		"of no frames":       {sent(captured(t), 0), Frames{}, ""},
	} {
		var a Account
		err := Capture{Node: node{file: test.file}, Most: 1 << 20}.Keep(t.Context(), to, &a)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if test.says == "" && a.Written != test.want {
			t.Errorf("%s: %v, want %v", name, a.Written, test.want)
		}
		if kept := unpacked(t, to); !bytes.HasSuffix(test.file, kept) || test.says == "" && len(kept) < 100 {
			t.Errorf("%s: %q is kept", name, kept)
		}
	}
	if i, err := os.Stat(to); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", i.Mode(), err)
	}
}

func unpacked(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return b
}

func TestKeepIsBounded(t *testing.T) {
	to := filepath.Join(t.TempDir(), "a.pcapng.gz")
	err := Capture{Node: node{file: sent(make([]byte, 101), 0)}, Most: 100}.Keep(t.Context(), to, &Account{})
	if err == nil || !strings.Contains(err.Error(), "more than its disk holds") {
		t.Errorf("%v", err)
	}
}

func TestEndReadsDumpcapsWords(t *testing.T) {
	const ends = "Packets captured: 5\nPackets received/dropped on interface 'eth1': 5/3 (pcap:2/dumpcap:1/flushed:0/ps_ifdrop:0) (62.5%)\n"
	for name, test := range map[string]struct {
		words string
		want  Drops
		says  string
	}{
		"all is well":  {"File: x\n" + ends, Drops{Kernel: 2, Dumpcap: 1}, ""},
		"it was ended": {"File: x\n", Drops{}, "did not come to its end"},
		"full":         {"File: x\nNot all the packets could be written to the file \"x\" because there is no space left on the file system.\n" + ends, Drops{Kernel: 2, Dumpcap: 1}, "disk is full"},
		"a lie":        {"Packets captured: 99999999999999999999\n", Drops{}, "did not come to its end"},
	} {
		var a Account
		err := Capture{Node: node{words: map[string]string{captureSaid: test.words}}}.End(t.Context(), &a)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if a.Drops != test.want {
			t.Errorf("%s: %+v", name, a.Drops)
		}
	}
}

func TestNICCounts(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	both, in, dropped, err := NICCounts(t.Context(), node{words: map[string]string{"02:00:00:00:00:01": "10 1000 20 4000 3 "}}, mac)
	if err != nil || both != (Frames{30, 5000}) || in != (Frames{10, 1000}) || dropped != 3 {
		t.Errorf("%v, %v, %d, %v", both, in, dropped, err)
	}
	for _, words := range []string{"", "1 2 3 4", "1 2 3 4 x", "1 2 3 4 -5"} {
		if _, _, _, err := NICCounts(t.Context(), node{words: map[string]string{"statistics": words}}, mac); err == nil {
			t.Errorf("%q is taken", words)
		}
	}
	lost := errors.New("lost")
	if _, _, _, err := NICCounts(t.Context(), node{fails: lost}, mac); !errors.Is(err, lost) {
		t.Error(err)
	}
}

func TestAccount(t *testing.T) {
	for name, test := range map[string]struct {
		a       Account
		missing uint64
		where   string
	}{
		"none":                              {Account{Mirrored: Frames{Frames: 10}, Written: Frames{Frames: 10}}, 0, ""},
		"more frames passed while it ended": {Account{Mirrored: Frames{Frames: 10}, Written: Frames{Frames: 12}}, 0, ""},
		"at the tap and nobody knows where": {
			Account{Mirrored: Frames{Frames: 100}, Written: Frames{Frames: 90}, Drops: Drops{Tap: 7}},
			10,
			"7 not taken by the capturing machine, 3 unaccounted for",
		},
		"everywhere": {
			Account{Mirrored: Frames{Frames: 100}, Written: Frames{Frames: 85}, Drops: Drops{1, 2, 3, 4, 5}},
			15,
			"1 not copied by the mirror, 2 not taken by the capturing machine, 3 dropped by its NIC, 4 dropped by its kernel, 5 dropped by dumpcap",
		},
		"a filter leaves out what is not missing": {
			Account{Filter: "udp", Mirrored: Frames{Frames: 100}, Written: Frames{Frames: 20}, Drops: Drops{Kernel: 2}}, 2, "2 dropped by its kernel",
		},
	} {
		if n := test.a.Missing(); n != test.missing {
			t.Errorf("%s: %d are missing, want %d", name, n, test.missing)
		}
		if d := cmp.Diff(test.where, test.a.Where()); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}
