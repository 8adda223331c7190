package backoff

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/stepped"
)

// Backoff computes how long to wait after a failure: half of a limit that doubles with each
// failure, plus a random time of up to the other half. Only one goroutine may use it.
type Backoff struct {
	Min, Max time.Duration // bounds of the limit
	limit    time.Duration // limit of the latest pause; 0: no failure since the last success
}

// Reset starts from Min again, after a success.
func (b *Backoff) Reset() { b.limit = 0 }

// First reports whether there was no failure since the last success.
func (b *Backoff) First() bool { return b.limit == 0 }

// Next returns the pause before the next attempt.
func (b *Backoff) Next() time.Duration { return b.next(rand.Int64N) }

func (b *Backoff) next(chance func(n int64) int64) time.Duration {
	b.limit = min(max(2*b.limit, b.Min), b.Max)
	return b.limit/2 + time.Duration(chance(int64(b.limit/2)+1))
}

// NextFor is Next with the random numbers of ctx's runner, if there is one.
func (b *Backoff) NextFor(ctx context.Context) time.Duration {
	return b.next(func(n int64) int64 { return stepped.Int64N(ctx, n) })
}

// Sleep waits before the next attempt. It returns false if ctx ends first.
func (b *Backoff) Sleep(ctx context.Context) bool { return stepped.Pause(ctx, b.NextFor(ctx)) }
