package backoff

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/stepped"
)

// Backoff decides how long to wait after a failure: half of a limit that doubles
// with each, and up to as much again by chance. One goroutine uses it.
type Backoff struct {
	Min, Max time.Duration // of the limit
	limit    time.Duration
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.limit = 0 }

// First tells whether there was no failure since the last success.
func (b *Backoff) First() bool { return b.limit == 0 }

// Next is the pause before the next attempt.
func (b *Backoff) Next() time.Duration { return b.next(rand.Int64N) }

func (b *Backoff) next(chance func(n int64) int64) time.Duration {
	b.limit = min(max(2*b.limit, b.Min), b.Max)
	return b.limit/2 + time.Duration(chance(int64(b.limit/2)+1))
}

// NextFor is Next, by the chance of the runner that steps ctx, if one does.
func (b *Backoff) NextFor(ctx context.Context) time.Duration {
	return b.next(func(n int64) int64 { return stepped.Int64N(ctx, n) })
}

// Sleep waits for the next attempt. It returns false when ctx ends first.
func (b *Backoff) Sleep(ctx context.Context) bool { return stepped.Pause(ctx, b.NextFor(ctx)) }
