package storage

import (
	"context"
	"math"
	"time"

	"github.com/varvelog/varve/invariants"
)

// pacer limits the bytes per second that its users read and write together: all cleanings
// (log.cleaner.io.max.bytes.per.second), or all moves between directories.
type pacer struct {
	mu struct {
		invariants.Mutex[rankPacer]
		rate float64   // bytes per second
		free time.Time // when the bytes allowed so far are within the pace
	}
}

// slack is how far ahead of the pace its users may be before they wait, so that small batches do
// not cost a timer each.
const slack = 20 * time.Millisecond

// setRate sets the bytes per second. 0 or less, and anything above MaxInt64 (Kafka's default is the
// largest double), is no limit.
func (p *pacer) setRate(rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rate = rate
}

// wait counts n bytes and returns when they are within the pace. If ctx ends it returns its cause.
func (p *pacer) wait(ctx context.Context, n int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ahead := p.note(n, time.Now())
	if ahead < slack {
		return nil
	}
	t := time.NewTimer(ahead)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// note counts n bytes at a time and returns how far ahead of the pace they are.
func (p *pacer) note(n int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.rate <= 0 || p.mu.rate > math.MaxInt64 {
		return 0
	}
	if p.mu.free.Before(now) {
		p.mu.free = now
	}
	const longest = float64(time.Hour)
	p.mu.free = p.mu.free.Add(time.Duration(min(float64(n)/p.mu.rate*float64(time.Second), longest)))
	return p.mu.free.Sub(now)
}
