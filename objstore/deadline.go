package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// A request that is slower than this is given up: a transfer, and the listing or deletion of many
// objects in one request.
const (
	bytesPerSecond   = 1 << 20
	objectsPerSecond = 50
)

// errAttemptTimeout is the cause of a deadline set by this package.
var errAttemptTimeout = errors.New("no answer in time")

// Deadline returns a Bucket whose requests end with [ErrUnavailable] if they take too long. The
// limit is attempt, plus a second for each MiB they move, plus a second for each 50 objects that
// they delete or may list. Deadline belongs below Retry and Limit: waiting for a turn and other
// attempts then do not count.
func Deadline(b Bucket, attempt time.Duration) Bucket { return &deadlineBucket{b, attempt} }

type deadlineBucket struct {
	Bucket
	attempt time.Duration
}

func (d *deadlineBucket) context(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.attempt+TransferTime(bytes), errAttemptTimeout)
}

// TransferTime is the time allowed for the transfer of so many bytes, in addition to the time of a
// request without data.
func TransferTime(bytes int64) time.Duration {
	return time.Duration(bytes) * time.Second / bytesPerSecond
}

// explainAttempt turns the end of an attempt's own deadline into ErrUnavailable.
func explainAttempt(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errAttemptTimeout) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w: %v", ErrUnavailable, errAttemptTimeout, err) //nolint:errorlint // a deadline of the caller's is what context.DeadlineExceeded means above this
	}
	return err
}

// Put implements [Bucket].
func (d *deadlineBucket) Put(ctx context.Context, key string, r io.ReadSeeker, opts PutOptions) error {
	body, err := newBody(r)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if opts.Pace != nil {
		return d.putPaced(ctx, key, r, opts, d.attempt+TransferTime(body.size))
	}
	ctx, cancel := d.context(ctx, body.size)
	defer cancel()
	return explainAttempt(ctx, d.Bucket.Put(ctx, key, r, opts))
}

// putPaced is Put with a deadline whose clock stops while the caller makes the sender wait. left is
// the time allowed.
func (d *deadlineBucket) putPaced(ctx context.Context, key string, r io.ReadSeeker, opts PutOptions, left time.Duration) error {
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	timer := time.AfterFunc(left, func() { cancel(errAttemptTimeout) })
	defer timer.Stop()
	pace := opts.Pace
	opts.Pace = func(ctx context.Context, n int) error { // calls do not overlap
		if timer.Stop() {
			left -= time.Since(began)
			defer func() {
				began = time.Now()
				timer.Reset(max(left, 0))
			}()
		}
		return pace(ctx, n)
	}
	err := d.Bucket.Put(bounded, key, r, opts)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(bounded), errAttemptTimeout) {
		return fmt.Errorf("put %s: %w: %w", key, ErrUnavailable, errAttemptTimeout)
	}
	return err
}

// GetRange implements [Bucket].
func (d *deadlineBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	ctx, cancel := d.context(ctx, int64(len(p)))
	defer cancel()
	n, err := d.Bucket.GetRange(ctx, key, off, p)
	return n, explainAttempt(ctx, err)
}

// Stat implements [Bucket].
func (d *deadlineBucket) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	ctx, cancel := d.context(ctx, 0)
	defer cancel()
	info, err := d.Bucket.Stat(ctx, key)
	return info, explainAttempt(ctx, err)
}

// List implements [Bucket]. The deadline applies to the time between two objects, without the time
// that the caller takes for them.
func (d *deadlineBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		bounded, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		step := d.attempt + listPage*time.Second/objectsPerSecond
		timer := time.AfterFunc(step, func() { cancel(errAttemptTimeout) })
		defer timer.Stop()
		for info, err := range d.Bucket.List(bounded, prefix) {
			timer.Stop()
			if err != nil && errors.Is(context.Cause(bounded), errAttemptTimeout) && ctx.Err() == nil {
				err = fmt.Errorf("list %s: %w: %w", prefix, ErrUnavailable, errAttemptTimeout)
			}
			if !yield(info, err) {
				return
			}
			timer.Reset(step)
		}
	}
}

// Delete implements [Bucket].
func (d *deadlineBucket) Delete(ctx context.Context, key string) error {
	ctx, cancel := d.context(ctx, 0)
	defer cancel()
	return explainAttempt(ctx, d.Bucket.Delete(ctx, key))
}

// DeleteAll implements [Bucket].
func (d *deadlineBucket) DeleteAll(ctx context.Context, keys []string) error {
	bounded, cancel := context.WithTimeoutCause(ctx, d.attempt+time.Duration(len(keys))*time.Second/objectsPerSecond, errAttemptTimeout)
	defer cancel()
	err := d.Bucket.DeleteAll(bounded, keys)
	left, ok := errors.AsType[*DeleteError](err)
	if !ok {
		return explainAttempt(bounded, err)
	}
	for key, why := range left.Failed {
		left.Failed[key] = explainAttempt(bounded, why)
	}
	return left
}
