package tiering

import (
	"math/rand/v2"
	"time"
)

// backoff is the one place where this package decides how long to wait after a
// failure: half of a doubling limit, and up to as much again by chance.
type backoff struct {
	min, max time.Duration
	limit    time.Duration
}

func (b *backoff) reset() { b.limit = 0 }

func (b *backoff) next() time.Duration {
	b.limit = min(max(2*b.limit, b.min), b.max)
	return b.limit/2 + rand.N(b.limit/2+1)
}
