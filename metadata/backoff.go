package metadata

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the one place where this package waits before it tries again:
// full jitter under a limit that doubles.
type backoff struct {
	min, max time.Duration
	limit    time.Duration
}

func (b *backoff) reset() { b.limit = 0 }

// next is the pause before the next attempt.
func (b *backoff) next() time.Duration {
	b.limit = min(max(2*b.limit, b.min), b.max)
	return b.min/2 + rand.N(b.limit)
}

// sleep waits, or returns the error of ctx when that ends first.
func (b *backoff) sleep(ctx context.Context) error {
	timer := time.NewTimer(b.next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
