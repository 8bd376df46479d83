package domains

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// The most that is read of a file in a node at once (bytes).
const fileMost = 1 << 20

// OpenFile is a file in a node, which its agent has open.
type OpenFile struct {
	agent  Agent
	path   string
	handle int
}

// Open opens a file in the node to be read; fs.ErrNotExist where the agent cannot.
func (a Agent) Open(ctx context.Context, path string) (OpenFile, error) {
	f := OpenFile{agent: a, path: path}
	err := a.call(ctx, "guest-file-open", map[string]any{"path": path, "mode": "r"}, &f.handle)
	if isRefused(err) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return f, err
}

// Read reads what follows in the file, at most 1 MiB of it; nothing where there is no
// more yet.
func (f OpenFile) Read(ctx context.Context) ([]byte, error) {
	var read struct {
		Text []byte `json:"buf-b64"`
	}
	err := f.agent.call(ctx, "guest-file-read", map[string]any{"handle": f.handle, "count": fileMost}, &read)
	if len(read.Text) > fileMost {
		return nil, fmt.Errorf("%s: %w", f.path, errTooMuch)
	}
	return read.Text, err
}

// Close has the agent close the file.
func (f OpenFile) Close(ctx context.Context) error {
	return f.agent.call(ctx, "guest-file-close", map[string]any{"handle": f.handle}, nil)
}

// ReadFile reads the beginning of a file in the node, at most 1 MiB of it.
func (a Agent) ReadFile(ctx context.Context, path string) ([]byte, error) {
	f, err := a.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	text, err := f.Read(ctx)
	return text, errors.Join(err, f.Close(ctx))
}

// WriteFile writes into a file in the node, in the place of what is in it.
func (a Agent) WriteFile(ctx context.Context, path string, text []byte) error {
	f := OpenFile{agent: a, path: path}
	if err := a.call(ctx, "guest-file-open", map[string]any{"path": path, "mode": "w"}, &f.handle); err != nil {
		return err
	}
	err := a.call(ctx, "guest-file-write", map[string]any{"handle": f.handle, "buf-b64": text}, nil)
	return errors.Join(err, f.Close(ctx))
}
