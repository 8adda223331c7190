// Package runtest runs parts of a broker in tests: anything with a Run method that ends with its
// context. It must not know any part. Test packages of any layer use it; product code must not.
package runtest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
)

// Background calls run on a goroutine until the test ends or stop is called; both end its context
// and wait for run to return. An error of run fails the test.
func Background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	// t.Context ends before the cleanups run.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// Logger returns a logger that writes to the output of the test.
func Logger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
