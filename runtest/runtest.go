// Package runtest runs parts of a broker in tests: what has a Run method that ends with its
// context. It knows no part; test packages of any layer use it, and no product code does.
package runtest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
)

// Background calls run on a goroutine until the test, or the returned function, ends its context.
// Both wait for run to return. An error of run fails the test.
func Background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t.Context ends too early
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

// Logger writes to the output of the test.
func Logger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
