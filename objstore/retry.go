package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"time"
)

// RetryOptions limits the attempts of a request and the waits between them.
type RetryOptions struct {
	Attempts int // at most, including the first
	// FirstWait is the longest wait before the second attempt. It doubles with each attempt.
	FirstWait time.Duration
	MaxWait   time.Duration // upper bound of the doubled wait
}

// DefaultRetryOptions returns options that survive an interruption of a few seconds. Longer outages
// are left to the callers, which know the cost of waiting.
func DefaultRetryOptions() RetryOptions {
	return RetryOptions{Attempts: 5, FirstWait: 100 * time.Millisecond, MaxWait: 5 * time.Second}
}

// Retry returns a Bucket that repeats requests that fail with [ErrUnavailable]. Each wait is random
// between zero and the bound (full jitter), so that many waiting requests do not return at the same
// time.
//
// After the answer of a Put with IfAbsent was lost, the next attempt may find the object of the
// first. Retry compares its bytes: if they equal the body, the Put has succeeded. Callers for which
// that is not enough put something unique into the object.
func Retry(b Bucket, o RetryOptions) Bucket { return &retryBucket{b, o} }

type retryBucket struct {
	Bucket
	o RetryOptions
}

// do calls attempt until it succeeds or fails permanently, until the attempts are used up, or until
// the context ends.
func (b *retryBucket) do(ctx context.Context, attempt func(n int) error) error {
	wait := b.o.FirstWait
	for n := 1; ; n++ {
		err := attempt(n)
		if err == nil || !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if n >= b.o.Attempts {
			return fmt.Errorf("%w (attempt %d)", err, n)
		}
		timer := time.NewTimer(rand.N(wait + 1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-timer.C:
		}
		wait = min(2*wait, b.o.MaxWait)
	}
}

// Check implements [Bucket].
func (b *retryBucket) Check(ctx context.Context) error {
	return b.do(ctx, func(int) error { return b.Bucket.Check(ctx) })
}

// Put implements [Bucket].
func (b *retryBucket) Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) error {
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("put %s: find the start of the body: %w", key, err)
	}
	return b.do(ctx, func(n int) error {
		if _, err := body.Seek(start, io.SeekStart); err != nil {
			return fmt.Errorf("put %s: go back to the start of the body: %w", key, err)
		}
		err := b.Bucket.Put(ctx, key, body, opts)
		if n == 1 || !errors.Is(err, ErrExists) {
			return err
		}
		if _, seekErr := body.Seek(start, io.SeekStart); seekErr != nil {
			return fmt.Errorf("put %s: go back to the start of the body: %w", key, seekErr)
		}
		same, checkErr := b.holds(ctx, key, body)
		switch {
		case checkErr != nil:
			return fmt.Errorf("put %s: find out whose object is there: %w", key, checkErr)
		case same:
			return nil
		default:
			return err
		}
	})
}

// holds reports whether the object has the same bytes as the rest of body.
func (b *retryBucket) holds(ctx context.Context, key string, body io.Reader) (bool, error) {
	const step = 1 << 20
	want, got := make([]byte, step), make([]byte, step)
	for off := int64(0); ; {
		n, err := io.ReadFull(body, want)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return false, err
		}
		// Reading one byte more than the body has detects an object that is longer.
		room := got[:min(n+1, step)]
		if !last {
			room = got[:n]
		}
		m, err := b.Bucket.GetRange(ctx, key, off, room)
		if err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrUnavailable)) {
			return false, err
		}
		if !bytes.Equal(want[:n], got[:m]) {
			return false, nil
		}
		if last {
			return true, nil
		}
		off += int64(n)
	}
}

// GetRange implements [Bucket].
func (b *retryBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (n int, err error) {
	err = b.do(ctx, func(int) error {
		n, err = b.Bucket.GetRange(ctx, key, off, p)
		return err
	})
	return n, err
}

// Stat implements [Bucket].
func (b *retryBucket) Stat(ctx context.Context, key string) (info ObjectInfo, err error) {
	err = b.do(ctx, func(int) error {
		info, err = b.Bucket.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements [Bucket]. A listing that breaks off is repeated from the start; the objects that
// were already yielded are skipped.
func (b *retryBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		last, stopped := "", false
		err := b.do(ctx, func(int) error {
			for info, err := range b.Bucket.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if info.Key <= last {
					continue
				}
				last = info.Key
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(ObjectInfo{}, err)
		}
	}
}

// Delete implements [Bucket].
func (b *retryBucket) Delete(ctx context.Context, key string) error {
	return b.do(ctx, func(int) error { return b.Bucket.Delete(ctx, key) })
}

// DeleteAll implements [Bucket]. Only keys with a temporary failure are repeated.
func (b *retryBucket) DeleteAll(ctx context.Context, keys []string) error {
	forGood := map[string]error{}
	err := b.do(ctx, func(int) error {
		err := b.Bucket.DeleteAll(ctx, keys)
		left, ok := errors.AsType[*DeleteError](err)
		if !ok {
			return err
		}
		keys = nil // the caller's slice must not change
		again := map[string]error{}
		for _, key := range left.keys() {
			if why := left.Failed[key]; errors.Is(why, ErrUnavailable) {
				keys, again[key] = append(keys, key), why
			} else {
				forGood[key] = why
			}
		}
		if len(again) == 0 {
			return nil
		}
		return &DeleteError{Failed: again}
	})
	if left, ok := errors.AsType[*DeleteError](err); ok {
		maps.Copy(left.Failed, forGood)
	} else if err == nil && len(forGood) > 0 {
		return &DeleteError{Failed: forGood}
	}
	return err
}
