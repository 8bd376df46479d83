package main

import (
	"context"
	"testing"
	"time"
)

// contextUntil is a context that ends when something holds.
func contextUntil(t *testing.T, holds func() bool) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil && !holds() {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}
