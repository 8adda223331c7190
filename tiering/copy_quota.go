package tiering

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/varvelog/varve/stepped"
)

// copyQuota limits what all uploads together send to a number of bytes a second (KIP-956). Unused
// quota is kept for the length of the window. So the mean over any window exceeds the rate by at
// most what the window before left unused.
type copyQuota struct {
	rate    func() int64
	window  time.Duration
	streams int
	now     func() time.Time

	mu struct {
		sync.Mutex
		paid time.Time // until when the rate is used up
	}
}

const (
	// pauseAtLeast is how far ahead of the rate a sender has to be before it waits: a timer for
	// each read would cost more than it is worth.
	pauseAtLeast = 5 * time.Millisecond
	// longestPaced bounds what the quota adds to the upload timeout.
	longestPaced = 7 * 24 * time.Hour
)

func newCopyQuota(o *Options) *copyQuota {
	q := &copyQuota{rate: o.CopyRate, window: o.CopyWindow, streams: o.UploadConcurrency, now: o.Now}
	if q.rate == nil {
		q.rate = func() int64 { return math.MaxInt64 }
	}
	return q
}

// forUpload returns a function that makes an upload of so many bytes wait for the quota, and for
// its own limit of own bytes a second (0: no limit). It returns nil if the upload does not have to
// wait. longer is the additional time that the upload may take: twice its duration if all streams
// share the quota.
func (q *copyQuota) forUpload(bytes, own int64) (pace func(ctx context.Context, n int) error, longer time.Duration) {
	slowest, quota := own, q.rate()
	if limits(quota) {
		if share := max(quota/int64(q.streams), 1); own <= 0 || share < own {
			slowest = share
		}
	} else if own <= 0 {
		return nil, 0
	}
	longer = longestPaced
	if twice := 2 * float64(bytes) / float64(slowest); twice < longestPaced.Seconds() {
		longer = time.Duration(twice * float64(time.Second))
	}
	alone := newBudget(own)
	return func(ctx context.Context, n int) error { return q.wait(ctx, n, alone) }, longer
}

func limits(rate int64) bool { return rate > 0 && rate < math.MaxInt64 }

// wait counts n bytes of an upload, and returns when they are within the quota and the upload's own
// budget, or ctx ends.
func (q *copyQuota) wait(ctx context.Context, n int, own *budget) error {
	now := q.now()
	own.take(now, int64(n))
	if ahead := max(q.note(n), own.wait(now)); ahead >= pauseAtLeast && !stepped.Pause(ctx, ahead) {
		return context.Cause(ctx)
	}
	return nil
}

// note counts n bytes, and returns how long they are ahead of the quota.
func (q *copyQuota) note(n int) time.Duration {
	rate := q.rate()
	if !limits(rate) {
		return 0
	}
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if kept := now.Add(-q.window); q.mu.paid.Before(kept) {
		q.mu.paid = kept
	}
	q.mu.paid = q.mu.paid.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return max(q.mu.paid.Sub(now), 0)
}
