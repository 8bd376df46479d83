package domains

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/net/bpf"
)

// Take has the worker take frames at the NICs with those addresses, as many as the filter says of
// each, and forget what it took before.
func (w *Worker) Take(ctx context.Context, filter []bpf.RawInstruction, nics []net.HardwareAddr) error {
	thing := fmt.Sprintf("take %x", packed(filter))
	for _, mac := range nics {
		thing += " " + mac.String()
	}
	_, err := w.Ask(ctx, thing)
	return err
}

// packed is a filter as struct sock_filter: code, jt, jf, k. Source: linux/filter.h.
func packed(filter []bpf.RawInstruction) []byte {
	var b []byte
	for _, i := range filter {
		b = binary.LittleEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}

// Read says what the worker has taken since it was last read, in pieces of about 1 MiB: a line with
// its process, and pcapng; nothing where there is no more yet.
func (w *Worker) Read(ctx context.Context) ([]byte, error) { return w.Ask(ctx, "taken") }
