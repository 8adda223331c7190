package storage

import (
	"context"
	"math"
	"time"

	"github.com/varvelog/varve/invariants"
)

// pacer keeps what all cleanings read and write together to a number of bytes a
// second (log.cleaner.io.max.bytes.per.second).
type pacer struct {
	mu struct {
		invariants.Mutex[rankPacer]
		rate float64   // bytes a second
		free time.Time // when all that was allowed is paid for
	}
}

// slack is how far behind the pace a cleaning may be before it waits, so that
// small batches do not each cost a timer.
const slack = 20 * time.Millisecond

// setRate sets bytes a second; 0 or less, and Kafka's largest number, is no limit.
func (p *pacer) setRate(rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rate = rate
}

// wait notes n bytes and returns when they are within the pace, or with the
// cause of ctx when that ends.
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

// note counts n bytes at a time and says how long they are ahead of the pace.
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
