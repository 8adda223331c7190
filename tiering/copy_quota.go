package tiering

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/varvelog/varve/stepped"
)

// copyQuota keeps what all uploads send together to a number of bytes a second (KIP-956). What is not
// used is kept for as long as the window, so that the mean over any window is not above the rate by
// more than what the one before has left.
type copyQuota struct {
	rate    func() int64
	window  time.Duration
	streams int
	now     func() time.Time

	mu struct {
		sync.Mutex
		paid time.Time // until when the rate has been used up
	}
}

const (
	// pauseAtLeast is how much a sender is ahead of the rate before it waits: a timer for each read
	// would cost more than it is worth.
	pauseAtLeast = 5 * time.Millisecond
	// longestPaced bounds what the quota adds to the time that an upload may take.
	longestPaced = 7 * 24 * time.Hour
)

func newCopyQuota(o *Options) *copyQuota {
	q := &copyQuota{rate: o.CopyRate, window: o.CopyWindow, streams: o.UploadConcurrency, now: o.Now}
	if q.rate == nil {
		q.rate = func() int64 { return math.MaxInt64 }
	}
	return q
}

// forUpload returns what has an upload of so many bytes wait for the quota, nil if there is none, and
// how much longer the upload may take for it: as long as it takes if all streams share the quota, twice.
func (q *copyQuota) forUpload(bytes int64) (pace func(ctx context.Context, n int) error, longer time.Duration) {
	rate := q.rate()
	if !limits(rate) {
		return nil, 0
	}
	longer = longestPaced
	if share := float64(bytes) * float64(2*q.streams) / float64(rate); share < longestPaced.Seconds() {
		longer = time.Duration(share * float64(time.Second))
	}
	return q.wait, longer
}

func limits(rate int64) bool { return rate > 0 && rate < math.MaxInt64 }

// wait notes n bytes, and returns when they are within the quota, or ctx ends.
func (q *copyQuota) wait(ctx context.Context, n int) error {
	if ahead := q.note(n); ahead >= pauseAtLeast && !stepped.Pause(ctx, ahead) {
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
